//! The loop: messages in, effects out, frames when something changed. The only part that does I/O.

use std::time::Duration;

use crossterm::event::{Event as TerminalEvent, EventStream as Keys};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::model::{Model, Setup};
use super::msg::{Effect, Msg};
use super::terminal::{self, Screen};
use super::update::update;
use super::view::view;
use super::{Exit, MonitorOptions};
use crate::client::{Client, Feed};
use crate::protocol::Snapshot;

/// Time between two frames: ten a second at most.
const FRAME: Duration = Duration::from_millis(100);
/// Time between two ticks: ages are told to the second.
const TICK: Duration = Duration::from_secs(1);
/// Answers of effects that wait to be taken in; who has more waits.
const REPLIES: usize = 16;

/// Events that wait to be taken in; the coordinator drops some for a reader that is further behind.
const FEEDS: usize = 1024;
/// Events that are taken in between two looks at the keyboard. Looking is dear on a busy machine: crossterm's
/// lock gives the processor away several times.
const FEEDS_AT_ONCE: usize = 256;

/// What the loop does next.
enum Step {
    Take(Box<Msg>),
    Hear,
    Draw,
    Leave(Exit),
}

/// Runs the dashboard until it is closed.
pub(super) async fn run(options: MonitorOptions) -> anyhow::Result<Exit> {
    let client = Client::try_new(&options.client)?;
    let mut signals = Signals::new()?;
    let mut screen = Screen::enter(options.mouse)?;
    let MonitorOptions { hands, look, fleet, .. } = options;
    let setup = Setup { url: client.url().to_owned(), hands, fleet, look };
    let mut model = Model::new(setup, screen.size()?);
    let mut world = World { feed: Feeds::of(&client), client, replies: mpsc::channel(REPLIES) };
    let mut heard = Vec::with_capacity(FEEDS_AT_ONCE);
    let mut keys = Keys::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let start = Instant::now();
    let mut next_frame = start;
    loop {
        // Keys first and the feed last: a flood of events delays nobody's hand and no frame.
        let step = tokio::select! {
            biased;
            () = signals.next() => Step::Leave(Exit::Signal),
            key = keys.next() => of_terminal(key),
            Some(reply) = world.replies.1.recv() => Step::Take(Box::new(reply)),
            () = tokio::time::sleep_until(next_frame), if model.dirty => Step::Draw,
            _ = tick.tick() => Step::Take(Box::new(Msg::Tick)),
            1.. = world.feed.events.recv_many(&mut heard, FEEDS_AT_ONCE) => Step::Hear,
        };
        anyhow::ensure!(!terminal::panicked(), "a part of the dashboard failed; its message is above");
        let effects = match step {
            Step::Leave(exit) => return Ok(exit),
            Step::Draw => {
                model.dirty = false;
                screen.draw(|frame| view(&model, frame))?;
                next_frame = Instant::now() + FRAME;
                continue;
            }
            Step::Take(msg) => update(&mut model, start.elapsed(), *msg),
            Step::Hear => {
                let mut take = |feed| update(&mut model, start.elapsed(), Msg::Feed(feed));
                heard.drain(..).flat_map(&mut take).collect()
            }
        };
        for effect in effects {
            match effect {
                Effect::Quit(exit) => return Ok(exit),
                Effect::Repaint => screen.repaint()?,
                effect => world.perform(effect),
            }
        }
    }
}

fn of_terminal(event: Option<std::io::Result<TerminalEvent>>) -> Step {
    match event {
        Some(Ok(event)) => Step::Take(Box::new(Msg::Terminal(event))),
        // The terminal has gone away.
        Some(Err(_)) | None => Step::Leave(Exit::Signal),
    }
}

/// The event stream, read beside the loop: a flood of it costs a turn of the loop for many events and not
/// for each, and a pause or a connection that is under way goes on whatever comes between.
struct Feeds {
    events: mpsc::Receiver<Feed>,
    _reader: AbortOnDropHandle<()>,
}

impl Feeds {
    fn of(client: &Client) -> Self {
        let (tell, events) = mpsc::channel(FEEDS);
        let mut source = client.events();
        let read = async move { while tell.send(source.next().await).await.is_ok() {} };
        Self { events, _reader: AbortOnDropHandle::new(tokio::spawn(read)) }
    }
}

/// The coordinator, and the answers that are under way from it.
struct World {
    client: Client,
    feed: Feeds,
    replies: (mpsc::Sender<Msg>, mpsc::Receiver<Msg>),
}

impl World {
    /// Does it, beside the loop; the outcome comes back as a message.
    fn perform(&mut self, effect: Effect) {
        if effect == Effect::Reconnect {
            self.feed = Feeds::of(&self.client);
            return;
        }
        let (client, replies) = (self.client.clone(), self.replies.0.clone());
        tokio::spawn(async move {
            let msg = match effect {
                Effect::Act { worker, action } => {
                    let reply = client.act(&worker, action).await.map_err(|e| e.to_string());
                    Msg::Acted { worker, action, reply }
                }
                Effect::SetFaults { worker, faults } => {
                    let reply = client.set_faults(&worker, &faults).await.map(drop).map_err(|e| e.to_string());
                    Msg::FaultsSet { worker, reply }
                }
                Effect::Refresh => Msg::Refreshed(fetch(&client).await.map(Box::new).map_err(|e| e.to_string())),
                Effect::Reconnect | Effect::Repaint | Effect::Quit(_) => return,
            };
            // A closed loop needs no answer.
            let _ = replies.send(msg).await;
        });
    }
}

/// The whole state at one instant: the first event of a fresh stream.
pub(super) async fn fetch(client: &Client) -> anyhow::Result<Snapshot> {
    let mut feed = client.events();
    loop {
        match feed.next().await {
            Feed::Event(event) => {
                if let crate::protocol::EventKind::Snapshot(snapshot) = event.kind {
                    return Ok(*snapshot);
                }
            }
            Feed::Lost { reason, .. } => anyhow::bail!("{reason}"),
            Feed::Connected | Feed::Missed(_) => {}
        }
    }
}

/// What ends a process from outside.
struct Signals {
    #[cfg(unix)]
    kinds: [tokio::signal::unix::Signal; 3],
}

impl Signals {
    #[cfg(unix)]
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
        Ok(Self { kinds })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.kinds;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
