//! `aiq models`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Flags of `aiq models`.
#[derive(Clone, Debug, Args)]
pub struct ModelsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ModelsCommand,
}

/// What to do with models.
#[derive(Clone, Debug, Subcommand)]
pub enum ModelsCommand {
    /// Show every model: its task, size, source, and whether it is here
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Download full-size models from the hub into its cache
    Pull {
        /// Which (all when none is named): distilbert, mobilenet, clip
        names: Vec<String>,
    },
    /// Check that models load and answer as their golden files say
    Verify {
        /// Which (all that are here when none is named)
        names: Vec<String>,
        /// A folder with models in the hub's layout
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
}
