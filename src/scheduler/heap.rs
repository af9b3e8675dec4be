//! A 4-ary min-heap over small integers that can also change or remove any entry.
//!
//! It serves the index of workers by predicted finish, the workers' timers, and what of the requests comes in no
//! order (see `runs`): each needs the least entry, and each needs to take out one in the middle (re-armed, loaded,
//! cancelled) in O(log n). Four children a node keep it flat, and a node's children in one or two cache lines.

const ARITY: usize = 4;
const ABSENT: u32 = u32::MAX;
/// Most entries that a search looks at.
pub(super) const MAX_LOOK: usize = 16;

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
        let (_, first) = self.entries.first().filter(|_| limit > 0)?;
        if wanted(*first) { Some(*first) } else { self.find_behind_first(limit, wanted) }
    }

    /// The same, where the first is known not to be wanted.
    #[cold]
    fn find_behind_first(&self, limit: usize, mut wanted: impl FnMut(u32) -> bool) -> Option<u32> {
        self.in_order().take(limit).skip(1).map(|entry| entry.1).find(|&id| wanted(id))
    }

    /// The first [`MAX_LOOK`] entries, in order.
    pub(super) fn in_order(&self) -> InOrder<'_, K> {
        InOrder { entries: &self.entries, frontier: [0; FRONTIER], len: self.entries.len().min(1), looks: 0 }
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

/// Room for what the last look but one leaves of its children, and the root.
const FRONTIER: usize = 1 + MAX_LOOK * (ARITY - 1);

/// A best-first search: whoever comes next is a child of one that was looked at. Each look takes one out of
/// the frontier and puts at most `ARITY` in.
#[derive(Clone, Debug)]
pub(super) struct InOrder<'a, K> {
    entries: &'a [(K, u32)],
    /// Places in the heap.
    frontier: [usize; FRONTIER],
    len: usize,
    looks: usize,
}

impl<K: Ord + Copy> Iterator for InOrder<'_, K> {
    type Item = (K, u32);

    fn next(&mut self) -> Option<(K, u32)> {
        if self.looks == MAX_LOOK {
            return None;
        }
        let next = (0..self.len).min_by_key(|&i| self.entries[self.frontier[i]].0)?;
        let at = self.frontier[next];
        self.looks += 1;
        self.len -= 1;
        self.frontier[next] = self.frontier[self.len];
        for child in (at * ARITY + 1..=at * ARITY + ARITY).take_while(|&child| child < self.entries.len()) {
            self.frontier[self.len] = child;
            self.len += 1;
        }
        Some(self.entries[at])
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
                prop_assert_eq!(heap.ids().count(), map.len());
                prop_assert_eq!(heap.peek().map(|e| e.0), map.values().min().copied());
                for (&id, &key) in &map { prop_assert_eq!(heap.key(id), Some(key)); }
            }
            let mut seen = Vec::new();
            heap.find(MAX_LOOK, |id| { seen.extend(heap.key(id)); false });
            let mut sorted: Vec<_> = map.into_values().collect();
            sorted.sort_unstable();
            sorted.truncate(MAX_LOOK);
            prop_assert_eq!(seen, sorted);
        }
    }
}
