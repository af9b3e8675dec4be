//! The background work of an engine: the small models' warm-up, and the full-size models on their way in.
//!
//! One thread does it all, one model after the other, and ends when there is nothing left to do. It never holds up a
//! request: a model is swapped in when it is loaded and warm.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::engine::{Engine, Slot, Source};
use super::model::Context;
use super::source::{Files, Hub, Loader, Transferred};
use crate::protocol::ModelState;

/// First pause before the hub is asked again.
const RETRY_MIN: Duration = Duration::from_secs(15);
/// Longest pause before the hub is asked again.
const RETRY_MAX: Duration = Duration::from_mins(10);

pub(super) struct Upgrade {
    engine: Weak<Engine>,
    loader: Loader,
    hub: Hub,
    retries: Retries,
}

/// Whether a model that can't be had is asked for again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retries {
    Never,
    Forever,
}

impl Upgrade {
    /// Starts the thread. Full-size models are wanted from [`Source::Auto`] and [`Source::Hub`] for the specialities.
    pub(super) fn start(engine: &Arc<Engine>, loader: Loader, source: &Source, hub: Hub) -> std::io::Result<()> {
        let retries = if *source == Source::Hub { Retries::Forever } else { Retries::Never };
        let upgrade = Self { engine: Arc::downgrade(engine), loader, hub, retries };
        let wanted: Vec<usize> = match source {
            Source::Auto | Source::Hub => {
                (0..engine.slots.len()).filter(|&slot| engine.slots[slot].specialised).collect()
            }
            Source::Embedded | Source::Folder(_) | Source::Noop(_) => Vec::new(),
        };
        for &slot in &wanted {
            engine.slots[slot].set_state(ModelState::Loading);
        }
        std::thread::Builder::new().name("model-loader".to_owned()).spawn(move || upgrade.run(wanted))?;
        Ok(())
    }

    fn run(self, mut wanted: Vec<usize>) {
        // The gallery of the small CLIP and the like: not before the first request, but soon.
        if let Some(engine) = self.engine.upgrade() {
            let mut context = Context::new(1);
            engine.slots.iter().for_each(|slot| slot.model().warm_up(&mut context));
        }
        let mut pause = RETRY_MIN;
        loop {
            let Some(engine) = self.engine.upgrade() else { return };
            wanted.retain(|&slot| !self.upgrade(&engine.slots[slot]));
            drop(engine);
            if wanted.is_empty() || self.retries == Retries::Never {
                return;
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(RETRY_MAX);
        }
    }

    /// Fetches, loads and swaps in one full-size model; whether it serves now.
    fn upgrade(&self, slot: &Slot) -> bool {
        let name = slot.family.full.repository;
        match self.fetch(slot).and_then(|files| self.load(slot, &files)) {
            Ok(()) => {
                tracing::info!(model = name, "the full-size model serves");
                slot.set_state(ModelState::Ready);
                true
            }
            Err(reason) => {
                let serving = slot.model().card().model_info.clone();
                tracing::warn!(model = name, serving, reason, "the full-size model can't be had");
                slot.set_state(ModelState::Failed { reason });
                false
            }
        }
    }

    fn fetch(&self, slot: &Slot) -> Result<Files, String> {
        let model = &slot.family.full;
        if let Some(files) = self.hub.cached(model) {
            return Ok(files);
        }
        let report = |Transferred { done, total }| {
            slot.set_state(ModelState::Downloading { done_bytes: done, total_bytes: Some(total) });
        };
        self.hub.fetch(model, &report).map_err(|error| error.to_string())
    }

    fn load(&self, slot: &Slot, files: &Files) -> Result<(), String> {
        slot.set_state(ModelState::Loading);
        let model = slot.family.load(files, &self.loader).map_err(|error| error.to_string())?;
        model.warm_up(&mut Context::new(1));
        slot.swap(model);
        Ok(())
    }
}
