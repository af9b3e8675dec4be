//! How large a batch should be: what a unit takes in batches of different sizes, as they ran.
//!
//! A line through the costs of batches of about one size can't tell what larger ones would gain: small ones wait for
//! weights from memory, and threads for each other. So each size has its own figure. All of them are relative to a level
//! that every batch moves, so that a machine with busy neighbours becomes slower at every size at once.

/// The sizes of one task.
#[derive(Clone, Debug, Default)]
pub(super) struct Sizes {
    /// Natural logarithm of the seconds of a unit, whatever the size.
    level: f64,
    /// What each size adds to it, from `2^(index / 2)` units on, and how many batches say so.
    shares: [(f64, u32); Self::COUNT],
}

impl Sizes {
    /// Half octaves up to some four thousand units; what is larger counts as the largest.
    const COUNT: usize = 24;
    /// Weight of a batch for the level.
    const LEVEL: f64 = 0.1;
    /// Least weight of a batch for its size: a memory of some thirty batches of this size.
    const SHARE: f64 = 0.03;
    /// By how much more a unit may take than at the best size: everyone in a larger batch waits longer.
    const NEAR: f64 = 0.03;

    /// Takes in a batch that ran.
    pub(super) fn observe(&mut self, units: usize, seconds: f64) {
        let seconds_a_unit = (seconds / units.max(1) as f64).ln();
        if !seconds_a_unit.is_finite() {
            return;
        }
        if self.shares.iter().all(|(_, batches)| *batches == 0) {
            self.level = seconds_a_unit;
        }
        let (share, batches) = &mut self.shares[Self::index(units)];
        *batches = batches.saturating_add(1);
        let surprise = seconds_a_unit - self.level - *share;
        *share += surprise * (1.0 / f64::from(*batches)).max(Self::SHARE);
        // The first batch of a size says nothing of the machine.
        if *batches > 1 {
            self.level += surprise * Self::LEVEL;
        }
    }

    /// The most units of the smallest batches in which a unit takes about as little as in any that ran.
    pub(super) fn worthwhile(&self) -> f64 {
        let ran = || self.shares.iter().enumerate().filter(|(_, (_, batches))| *batches > 0);
        let best = ran().map(|(_, (share, _))| *share).fold(f64::INFINITY, f64::min);
        let smallest = ran().find(|(_, (share, _))| *share <= best + Self::NEAR);
        smallest.map_or(0.0, |(index, _)| 2f64.powf((index + 1) as f64 / 2.0))
    }

    fn index(units: usize) -> usize {
        let octaves = (units.max(1) as f64).log2();
        ((2.0 * octaves) as usize).min(Self::COUNT - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of this many units each, in turns, with some noise.
    fn after(sizes: &mut Sizes, batches: usize, units: &[usize], seconds: impl Fn(f64) -> f64) {
        for (index, &units) in units.iter().cycle().take(batches).enumerate() {
            let noise = [0.97, 1.04, 1.0, 1.1, 0.95][index % 5];
            sizes.observe(units, seconds(units as f64) * noise);
        }
    }

    #[test]
    fn the_smallest_of_those_that_cost_least_is_found() {
        let mut sizes = Sizes::default();
        assert!(sizes.worthwhile() < 1.0, "nothing ran");
        // 12 ms whatever is in it, and half a millisecond a unit: at 20 units 1.1 ms a unit, at 320 units 0.54.
        after(&mut sizes, 400, &[5, 20, 80, 320, 640], |units| 0.0005f64.mul_add(units, 0.012));
        assert!((250.0..=730.0).contains(&sizes.worthwhile()), "{}", sizes.worthwhile());
        // Nothing is gained beyond 20.
        let mut sizes = Sizes::default();
        after(&mut sizes, 400, &[5, 20, 80, 320], |units| if units < 20.0 { 0.01 } else { 0.0005 * units });
        assert!((20.0..=40.0).contains(&sizes.worthwhile()), "{}", sizes.worthwhile());
    }

    /// A neighbour that takes half of the machine makes batches slower, not smaller or larger.
    #[test]
    fn a_slower_machine_changes_no_sizes() {
        let seconds = |units: f64| 0.0005f64.mul_add(units, 0.012);
        let mut sizes = Sizes::default();
        after(&mut sizes, 200, &[5, 20, 80, 320], seconds);
        let before = sizes.worthwhile();
        after(&mut sizes, 200, &[320], |units| 2.0 * seconds(units));
        after(&mut sizes, 20, &[80, 320], |units| 2.0 * seconds(units));
        assert!(sizes.worthwhile() >= before, "{} after {before}", sizes.worthwhile());
    }

    #[test]
    fn no_batch_is_too_large_or_too_quick_to_count() {
        let mut sizes = Sizes::default();
        sizes.observe(usize::MAX, 1.0);
        sizes.observe(0, 0.0);
        sizes.observe(1, f64::NAN);
        assert!(sizes.worthwhile().is_finite());
    }
}
