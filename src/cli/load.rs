//! `aiq load`.

use clap::Args;

use super::TargetArgs;

/// Flags of `aiq load`.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Which coordinator.
    #[command(flatten)]
    pub target: TargetArgs,
}
