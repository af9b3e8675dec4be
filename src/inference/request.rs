//! What is asked of a model, and everything that can be wrong with it.

use super::image::{ImageError, Pixels, Preprocess};
use super::tokenizer::{Tokenizer, Tokens};
use crate::protocol::{Options, Problem, ProblemCode, TaskType};

/// A request as a model sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What to do.
    pub task: TaskType,
    /// The text or image.
    pub data: &'a str,
    /// What to do it with.
    pub options: &'a Options,
}

/// Why an input can't be taken. The same input would be refused again, by any worker.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// There is no text where one is needed.
    #[error("{field} is an empty text")]
    EmptyText {
        /// Which field.
        field: String,
    },
    /// An image can't be had from what was sent.
    #[error("{field}: {source}")]
    Image {
        /// Which field.
        field: String,
        /// What is wrong with it.
        source: ImageError,
    },
    /// Too many candidates or images.
    #[error("options.{field} has {count} items; it must have 1 to {}", Options::MAX_ITEMS)]
    Items {
        /// Which list.
        field: &'static str,
        /// How many there are.
        count: usize,
    },
    /// The tokenizer refused the text.
    #[error("{field} can't be tokenised: {reason}")]
    Tokenizer {
        /// Which field.
        field: String,
        /// What it said.
        reason: String,
    },
}

impl InputError {
    /// The code on the wire.
    pub fn code(&self) -> ProblemCode {
        match self {
            Self::EmptyText { .. } | Self::Image { source: ImageError::Empty, .. } => ProblemCode::EmptyData,
            Self::Image { source, .. } => source.code(),
            Self::Items { .. } => ProblemCode::InvalidField,
            Self::Tokenizer { .. } => ProblemCode::InferenceFailed,
        }
    }
}

impl From<InputError> for Problem {
    fn from(error: InputError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl Request<'_> {
    /// Tokens of a text that came in `field`.
    pub fn tokens(&self, tokenizer: &Tokenizer, field: &str, text: &str) -> Result<Tokens, InputError> {
        if text.trim().is_empty() {
            return Err(InputError::EmptyText { field: field.to_owned() });
        }
        tokenizer.encode(text).map_err(|reason| InputError::Tokenizer { field: field.to_owned(), reason })
    }

    /// Pixels of an image that came in `field`.
    pub fn picture(&self, field: &str, image: &str, preprocess: &Preprocess) -> Result<Pixels, InputError> {
        preprocess.read(image).map_err(|source| InputError::Image { field: field.to_owned(), source })
    }

    /// A list of `options`, `None` where it is absent.
    pub fn items<'b>(
        &self,
        field: &'static str,
        list: Option<&'b Vec<String>>,
    ) -> Result<Option<&'b [String]>, InputError> {
        match list {
            None => Ok(None),
            Some(items) if (1..=Options::MAX_ITEMS).contains(&items.len()) => Ok(Some(items)),
            Some(items) => Err(InputError::Items { field, count: items.len() }),
        }
    }
}
