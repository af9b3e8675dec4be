//! The dashboard: what an operator keeps open all day to watch a fleet and to act on it.
//!
//! Owns the screen and the plain outputs that stand in for it. It shows what the coordinator says
//! (snapshots and events, through `client`) and makes up no figure of its own.
//!
//! The parts, in reading order: `model` is everything known, `msg` what can happen and what can be
//! asked for, `update` the one function that changes the model, `view` the pure drawing, `keys` the
//! table of keys behind all three. `app` is the loop that ties them to the world, `terminal` the
//! terminal's modes, `plain` the output without a screen.

mod app;
mod fold;
mod health;
mod keys;
mod model;
mod msg;
mod plain;
pub mod terminal;
mod text;
mod theme;
mod update;
mod view;

#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::process::ExitCode;

use crate::cli::{MonitorArgs, Theme};
use crate::client::ClientConfig;
use crate::config::{Access, Scope};
use crate::palette::Colour;

pub use theme::{Glyphs, Look};

/// How to open the dashboard.
#[derive(Clone, Debug)]
pub struct MonitorOptions {
    /// Which coordinator, and how to talk to it.
    pub client: ClientConfig,
    /// Whether workers may be touched.
    pub hands: Hands,
    /// Whether clicks are ours.
    pub mouse: terminal::Mouse,
    /// How it is drawn.
    pub look: Look,
    /// Whose fleet it is.
    pub fleet: Fleet,
}

impl MonitorOptions {
    /// A dashboard of a coordinator, with everything switched on that the terminal can do.
    pub fn new(client: ClientConfig) -> Self {
        Self {
            client,
            hands: Hands::Operate,
            mouse: terminal::Mouse::Captured,
            look: Look::of_terminal(Theme::Auto),
            fleet: Fleet::Elsewhere,
        }
    }
}

/// Whether workers may be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hands {
    /// Killed, revived, drained, made faulty.
    Operate,
    /// Only looked at.
    ReadOnly,
}

/// Whose fleet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fleet {
    /// It runs on its own; quitting leaves it alone.
    Elsewhere,
    /// Whoever opened the dashboard started it; quitting asks whether it should stop.
    Ours,
}

/// How the dashboard was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Closed; the fleet was not ours.
    Quit,
    /// Closed; our fleet is to go on.
    KeepFleet,
    /// Closed; our fleet is to stop.
    StopFleet,
    /// The process was told to end, or the terminal went away; our fleet is to stop.
    Signal,
}

impl Look {
    /// What the environment says: the colours, and the Linux console, which has no braille.
    pub fn of_terminal(theme: Theme) -> Self {
        let console = std::env::var_os("TERM").is_some_and(|term| term == "linux");
        let colour = Colour::of_terminal(theme);
        Self { colour, glyphs: if console { Glyphs::Ascii } else { Glyphs::Unicode } }
    }
}

/// Runs `aiq monitor`: the dashboard, or one of its plain outputs.
///
/// # Errors
/// What it could not do, for a person.
pub async fn run(args: MonitorArgs) -> anyhow::Result<ExitCode> {
    let token = Access::for_tool(args.target.token_file.as_deref(), &[Scope::Admin])?;
    let client = ClientConfig { token, ..ClientConfig::new(&args.target.url) };
    if args.json && args.follow {
        plain::json_lines(&client).await?;
    } else if args.json {
        plain::json(&client).await?;
    } else if args.once || !on_terminal() {
        plain::once(&client).await?;
    } else {
        let mut options = MonitorOptions { look: Look::of_terminal(args.theme), ..MonitorOptions::new(client) };
        if args.read_only {
            options.hands = Hands::ReadOnly;
        }
        if args.no_mouse {
            options.mouse = terminal::Mouse::Left;
        }
        if args.ascii {
            options.look.glyphs = Glyphs::Ascii;
        }
        open(options).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the dashboard on the terminal and keeps it open until it is closed. The terminal is as it
/// was when this returns, also after a panic.
///
/// # Errors
/// An address that is none, or a terminal that can't be used.
pub async fn open(options: MonitorOptions) -> anyhow::Result<Exit> {
    app::run(options).await
}

/// What the person who left the screen wants of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Stop it.
    StopFleet,
    /// Let it run.
    KeepFleet,
}

/// The dashboard over a fleet that this process started: quitting asks whether it should stop.
///
/// # Errors
/// What kept the screen from opening.
pub async fn over_own_fleet(url: &str, theme: Theme) -> anyhow::Result<Left> {
    anyhow::ensure!(on_terminal(), "--monitor needs a terminal; leave it out, or run `aiq monitor` elsewhere");
    let client = ClientConfig { token: Access::for_tool(None, &[Scope::Admin])?, ..ClientConfig::new(url) };
    let look = Look::of_terminal(theme);
    let exit = open(MonitorOptions { fleet: Fleet::Ours, look, ..MonitorOptions::new(client) }).await?;
    Ok(if exit == Exit::KeepFleet { Left::KeepFleet } else { Left::StopFleet })
}

fn on_terminal() -> bool {
    std::io::stdout().is_terminal() && std::io::stdin().is_terminal()
}
