//! `aiq infer`.

use clap::{Args, Subcommand};

use super::TargetArgs;
use crate::config::Span;
use crate::protocol::Priority;

/// Flags of `aiq infer`.
#[derive(Clone, Debug, Args)]
pub struct InferArgs {
    /// What to ask.
    #[command(subcommand)]
    pub task: InferTask,
    /// Which coordinator.
    #[command(flatten)]
    pub target: TargetArgs,
    /// How urgent it is
    #[arg(long, global = true, default_value = "normal", value_name = "PRIORITY")]
    pub priority: Priority,
    /// Time budget
    #[arg(long, global = true, default_value = "30s", value_name = "TIME")]
    pub timeout: Span,
    /// How many labels to list
    #[arg(long, global = true, default_value_t = 5, value_name = "N")]
    pub top_k: u32,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to ask.
#[derive(Clone, Debug, Subcommand)]
pub enum InferTask {
    /// The sentiment of a text
    Text {
        /// The text; `-` reads it from standard input, `@FILE` from a file
        text: String,
    },
    /// What a picture shows
    Image {
        /// A JPEG, PNG or WebP file, or `sample:NAME`
        file: String,
    },
    /// Which of some texts is nearest to a query
    Similarity {
        /// The query
        query: String,
        /// The texts; a built-in list when there are none
        candidates: Vec<String>,
    },
    /// Which of some pictures fits a query
    Search {
        /// The query
        query: String,
        /// Picture files or `sample:NAME`; the built-in gallery when there are none
        images: Vec<String>,
    },
}
