//! Workers by what they are expected to cost, in buckets of an eighth of a power of two.

use super::ranking::GRAIN_BITS;

/// Buckets of each power of two.
const SUBS: u32 = 1 << GRAIN_BITS;
/// Powers of two from a microsecond to two weeks; what is below or above is in the first or the last bucket.
const OCTAVES: u32 = 40;
const LOWEST: f64 = 1.0 / (1 << 20) as f64;
const WORDS: usize = (SUBS * OCTAVES / u64::BITS) as usize;
const BUCKETS: usize = WORDS * u64::BITS as usize;

/// No worker.
const NONE: u32 = u32::MAX;
/// The bucket of a worker that is in none.
const NO_BUCKET: u16 = u16::MAX;

/// See the module. Adding and removing take O(1), however many there are.
#[derive(Clone, Debug)]
pub(super) struct ByCost {
    /// The first of each bucket.
    heads: [u32; BUCKETS],
    /// The buckets that are not empty, as bits.
    some: [u64; WORDS],
    /// By worker: its neighbours in its bucket.
    links: Vec<Link>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    cost: f64,
    before: u32,
    behind: u32,
    bucket: u16,
}

impl Default for ByCost {
    fn default() -> Self {
        Self { heads: [NONE; BUCKETS], some: [0; WORDS], links: Vec::new(), len: 0 }
    }
}

impl ByCost {
    /// Gives a worker this cost, whether it was in or not.
    pub(super) fn set(&mut self, key: u32, cost: f64) {
        let at = key as usize;
        if at >= self.links.len() {
            self.links.resize(at + 1, Link { cost: 0.0, before: NONE, behind: NONE, bucket: NO_BUCKET });
        }
        let bucket = bucket(cost);
        if self.links[at].bucket == bucket {
            self.links[at].cost = cost;
            return;
        }
        self.remove(key);
        let behind = std::mem::replace(&mut self.heads[bucket as usize], key);
        if behind != NONE {
            self.links[behind as usize].before = key;
        }
        self.links[at] = Link { cost, before: NONE, behind, bucket };
        self.len += 1;
        self.some[bucket as usize / 64] |= 1 << (bucket % 64);
    }

    /// Takes a worker out, if it is in.
    pub(super) fn remove(&mut self, key: u32) {
        let Some(link) = self.links.get_mut(key as usize).filter(|link| link.bucket != NO_BUCKET) else { return };
        let Link { before, behind, bucket, .. } = *link;
        link.bucket = NO_BUCKET;
        self.len -= 1;
        if behind != NONE {
            self.links[behind as usize].before = before;
        }
        if before != NONE {
            self.links[before as usize].behind = behind;
            return;
        }
        self.heads[bucket as usize] = behind;
        if behind == NONE {
            self.some[bucket as usize / 64] &= !(1 << (bucket % 64));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The one that costs least of those wanted, among the first `limit`, and what it costs.
    pub(super) fn least(&self, limit: usize, mut wanted: impl FnMut(u32) -> bool) -> Option<(f64, u32)> {
        if self.len == 0 {
            return None;
        }
        self.in_order().take(limit).find(|&key| wanted(key)).map(|key| (self.links[key as usize].cost, key))
    }

    /// Workers by bucket.
    fn in_order(&self) -> impl Iterator<Item = u32> + '_ {
        let bits = |word: u64| {
            std::iter::successors(Some(word), |rest| Some(rest & rest.wrapping_sub(1)))
                .take_while(|rest| *rest != 0)
                .map(|rest| rest.trailing_zeros() as usize)
        };
        let buckets = (0..WORDS).flat_map(move |word| bits(self.some[word]).map(move |bit| 64 * word + bit));
        buckets.flat_map(move |bucket| {
            let some = |key: u32| (key != NONE).then_some(key);
            std::iter::successors(some(self.heads[bucket]), move |&key| some(self.links[key as usize].behind))
        })
    }
}

fn bucket(cost: f64) -> u16 {
    // Positive numbers' bits order like them; the exponent and the first bits of the fraction are a bucket's number.
    const DROPPED: u32 = f64::MANTISSA_DIGITS - 1 - GRAIN_BITS;
    let number = (cost.to_bits() >> DROPPED).saturating_sub(LOWEST.to_bits() >> DROPPED);
    number.min(BUCKETS as u64 - 1) as u16
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain map: the least is the least, give or take its bucket.
        #[test]
        fn it_agrees_with_a_map(
            ops in proptest::collection::vec((0_u32..20, prop_oneof![1e-7..1e7_f64, Just(0.0), Just(f64::INFINITY)], any::<bool>()), 0..200),
        ) {
            let mut by_cost = ByCost::default();
            let mut map = BTreeMap::new();
            for (key, cost, set) in ops {
                if set {
                    by_cost.set(key, cost);
                    map.insert(key, cost);
                } else {
                    by_cost.remove(key);
                    map.remove(&key);
                }
                let least = map.values().copied().reduce(f64::min);
                let known = by_cost.least(1, |_| true).map(|(cost, _)| cost);
                prop_assert_eq!(known.map(bucket), least.map(bucket));
                prop_assert_eq!(by_cost.len(), map.len());
                let mut keys: Vec<_> = by_cost.in_order().collect();
                keys.sort_unstable();
                prop_assert_eq!(keys, map.keys().copied().collect::<Vec<_>>());
                for (&key, &cost) in &map {
                    prop_assert_eq!(by_cost.least(map.len(), |k| k == key), Some((cost, key)));
                }
            }
        }
    }

    #[test]
    fn a_bucket_is_an_eighth_of_a_power_of_two() {
        assert_eq!(bucket(0.0), 0);
        assert_eq!(bucket(LOWEST), 0);
        assert_eq!(bucket(1.0), 160);
        assert_eq!(bucket(1.124), 160);
        assert_eq!(bucket(1.125), 161);
        assert_eq!(bucket(2.0), 168);
        assert_eq!(usize::from(bucket(f64::INFINITY)), BUCKETS - 1);
    }
}
