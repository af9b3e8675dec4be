//! The processor's caches: how large, and how to have in them what is needed next.
//!
//! A layer's weights are read once a batch, and those of a network are more than any cache holds: they come from memory. The
//! tiles of one group of panels therefore bring the next group near while they compute. Without that the first tile of
//! each group waits for memory, and all of them at the end of a small batch.

use std::sync::LazyLock;

/// Bytes of a cache line on every processor that has a kernel of its own here.
pub(super) const LINE_BYTES: usize = 64;

/// Bytes of the second-level cache of a core; a small one where it is not known.
pub(super) fn second_level() -> usize {
    const SMALL: usize = 512 * 1024;
    static SIZE: LazyLock<usize> = LazyLock::new(|| {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::__cpuid;
            const CACHE_LEAF: u32 = 0x8000_0006;
            if __cpuid(0x8000_0000).eax >= CACHE_LEAF {
                // Kilobytes in the upper half, on AMD's processors and on Intel's.
                let size = (__cpuid(CACHE_LEAF).ecx >> 16) as usize * 1024;
                return if size == 0 { SMALL } else { size };
            }
        }
        SMALL
    });
    *SIZE
}

/// The next group of panels, handed out in as many parts as this group has tiles.
pub(super) struct Ahead<T> {
    /// Where the next part begins, and how many lines of its panel are wanted from there on.
    part: *const T,
    left: usize,
    /// Lines from one panel to the next, and how many of them are wanted.
    panel: usize,
    depth: usize,
    /// Lines in a part.
    lines: usize,
    /// Bytes of a part for each step of a tile.
    step: usize,
}

impl<T> Ahead<T> {
    /// `next` begins with the next group, which has `panels`, each `panel` lines apart, of which `depth` are wanted.
    pub(super) fn new(next: &[T], [panels, panel, depth]: [usize; 3], tiles: usize) -> Self {
        // No part goes from one panel into the next, but where there is only one tile for all of them.
        let lines = if tiles < panels { panels * depth } else { depth.div_ceil(tiles / panels) };
        let step = if next.is_empty() { 0 } else { (size_of::<T>() * lines).div_ceil(depth.max(1)) };
        Self { part: next.as_ptr(), left: depth, panel, depth, lines, step }
    }

    /// Where the next part begins, and how many bytes of it each of `depth` steps of a tile should bring. (Parts need not
    /// lie in `next`: they are only brought near.)
    pub(super) fn part(&mut self) -> (*const T, usize) {
        let part = self.part;
        let lines = if self.lines < self.left {
            self.left -= self.lines;
            self.lines
        } else {
            let to_next_panel = self.left + self.panel - self.depth;
            self.left = self.depth;
            to_next_panel
        };
        self.part = part.wrapping_add(lines);
        (part, self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_has_a_second_level_cache() {
        assert!((128 << 10..=64 << 20).contains(&second_level()), "{}", second_level());
    }

    /// All tiles together bring all lines of the next group.
    #[test]
    fn every_line_is_brought_near_once() {
        let next: Vec<[u8; 64]> = vec![[0; 64]; 2 * 100];
        for tiles in [1, 2, 3, 7, 50] {
            let mut ahead = Ahead::new(&next, [2, 100, 60], tiles);
            let mut near = [false; 200];
            for _ in 0..tiles {
                let (from, step) = ahead.part();
                let from = (from.addr() - next.as_ptr().addr()) / 64;
                for k in 0..60 {
                    let line = from + k * step / 64;
                    // A step of more than a line leaves every other one to the processor's own foresight.
                    near.iter_mut().skip(line).take(step.div_ceil(64)).for_each(|near| *near = true);
                }
            }
            let wanted = (0..60).chain(100..160);
            let missing: Vec<usize> = wanted.filter(|&line| !near[line]).collect();
            // A tile that begins in one panel ends there.
            assert!(missing.len() <= 60 / tiles + 1, "{tiles} tiles: {missing:?}");
        }
        assert_eq!(Ahead::new(&next[..0], [2, 100, 60], 3).part().1, 0);
    }
}
