//! The mixed pattern: quiet, ramp, burst and sustained phases in an order drawn from the seed.

use super::shape::{Kind, Phase, Shape, Spike};
use crate::load::draws::{Draws, Stream};

/// What the mixed pattern is made of. Seconds, and requests a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::load) struct Mixed {
    /// The busiest a steady phase may be.
    pub(in crate::load) peak: f64,
    /// How long in all.
    pub(in crate::load) length: f64,
    /// Requests in a spike.
    pub(in crate::load) burst_size: u32,
    pub(in crate::load) seed: u64,
}

impl Mixed {
    /// A phase is about an eighth of the whole, so that each kind comes twice, within these bounds:
    /// shorter ones show nothing, longer ones make a long run monotonous.
    const SHORTEST: f64 = 2.0;
    const LONGEST: f64 = 20.0;

    pub(in crate::load) fn shape(self) -> Shape {
        let mut draws = Draws::new(self.seed, Stream::Phases);
        let usual = (self.length / 8.0).clamp(Self::SHORTEST, Self::LONGEST);
        let mut shape = Shape { phases: Vec::new(), spikes: Vec::new(), lead: 0.0 };
        let mut at = 0.0;
        while at < self.length {
            for kind in Self::round(&mut draws, at == 0.0) {
                let left = self.length - at;
                if left <= 0.0 {
                    break;
                }
                let drawn = usual * draws.between(0.75, 1.25);
                // What is left over and too short to stand alone joins the phase before it.
                let length = if left - drawn < 0.5 * usual { left } else { drawn };
                self.add(&mut shape, kind, (at, length), &mut draws);
                at = if length >= left { self.length } else { at + length };
            }
        }
        shape
    }

    /// The four kinds in a drawn order; the first round begins quiet, to show the fleet at rest.
    fn round(draws: &mut Draws, first: bool) -> [Kind; 4] {
        let mut kinds = [Kind::Quiet, Kind::Ramp, Kind::Burst, Kind::Sustained];
        let fixed = usize::from(first);
        for i in (fixed + 1..kinds.len()).rev() {
            kinds.swap(i, fixed + draws.below(i + 1 - fixed));
        }
        kinds
    }

    fn add(self, shape: &mut Shape, kind: Kind, (start, length): (f64, f64), draws: &mut Draws) {
        let peak = self.peak;
        let before = shape.phases.last().map_or(0.0, |p| p.to);
        let to = match kind {
            Kind::Quiet => peak * draws.between(0.1, 0.2),
            Kind::Burst => peak * 0.2,
            Kind::Ramp => peak,
            _ => peak * draws.between(0.6, 0.9),
        };
        let from = if kind == Kind::Ramp { before.min(peak * 0.3) } else { to };
        if kind == Kind::Burst {
            // Two spikes, with room to recover after each.
            shape.spikes.extend([0.2, 0.6].map(|part| Spike { at: start + part * length, size: self.burst_size }));
        }
        shape.phases.push(Phase { kind, start, length, from, to });
    }
}
