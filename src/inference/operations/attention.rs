//! Attention over a ragged batch: by our kernel as it is, by candle's operations padded to the longest sequence.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::{Workspace, numbers};
use crate::inference::kernels::{Attention, Mask};

/// Where the sequences of a batch are, for the attention of all its layers.
pub(in crate::inference) struct Ragged<'a> {
    attention: Attention,
    sequences: &'a [Range<usize>],
    padding: Option<Padding>,
}

/// How tokens are laid out for candle's operations.
struct Padding {
    longest: usize,
    /// Where tokens go and come from; none where they lie as they should, since all sequences are of the same length.
    moves: Option<Moves>,
    /// What is added to the scores of queries and keys so that padding, and what comes later, is not seen; none where all is.
    mask: Option<Tensor>,
}

/// From tokens without padding to padded ones, and back.
struct Moves {
    /// For each place of `sequences × longest` the token that is there; padding repeats a token.
    tokens: Tensor,
    /// The place of each token.
    places: Tensor,
}

impl<'a> Ragged<'a> {
    /// A batch for our kernel.
    pub(in crate::inference) fn new(attention: Attention, sequences: &'a [Range<usize>]) -> Self {
        Self { attention, sequences, padding: None }
    }

    /// A batch for candle's operations on this device.
    pub(in crate::inference) fn padded(
        attention: Attention,
        sequences: &'a [Range<usize>],
        device: &Device,
    ) -> Result<Self> {
        let padding = Some(Padding::new(attention.mask, sequences, device)?);
        Ok(Self { attention, sequences, padding })
    }

    /// What each token gathers, `tokens × width`, from `tokens × 3·width` of query, key and value.
    pub(in crate::inference) fn attend(&self, workspace: &Workspace<'_>, qkv: &Tensor) -> Result<Tensor> {
        match &self.padding {
            None => qkv.apply_op1_no_bwd(&Attended { attention: self.attention, sequences: self.sequences, workspace }),
            Some(padding) => self.attend_padded(padding, qkv),
        }
    }

    fn attend_padded(&self, padding: &Padding, qkv: &Tensor) -> Result<Tensor> {
        let Attention { heads, head_width, .. } = self.attention;
        let (batch, longest) = (self.sequences.len(), padding.longest);
        let padded = padding.moves.as_ref().map(|moves| qkv.index_select(&moves.tokens, 0)).transpose()?;
        // sequences × tokens × (query, key, value) × heads × head width, each part to sequences × heads × tokens × head width.
        let qkv = padded.as_ref().unwrap_or(qkv).reshape((batch, longest, 3, heads, head_width))?;
        let part = |index: usize| qkv.narrow(2, index, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let (query, key, value) = (part(0)?, part(1)?, part(2)?);
        let scores = (query.matmul(&key.t()?)? / (head_width as f64).sqrt())?;
        let masked = padding.mask.as_ref().map(|mask| scores.broadcast_add(mask)).transpose()?;
        let mixed = softmax_last_dim(&masked.unwrap_or(scores))?.matmul(&value)?.transpose(1, 2)?;
        let mixed = mixed.reshape((batch * longest, heads * head_width))?;
        match &padding.moves {
            Some(moves) => mixed.index_select(&moves.places, 0),
            None => Ok(mixed),
        }
    }
}

impl Padding {
    fn new(mask: Mask, sequences: &[Range<usize>], device: &Device) -> Result<Self> {
        let longest = sequences.iter().map(Range::len).max().unwrap_or_default();
        let even = sequences.iter().all(|sequence| sequence.len() == longest);
        let moves = if even { None } else { Some(Moves::new(sequences, longest, device)?) };
        let unless = |seen: bool| if seen { 0f32 } else { f32::NEG_INFINITY };
        let mask = match mask {
            // What is behind a sequence is later than all of it.
            Mask::Causal => {
                let scores = (0..longest).flat_map(|query| (0..longest).map(move |key| unless(key <= query)));
                Some(Tensor::from_vec(scores.collect(), (1, 1, longest, longest), device)?)
            }
            Mask::Full if even => None,
            Mask::Full => {
                let scores = sequences.iter().flat_map(|sequence| (0..longest).map(|key| unless(key < sequence.len())));
                Some(Tensor::from_vec(scores.collect(), (sequences.len(), 1, 1, longest), device)?)
            }
        };
        Ok(Self { longest, moves, mask })
    }
}

impl Moves {
    fn new(sequences: &[Range<usize>], longest: usize, device: &Device) -> Result<Self> {
        let places = sequences.iter().enumerate().flat_map(|(index, sequence)| {
            let first = index * longest;
            (first..first + sequence.len()).map(|place| place as u32)
        });
        let places: Vec<u32> = places.collect();
        let tokens = sequences.iter().flat_map(|sequence| {
            // An empty sequence has no token of its own to repeat: any will do, nobody looks at it.
            (0..longest).map(|index| sequence.start.saturating_add(index.min(sequence.len().saturating_sub(1))) as u32)
        });
        let last = places.len().saturating_sub(1) as u32;
        let tokens: Vec<u32> = tokens.map(|token| token.min(last)).collect();
        let index = |indices: Vec<u32>| {
            let count = indices.len();
            Tensor::from_vec(indices, count, device)
        };
        Ok(Self { tokens: index(tokens)?, places: index(places)? })
    }
}

/// Attention by our kernel.
struct Attended<'a> {
    attention: Attention,
    sequences: &'a [Range<usize>],
    workspace: &'a Workspace<'a>,
}

impl CustomOp1 for Attended<'_> {
    fn name(&self) -> &'static str {
        "ragged attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Self { attention, sequences, workspace } = self;
        let qkv = numbers(qkv, layout)?;
        let width = attention.heads * attention.head_width;
        let tokens = qkv.len() / (3 * width);
        let mut attended = workspace.output(tokens * width);
        attention.forward(workspace.compute, qkv, &mut attended, sequences);
        Ok((CpuStorage::F32(attended), (tokens, width).into()))
    }
}
