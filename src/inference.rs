//! Models: from a request's text or picture to an answer, on this machine.
//!
//! It owns the networks (DistilBERT, MobileNetV2, CLIP), their preprocessing, where their files come from, and which of
//! them serves each task. It does not own queues, batches over time, deadlines or HTTP: a worker calls [`Engine::prepare`]
//! on any thread and [`Engine::run`] on its inference thread.
//!
//! - [`Engine`]: the models of a worker, swapped at run time; [`registry`]: which networks there are
//! - [`Model`]: what a network with its preprocessing is to the rest; [`Prepared`] → [`Output`]
//! - `distilbert`, `mobilenet_v2`, `clip` over the shared `encoder`: the networks; `dense`: their large layers in a precision
//! - [`image`], `tokenizer`, `labels`: preprocessing
//! - [`source`], [`weights`]: files of a model, in the binary, a folder or the hub; tensors in them
//! - [`Place`]: where it is computed; [`kernels`]: the arithmetic on CPUs; `operations`: it, or candle's own, on candle's
//!   tensors; [`Bare`]: networks alone, for measuring

mod bare;
mod clip;
mod dense;
mod distilbert;
mod encoder;
mod engine;
pub mod image;
pub mod kernels;
mod labels;
mod mobilenet_v2;
mod model;
mod operations;
mod place;
pub mod registry;
mod request;
mod search;
pub mod source;
mod tokenizer;
mod upgrade;
pub mod verify;
pub mod weights;

#[cfg(test)]
mod tests;

pub use bare::Bare;
pub use dense::Precision;
pub use engine::{Engine, EngineConfig, EngineError, Source};
pub use model::{Answer, Card, Context, Cost, InferenceError, Input, Model, Output, Prepared};
pub use place::{Place, PlaceError, Wanted};
pub use request::{InputError, Request};
pub use search::{DEFAULT_CANDIDATES, Phrase, Pictures, Search, Similarity};
pub use tokenizer::{Tokenizer, TokenizerError, Tokens};
