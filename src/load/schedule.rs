//! The schedule: a pure iterator of arrivals, the same for the same shape and seed.
//!
//! Arrivals are a process of rate 1 whose time is warped by the shape's rate (Lewis and Shedler,
//! "Simulation of nonhomogeneous Poisson processes", 1979, and Çinlar's time change): with gaps of
//! exactly 1 the load is even, with exponential gaps it is Poisson, whatever the rate does. Spikes
//! are whole groups that fall due at one instant. Nothing here knows a clock or a socket.

mod mixed;
mod shape;

use std::time::Duration;

pub(super) use mixed::Mixed;
pub(super) use shape::{Bursts, Phase, Shape};

use super::draws::{Draws, Stream};
use super::mix::Mix;
use crate::cli::LoadArrivals;
use crate::protocol::TaskType;

/// One request to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Its number, from 0, the lead-in included.
    pub(super) seq: u64,
    /// When it is due, from the start of the run.
    pub(super) due: Duration,
    /// What is asked.
    pub(super) task: TaskType,
    /// Which of the task's inputs.
    pub(super) input: u32,
    /// Whether it belongs to a spike.
    pub(super) in_spike: bool,
}

/// What to send, without a time: the closed loop needs no more.
#[derive(Clone, Debug)]
pub(super) struct Picks {
    mix: Mix,
    /// Inputs of each task, in the order of [`TaskType::ALL`].
    inputs: [usize; 4],
    tasks: Draws,
    choice: Draws,
    /// For a small simple run: a task's turn comes as often as its share says, without luck.
    turns: Option<[f64; 4]>,
}

impl Picks {
    pub(super) fn new(seed: u64, mix: &Mix, inputs: [usize; 4]) -> Self {
        Self {
            mix: mix.clone(),
            inputs,
            tasks: Draws::new(seed, Stream::Tasks),
            choice: Draws::new(seed, Stream::Inputs),
            turns: None,
        }
    }

    /// Takes turns rather than drawing (smooth weighted round robin, as nginx does it): ten
    /// requests then hold every task of an ordinary mix.
    pub(super) fn in_turns(mut self) -> Self {
        self.turns = Some([0.0; 4]);
        self
    }

    pub(super) fn draw(&mut self) -> (TaskType, u32) {
        let task = match &mut self.turns {
            None => self.mix.pick(self.tasks.unit()),
            Some(credit) => {
                let mut best = TaskType::TextClassification;
                for task in self.mix.tasks() {
                    credit[task.index()] += self.mix.share(task);
                    if credit[task.index()] > credit[best.index()] || self.mix.share(best) <= 0.0 {
                        best = task;
                    }
                }
                credit[best.index()] -= 1.0;
                best
            }
        };
        (task, self.choice.below(self.inputs[task.index()]) as u32)
    }
}

/// The arrivals of a shape, in order of their due times.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    shape: Shape,
    spacing: LoadArrivals,
    picks: Picks,
    gaps: Draws,
    /// The warped process: arrivals so far, and its next point.
    count: u64,
    point: f64,
    /// Where the walk through the phases stands: which one, and the expected arrivals before it.
    phase: usize,
    before: f64,
    /// Next base arrival, seconds, where it is known.
    next_base: Option<f64>,
    spike: usize,
    spike_left: u32,
    seq: u64,
    /// Arrivals still allowed after the lead-in.
    left: u64,
}

impl Arrivals {
    /// `limit` is the most arrivals after the lead-in.
    pub(super) fn new(shape: &Shape, seed: u64, arrivals: LoadArrivals, picks: Picks, limit: Option<u64>) -> Self {
        let mut gaps = Draws::new(seed, Stream::Gaps);
        let point = if arrivals == LoadArrivals::Poisson { gaps.exponential() } else { 0.0 };
        let mut all = Self {
            spike_left: shape.spikes.first().map_or(0, |s| s.size),
            shape: shape.clone(),
            spacing: arrivals,
            picks,
            gaps,
            count: 0,
            point,
            phase: 0,
            before: 0.0,
            next_base: None,
            spike: 0,
            seq: 0,
            left: limit.unwrap_or(u64::MAX),
        };
        all.next_base = all.base();
        all
    }

    /// The time of the current point, or `None` when the phases are used up.
    fn base(&mut self) -> Option<f64> {
        while let Some(phase) = self.shape.phases.get(self.phase) {
            let within = self.point - self.before;
            let expected = phase.expected();
            if within < expected {
                return Some(phase.start + phase.time_of(within));
            }
            self.before += expected;
            self.phase += 1;
        }
        None
    }

    fn advance_base(&mut self) {
        self.count += 1;
        match self.spacing {
            // The product rather than a running sum: a million gaps must not drift.
            LoadArrivals::Constant => self.point = self.count as f64,
            LoadArrivals::Poisson => self.point += self.gaps.exponential(),
        }
        self.next_base = self.base();
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let spike = self.shape.spikes.get(self.spike).map(|s| s.at);
        let (at, in_spike) = match (self.next_base, spike) {
            (None, None) => return None,
            (Some(base), Some(spike)) if spike <= base => (spike, true),
            (Some(base), _) => (base, false),
            (None, Some(spike)) => (spike, true),
        };
        if in_spike {
            self.spike_left = self.spike_left.saturating_sub(1);
            if self.spike_left == 0 {
                self.spike += 1;
                self.spike_left = self.shape.spikes.get(self.spike).map_or(0, |s| s.size);
            }
        } else {
            self.advance_base();
        }
        if at >= self.shape.lead {
            self.left = self.left.checked_sub(1)?;
        }
        let (task, input) = self.picks.draw();
        let arrival = Arrival { seq: self.seq, due: Duration::from_secs_f64(at), task, input, in_spike };
        self.seq += 1;
        Some(arrival)
    }
}

#[cfg(test)]
mod tests;
