//! A 4-ary min-heap over small integers that can also change or remove any entry.
//!
//! One structure serves the waiting queues, the timers and the index of workers by predicted finish:
//! each needs the least entry, and each needs to take out one in the middle (cancelled, re-armed,
//! loaded) in O(log n). Four children a node keep it flat, and a node's children in one or two
//! cache lines.

const ARITY: usize = 4;
const ABSENT: u32 = u32::MAX;

/// See the module. `K` orders; entries with equal keys come in no promised order.
#[derive(Clone, Debug)]
pub(super) struct IndexedHeap<K> {
    entries: Vec<(K, u32)>,
    /// Where each id stands in `entries`, or [`ABSENT`].
    places: Vec<u32>,
}

impl<K> Default for IndexedHeap<K> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: Vec::new() }
    }
}

impl<K: Ord + Copy> IndexedHeap<K> {
    /// Most entries that [`Self::find`] looks at.
    pub(super) const MAX_LOOK: usize = 16;

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The least key and whose it is.
    pub(super) fn peek(&self) -> Option<(K, u32)> {
        self.entries.first().copied()
    }

    /// Every id, in no order.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().map(|e| e.1)
    }

    pub(super) fn key(&self, id: u32) -> Option<K> {
        self.place(id).map(|at| self.entries[at].0)
    }

    /// Gives `id` this key, whether it was in or not.
    pub(super) fn set(&mut self, id: u32, key: K) {
        if let Some(at) = self.place(id) {
            let old = self.entries[at].0;
            self.entries[at].0 = key;
            if key < old {
                self.sift_up(at);
            } else if key > old {
                self.sift_down(at);
            }
            return;
        }
        let index = id as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, ABSENT);
        }
        self.entries.push((key, id));
        self.sift_up(self.entries.len() - 1);
    }

    /// Takes `id` out; its key, if it was in.
    pub(super) fn remove(&mut self, id: u32) -> Option<K> {
        let at = self.place(id)?;
        let (key, _) = self.entries.swap_remove(at);
        self.places[id as usize] = ABSENT;
        if at < self.entries.len() {
            // What came from the end may belong above or below this place.
            let moved = self.sift_up(at);
            self.sift_down(moved);
        }
        Some(key)
    }

    /// The first id, in order of keys, that is wanted, among the first `limit`.
    pub(super) fn find(&self, limit: usize, mut wanted: impl FnMut(u32) -> bool) -> Option<u32> {
        let (_, first) = self.entries.first()?;
        if limit > 0 && wanted(*first) {
            return Some(*first);
        }
        self.find_behind_first(limit.min(Self::MAX_LOOK), wanted)
    }

    /// The same, where the first is known not to be wanted.
    #[cold]
    fn find_behind_first(&self, limit: usize, mut wanted: impl FnMut(u32) -> bool) -> Option<u32> {
        // Best-first search: whoever comes next is a child of one that was looked at. Each look takes
        // one out of the frontier and puts at most ARITY in.
        let mut frontier = [0_usize; 1 + 16 * (ARITY - 1) + 1];
        let mut len = ARITY.min(self.entries.len() - 1);
        for (place, child) in frontier.iter_mut().zip(1..=len) {
            *place = child;
        }
        for _ in 1..limit {
            let next = (0..len).min_by_key(|&i| self.entries[frontier[i]].0)?;
            let at = frontier[next];
            let id = self.entries[at].1;
            if wanted(id) {
                return Some(id);
            }
            len -= 1;
            frontier[next] = frontier[len];
            for child in at * ARITY + 1..=at * ARITY + ARITY {
                if child < self.entries.len() && len < frontier.len() {
                    frontier[len] = child;
                    len += 1;
                }
            }
        }
        None
    }

    fn place(&self, id: u32) -> Option<usize> {
        self.places.get(id as usize).filter(|&&at| at != ABSENT).map(|&at| at as usize)
    }

    fn put(&mut self, at: usize, entry: (K, u32)) {
        self.entries[at] = entry;
        self.places[entry.1 as usize] = at as u32;
    }

    fn sift_up(&mut self, mut at: usize) -> usize {
        let entry = self.entries[at];
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if self.entries[parent].0 <= entry.0 {
                break;
            }
            self.put(at, self.entries[parent]);
            at = parent;
        }
        self.put(at, entry);
        at
    }

    fn sift_down(&mut self, mut at: usize) {
        let entry = self.entries[at];
        loop {
            let first = at * ARITY + 1;
            let last = (first + ARITY).min(self.entries.len());
            let Some(least) = (first..last).min_by_key(|&child| self.entries[child].0) else { break };
            if self.entries[least].0 >= entry.0 {
                break;
            }
            self.put(at, self.entries[least]);
            at = least;
        }
        self.put(at, entry);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain map: the same least key, the same members, the same order.
        #[test]
        fn it_agrees_with_a_map(ops in proptest::collection::vec((0_u32..40, 0_u64..30, 0_u8..4), 0..300)) {
            let mut heap = IndexedHeap::default();
            let mut map = BTreeMap::new();
            for (id, key, op) in ops {
                match op {
                    0..=1 => { heap.set(id, key); map.insert(id, key); }
                    2 => prop_assert_eq!(heap.remove(id), map.remove(&id)),
                    _ => if let Some((key, id)) = heap.peek() {
                        prop_assert_eq!(Some(&key), map.values().min());
                        prop_assert_eq!(heap.remove(id), map.remove(&id));
                    }
                }
                prop_assert_eq!(heap.len(), map.len());
                prop_assert_eq!(heap.peek().map(|e| e.0), map.values().min().copied());
                for (&id, &key) in &map { prop_assert_eq!(heap.key(id), Some(key)); }
            }
            let mut seen = Vec::new();
            heap.find(16, |id| { seen.extend(heap.key(id)); false });
            let mut sorted: Vec<_> = map.into_values().collect();
            sorted.sort_unstable();
            sorted.truncate(16);
            prop_assert_eq!(seen, sorted);
        }
    }
}
