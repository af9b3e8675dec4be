//! `aiq monitor`.

use clap::Args;

use super::{TargetArgs, Theme};

/// Flags of `aiq monitor`.
#[derive(Clone, Debug, Args)]
pub struct MonitorArgs {
    /// Which coordinator.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Take the keys away that change something
    #[arg(long, env = "AIQ_READ_ONLY")]
    pub read_only: bool,
    /// Print one snapshot as plain text and exit (the default where there is no terminal)
    #[arg(long)]
    pub once: bool,
    /// Print one snapshot as JSON and exit
    #[arg(long)]
    pub json: bool,
    /// With --json: go on, one snapshot a line
    #[arg(long, requires = "json")]
    pub follow: bool,
    /// Leave the mouse to the terminal
    #[arg(long)]
    pub no_mouse: bool,
    /// What the terminal's background is: auto (what COLORFGBG says, or dark), dark or light
    #[arg(long, env = "AIQ_THEME", value_enum, default_value_t, hide_possible_values = true)]
    pub theme: Theme,
    /// Draw with ASCII alone
    #[arg(long)]
    pub ascii: bool,
}
