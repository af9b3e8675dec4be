//! What lies over the screen: questions, the fault form, a request's attempts, the help.

use crate::protocol::{FaultSettings, WorkerAction, WorkerId};

use super::Entry;

/// What lies over the screen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Modal {
    /// The keys and what the columns mean; the first line shown.
    Help {
        /// The first line shown.
        scroll: usize,
    },
    /// Asks before something is done to a worker.
    Confirm(Confirm),
    /// The faults of a worker.
    Faults(FaultForm),
    /// A request of the activity list.
    Request {
        /// Which; kept whole, since the list moves on.
        entry: Entry,
        /// The first line shown.
        scroll: usize,
    },
    /// Asks whether the fleet should end with the dashboard.
    Quit(QuitChoice),
}

/// A question about a worker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Confirm {
    /// Which worker.
    pub(crate) worker: WorkerId,
    /// What would be done.
    pub(crate) action: WorkerAction,
    /// The button under the cursor.
    pub(crate) answer: Answer,
    /// How far it is.
    pub(crate) progress: Progress,
}

/// The buttons of a question. The first is the safe one and has the cursor at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Leave it.
    #[default]
    Cancel,
    /// Do it.
    Proceed,
}

impl Answer {
    /// The other button.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Cancel => Self::Proceed,
            Self::Proceed => Self::Cancel,
        }
    }
}

/// How far something is that the coordinator was asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Not asked yet.
    #[default]
    Asking,
    /// Asked; no answer yet.
    Sent,
    /// Refused, and why.
    Refused(String),
}

/// What becomes of the fleet when its dashboard closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum QuitChoice {
    /// Stay.
    #[default]
    Cancel,
    /// Close the dashboard; the fleet goes on.
    Keep,
    /// Stop the fleet too.
    Stop,
}

impl QuitChoice {
    /// From left to right.
    pub(crate) const ALL: [Self; 3] = [Self::Cancel, Self::Keep, Self::Stop];

    /// The button to the right, round again at the end.
    pub(crate) fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }

    /// The button to the left.
    pub(crate) fn previous(self) -> Self {
        Self::ALL[(self as usize + Self::ALL.len() - 1) % Self::ALL.len()]
    }
}

/// A field of the fault form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultField {
    /// Share of requests that crash.
    Crash,
    /// Share of requests that are never answered.
    Timeout,
    /// Least added delay.
    DelayMin,
    /// Most added delay.
    DelayMax,
    /// How much slower the model is.
    Slow,
}

impl FaultField {
    /// From top to bottom.
    pub(crate) const ALL: [Self; 5] = [Self::Crash, Self::Timeout, Self::DelayMin, Self::DelayMax, Self::Slow];

    /// Its label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Crash => "Crash",
            Self::Timeout => "Timeout",
            Self::DelayMin => "Delay, least",
            Self::DelayMax => "Delay, most",
            Self::Slow => "Slower",
        }
    }

    /// Its unit.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Crash | Self::Timeout => "% of requests",
            Self::DelayMin | Self::DelayMax => "seconds",
            Self::Slow => "times",
        }
    }
}

/// The faults of a worker, being edited.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FaultForm {
    /// Which worker.
    pub(crate) worker: WorkerId,
    /// What is in force; what has no field stays as it is.
    pub(crate) current: FaultSettings,
    /// The texts of [`FaultField::ALL`].
    pub(crate) texts: [String; FaultField::ALL.len()],
    /// The field under the cursor.
    pub(crate) cursor: usize,
    /// Whether the field is still as it was found, so that typing replaces it.
    pub(crate) fresh: bool,
    /// How far it is.
    pub(crate) progress: Progress,
}

impl FaultForm {
    /// Longest text of a field.
    const MAX_TEXT: usize = 8;

    /// A form with a worker's faults.
    pub(crate) fn new(worker: WorkerId, faults: &FaultSettings) -> Self {
        let mut form = Self {
            worker,
            current: faults.clone(),
            texts: Default::default(),
            cursor: 0,
            fresh: true,
            progress: Progress::Asking,
        };
        form.fill(faults);
        form
    }

    /// Writes settings into the fields.
    pub(crate) fn fill(&mut self, faults: &FaultSettings) {
        self.texts = [
            shortest(faults.crash_probability * 100.0),
            shortest(faults.timeout_probability * 100.0),
            shortest(faults.network_delay_min),
            shortest(faults.network_delay_max),
            shortest(faults.slow_factor),
        ];
        self.fresh = true;
        self.progress = Progress::Asking;
    }

    /// Types a character.
    pub(crate) fn type_char(&mut self, c: char) {
        let text = &mut self.texts[self.cursor];
        if std::mem::take(&mut self.fresh) {
            text.clear();
        }
        if (c.is_ascii_digit() || (c == '.' && !text.contains('.'))) && text.len() < Self::MAX_TEXT {
            text.push(c);
        }
        self.progress = Progress::Asking;
    }

    /// Takes a character away.
    pub(crate) fn erase(&mut self) {
        self.fresh = false;
        self.texts[self.cursor].pop();
        self.progress = Progress::Asking;
    }

    /// Goes to another field.
    pub(crate) fn go(&mut self, cursor: usize) {
        self.cursor = cursor % FaultField::ALL.len();
        self.fresh = true;
    }

    /// The settings that the fields say.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub(crate) fn settings(&self) -> Result<FaultSettings, String> {
        let number = |field: FaultField| -> Result<f64, String> {
            let text = &self.texts[field as usize];
            if text.is_empty() {
                return Ok(if field == FaultField::Slow { 1.0 } else { 0.0 });
            }
            text.parse().map_err(|_| format!("{}: \"{text}\" is no number", field.label()))
        };
        let faults = FaultSettings {
            crash_probability: number(FaultField::Crash)? / 100.0,
            timeout_probability: number(FaultField::Timeout)? / 100.0,
            network_delay_min: number(FaultField::DelayMin)?,
            network_delay_max: number(FaultField::DelayMax)?,
            slow_factor: number(FaultField::Slow)?,
            ..self.current.clone()
        };
        faults.validate().map_err(|p| p.detail)?;
        Ok(faults)
    }
}

/// A number as a person would type it: `2`, `0.1`, `12.5`.
fn shortest(x: f64) -> String {
    let rounded = (x * 1e4).round() / 1e4;
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_what_it_was_filled_with() {
        let id = WorkerId::try_new("worker-1").unwrap();
        let mut form = FaultForm::new(id, &FaultSettings { hang: true, ..FaultSettings::base() });
        assert_eq!(form.texts, ["2", "3", "0.1", "0.8", "1"]);
        assert_eq!(form.settings().unwrap(), FaultSettings { hang: true, ..FaultSettings::base() });
        "1x2.5.".chars().for_each(|c| form.type_char(c));
        assert_eq!(form.texts[0], "12.5");
        form.erase();
        assert_eq!(form.texts[0], "12.");
        assert!((form.settings().unwrap().crash_probability - 0.12).abs() < 1e-9);
        form.go(2);
        "5".chars().for_each(|c| form.type_char(c));
        assert!(form.settings().unwrap_err().contains("network_delay_min"));
    }
}
