//! How texts come into an encoder: for each token the sum of its word's numbers and its position's.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use crate::inference::place::Place;
use crate::inference::weights::{Table, Weights, WeightsError};

/// The tables of words and of positions.
pub(in crate::inference) enum Embedding {
    Kernel { words: Table, positions: Table },
    Candle { words: Tensor, positions: Tensor },
}

impl Embedding {
    /// Reads a table of any number of words and one of `longest` positions, both of `width` numbers a row.
    pub(in crate::inference) fn load(
        weights: &Weights,
        [words, positions]: [&str; 2],
        [longest, width]: [usize; 2],
        place: &Place,
    ) -> std::result::Result<Self, WeightsError> {
        // One at least, so that none is said to be wrong.
        let vocabulary = weights.shape(words)?.first().copied().unwrap_or_default().max(1);
        weights.expect_shape(words, &[vocabulary, width])?;
        weights.expect_shape(positions, &[longest, width])?;
        Ok(match place {
            Place::Cpu(_) => Self::Kernel { words: weights.table(words)?, positions: weights.table(positions)? },
            Place::Candle(device) => {
                Self::Candle { words: weights.tensor(words, device)?, positions: weights.tensor(positions, device)? }
            }
        })
    }

    /// Number of words.
    pub(in crate::inference) fn vocabulary(&self) -> usize {
        match self {
            Self::Kernel { words, .. } => words.rows(),
            Self::Candle { words, .. } => words.dims()[0],
        }
    }

    /// `tokens × width` of all sequences of words, one after the other, and each sequence's range of tokens.
    pub(in crate::inference) fn forward(&self, sequences: &[&[u32]]) -> Result<(Tensor, Vec<Range<usize>>)> {
        let mut tokens = 0;
        let ranges = sequences.iter().map(|sequence| {
            tokens += sequence.len();
            tokens - sequence.len()..tokens
        });
        let ranges: Vec<_> = ranges.collect();
        let states = match self {
            Self::Kernel { words, positions } => {
                let width = words.width();
                let mut states = vec![0f32; tokens * width];
                let mut position_row = vec![0f32; width];
                for (sequence, range) in sequences.iter().zip(&ranges) {
                    let rows = states[range.start * width..].chunks_exact_mut(width);
                    for ((position, &id), row) in sequence.iter().enumerate().zip(rows) {
                        words.read(id as usize, row);
                        positions.read(position, &mut position_row);
                        row.iter_mut().zip(&position_row).for_each(|(x, position)| *x += position);
                    }
                }
                Tensor::from_vec(states, (tokens, width), &Device::Cpu)?
            }
            Self::Candle { words, positions } => {
                let ids = Tensor::from_vec(sequences.concat(), tokens, words.device())?;
                let places: Vec<u32> = sequences.iter().flat_map(|sequence| 0..sequence.len() as u32).collect();
                let places = Tensor::from_vec(places, tokens, positions.device())?;
                (words.index_select(&ids, 0)? + positions.index_select(&places, 0)?)?
            }
        };
        Ok((states, ranges))
    }
}
