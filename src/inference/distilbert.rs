//! DistilBERT (Sanh et al. 2019) with its sequence classification head, for `text_classification`.
//!
//! Exactly Hugging Face's `DistilBertForSequenceClassification`: embeddings, post-norm encoder with the exact GELU, the
//! first token through `pre_classifier`, ReLU and `classifier`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::encoder::{self, Encoder, EncoderSpec, LayerNames, NormOrder, attention, linear};
use super::kernels::{Activation, Epilogue, Linear, Mask};
use super::model::{Answer, Card, Context, InferenceError, Input, Model, Prepared, all_failed, rank, softmax};
use super::operations::{self, Embedding, rows};
use super::place::Place;
use super::request::{InputError, Request};
use super::source::{Files, LoadError};
use super::tokenizer::Tokenizer;
use super::weights::Weights;

/// Epsilon of all layer norms; DistilBERT has it fixed.
const EPSILON: f32 = 1e-12;
/// Width of the full-size network, and its number of layers: anything smaller is a stand-in.
const FULL_SIZE: (usize, usize) = (768, 6);
/// Most tokens in one pass: it bounds the buffers, and a larger product is not faster.
const MAX_TOKENS: usize = 2_048;

/// What is read of `config.json`.
#[derive(Deserialize)]
pub(super) struct Config {
    pub(super) dim: usize,
    pub(super) n_layers: usize,
    pub(super) n_heads: usize,
    pub(super) hidden_dim: usize,
    pub(super) max_position_embeddings: usize,
    #[serde(default = "gelu")]
    activation: String,
    #[serde(default)]
    id2label: BTreeMap<usize, String>,
}

fn gelu() -> String {
    "gelu".to_owned()
}

/// The network without its tokenizer.
pub(super) struct Network {
    embedding: Embedding,
    embedding_norm: operations::LayerNorm,
    encoder: Encoder,
    pre_classifier: Linear,
    classifier: Linear,
}

impl Network {
    pub(super) fn load(weights: &Weights, config: &Config, place: &Place) -> Result<Self, LoadError> {
        let width = config.dim;
        let activation = match config.activation.as_str() {
            "gelu" => Activation::Gelu,
            "relu" => Activation::Relu,
            other => return Err(LoadError::config(format!("activation \"{other}\"; gelu and relu are known"))),
        };
        let embeddings = "distilbert.embeddings";
        let [words, positions] = ["word", "position"].map(|kind| format!("{embeddings}.{kind}_embeddings.weight"));
        let longest = config.max_position_embeddings;
        let spec = EncoderSpec {
            layers: config.n_layers,
            width,
            hidden: config.hidden_dim,
            attention: attention(width, config.n_heads, Mask::Full)?,
            activation,
            order: NormOrder::Post,
            epsilon: EPSILON,
            names: LayerNames {
                qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
                output: "attention.out_lin",
                attention_norm: "sa_layer_norm",
                feed_forward: ["ffn.lin1", "ffn.lin2"],
                feed_forward_norm: "output_layer_norm",
            },
            place: place.clone(),
        };
        Ok(Self {
            embedding: Embedding::load(weights, [&words, &positions], [longest, width], place)?,
            embedding_norm: encoder::norm(weights, &format!("{embeddings}.LayerNorm"), width, EPSILON, place)?,
            encoder: Encoder::load(weights, "distilbert.transformer.layer", &spec)?,
            pre_classifier: linear(weights, "pre_classifier", width, width)?,
            classifier: encoder::classifier(weights, "classifier", width)?,
        })
    }

    /// Number of classes.
    pub(super) fn labels(&self) -> usize {
        self.classifier.outputs()
    }

    /// Logits, one row for each sequence of token ids.
    pub(super) fn forward(&self, context: &mut Context, sequences: &[&[u32]]) -> Result<Vec<f32>, InferenceError> {
        let mut logits = Vec::with_capacity(sequences.len() * self.labels());
        for sequences in super::model::chunks(sequences, MAX_TOKENS, |sequence| sequence.len()) {
            self.forward_chunk(context, sequences, &mut logits)?;
        }
        Ok(logits)
    }

    fn forward_chunk(
        &self,
        context: &mut Context,
        sequences: &[&[u32]],
        logits: &mut Vec<f32>,
    ) -> Result<(), InferenceError> {
        let workspace = context.workspace();
        let (embedded, ranges) = self.embedding.forward(sequences)?;
        let states = self.embedding_norm.forward(&workspace, &embedded)?;
        workspace.recycle(embedded)?;
        let states = self.encoder.forward(&workspace, states, &ranges)?;
        let first = rows(&states, ranges.iter().map(|range| range.start))?;
        let compute = &context.compute;
        let mut hidden = vec![0f32; first.len()];
        self.pre_classifier.forward(compute, &first, &mut hidden, Epilogue::activation(Activation::Relu));
        let from = logits.len();
        logits.resize(from + sequences.len() * self.labels(), 0.0);
        self.classifier.forward(compute, &hidden, &mut logits[from..], Epilogue::default());
        Ok(())
    }
}

/// A text classifier: tokenizer, network and the names of its classes.
pub(super) struct DistilBert {
    card: Card,
    tokenizer: Tokenizer,
    network: Network,
    labels: Vec<String>,
}

/// Loads a model from its files.
pub(super) fn load(files: &Files, place: &Place) -> Result<DistilBert, LoadError> {
    let config: Config = files.config("config.json")?;
    let network = Network::load(&files.weights()?, &config, place)?;
    let tokenizer = Tokenizer::load(files, config.max_position_embeddings, network.embedding.vocabulary())?;
    let labels = (0..network.labels())
        .map(|id| config.id2label.get(&id).cloned().unwrap_or_else(|| format!("LABEL_{id}")))
        .collect();
    let degraded = (config.dim, config.n_layers) < FULL_SIZE;
    Ok(DistilBert { card: Card::new("DistilBERT", files.reference(), degraded), tokenizer, network, labels })
}

impl Model for DistilBert {
    fn card(&self) -> &Card {
        &self.card
    }

    fn prepare(&self, request: &Request<'_>) -> Result<Input, InputError> {
        Ok(Input::Text(request.tokens(&self.tokenizer, "data", request.data)?))
    }

    fn run(&self, batch: &[&Prepared], context: &mut Context) -> Vec<Result<Answer, InferenceError>> {
        let sequences: Vec<&[u32]> = batch.iter().map(|prepared| prepared.tokens()).collect();
        let logits = match self.network.forward(context, &sequences) {
            Ok(logits) => logits,
            Err(error) => return all_failed(batch, &error),
        };
        logits
            .chunks_exact(self.labels.len())
            .zip(batch)
            .map(|(logits, prepared)| {
                let probabilities = softmax(logits)?;
                Ok(Answer::classes(rank(&self.labels, &probabilities), prepared.top_k()))
            })
            .collect()
    }
}
