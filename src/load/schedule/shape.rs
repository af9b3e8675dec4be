//! The shape of a load: phases whose rate is constant or changes evenly, and spikes.

use std::fmt;

/// What a phase is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::load) enum Kind {
    /// Climbs to the full rate; before the measured part, or one of the mixed pattern.
    Ramp,
    /// At the full rate, uncounted.
    Warmup,
    /// All at once.
    Simple,
    /// One rate, held.
    Sustained,
    /// A base rate under spikes.
    Burst,
    /// Little.
    Quiet,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ramp => "ramp",
            Self::Warmup => "warm-up",
            Self::Simple => "simple",
            Self::Sustained => "sustained",
            Self::Burst => "burst",
            Self::Quiet => "quiet",
        })
    }
}

/// A stretch of time whose rate goes in a straight line. Seconds, and requests a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::load) struct Phase {
    pub(in crate::load) kind: Kind,
    pub(in crate::load) start: f64,
    pub(in crate::load) length: f64,
    pub(in crate::load) from: f64,
    pub(in crate::load) to: f64,
}

impl Phase {
    pub(in crate::load) fn end(&self) -> f64 {
        self.start + self.length
    }

    /// Arrivals to be expected in it, spikes aside: the area under the rate.
    pub(in crate::load) fn expected(&self) -> f64 {
        0.5 * (self.from + self.to) * self.length
    }

    /// Seconds into the phase by which `n` arrivals are expected: the inverse of the area.
    ///
    /// With slope s, n = from·x + s·x²/2; the form of the root that divides by the sum loses no
    /// digits where the slope is small, and is right where it is zero.
    pub(super) fn time_of(&self, n: f64) -> f64 {
        if self.length <= 0.0 {
            return 0.0;
        }
        let slope = (self.to - self.from) / self.length;
        let root = (self.from * self.from + 2.0 * slope * n).max(0.0).sqrt();
        let sum = self.from + root;
        if sum <= 0.0 { 0.0 } else { (2.0 * n / sum).clamp(0.0, self.length) }
    }
}

/// Requests that fall due at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::load) struct Spike {
    /// Seconds from the start.
    pub(in crate::load) at: f64,
    /// How many.
    pub(in crate::load) size: u32,
}

/// The whole load over time.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::load) struct Shape {
    /// In order, without gaps.
    pub(in crate::load) phases: Vec<Phase>,
    /// In order.
    pub(in crate::load) spikes: Vec<Spike>,
    /// Seconds before the measured part: ramp and warm-up.
    pub(in crate::load) lead: f64,
}

/// What the burst pattern is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::load) struct Bursts {
    pub(in crate::load) size: u32,
    pub(in crate::load) every: f64,
    pub(in crate::load) base_rate: f64,
}

impl Shape {
    /// `n` requests at once.
    pub(in crate::load) fn simple(n: u32) -> Self {
        let phase = Phase { kind: Kind::Simple, start: 0.0, length: 0.0, from: 0.0, to: 0.0 };
        Self { phases: vec![phase], spikes: vec![Spike { at: 0.0, size: n }], lead: 0.0 }
    }

    /// One rate, held.
    pub(in crate::load) fn sustained(rate: f64, length: f64) -> Self {
        let phase = Phase { kind: Kind::Sustained, start: 0.0, length, from: rate, to: rate };
        Self { phases: vec![phase], spikes: Vec::new(), lead: 0.0 }
    }

    /// Spikes over a base rate. The first comes after one whole interval, so that the report shows
    /// what the fleet does without it.
    pub(in crate::load) fn burst(bursts: Bursts, length: f64) -> Self {
        let Bursts { size, every, base_rate } = bursts;
        let phase = Phase { kind: Kind::Burst, start: 0.0, length, from: base_rate, to: base_rate };
        let times = (1_u32..).map(|k| f64::from(k) * every).take_while(|t| *t < length);
        Self { phases: vec![phase], spikes: times.map(|at| Spike { at, size }).collect(), lead: 0.0 }
    }

    /// Puts a ramp and a warm-up before it, at the rate that it begins with.
    #[must_use]
    pub(in crate::load) fn after_lead_in(mut self, ramp: f64, warmup: f64) -> Self {
        let rate = self.phases.first().map_or(0.0, |p| p.from);
        let lead = [
            Phase { kind: Kind::Ramp, start: 0.0, length: ramp, from: 0.0, to: rate },
            Phase { kind: Kind::Warmup, start: ramp, length: warmup, from: rate, to: rate },
        ];
        self.lead = ramp + warmup;
        for phase in &mut self.phases {
            phase.start += self.lead;
        }
        for spike in &mut self.spikes {
            spike.at += self.lead;
        }
        self.phases.splice(0..0, lead.into_iter().filter(|p| p.length > 0.0));
        self
    }

    /// Seconds from the start to the end of the last phase.
    pub(in crate::load) fn length(&self) -> f64 {
        self.phases.last().map_or(0.0, Phase::end)
    }

    /// The phase at a time; the last one after the end.
    pub(in crate::load) fn phase_at(&self, at: f64) -> Option<&Phase> {
        self.phases.iter().find(|p| at < p.end()).or(self.phases.last())
    }

    /// Arrivals to be expected from a time on.
    pub(in crate::load) fn expected(&self) -> f64 {
        let base: f64 = self.phases.iter().filter(|p| p.start >= self.lead - 1e-9).map(Phase::expected).sum();
        base + self.spikes.iter().map(|s| f64::from(s.size)).sum::<f64>()
    }
}
