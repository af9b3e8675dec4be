//! An ordered index over small integers whose keys mostly come in order.
//!
//! What waits is ordered by when it came and how patient it is, and timers by when they were set and for how long:
//! of each kind (a priority, a time-out) the keys only grow. So each kind makes a sorted run, to which one adds at the
//! end and from which one takes anywhere, in O(1) and with few cache lines; patience sorting finds the runs in the
//! same way. What fits in none goes to a heap, in O(log n).

use super::heap::IndexedHeap;

/// Runs beside the heap: one for each priority, and one more.
const RUNS: usize = 4;
/// No id.
const NONE: u32 = u32::MAX;
/// The run of an id that is in none.
const NO_RUN: u8 = u8::MAX;

/// See the module. `K` orders; entries with equal keys come in no promised order.
#[derive(Clone, Debug)]
pub(super) struct SortedRuns<K> {
    runs: [Run<K>; RUNS],
    /// By id: its neighbours in its run.
    links: Vec<Link<K>>,
    /// Those that fit in no run.
    others: IndexedHeap<K>,
    /// The least of all.
    first: Option<(K, u32)>,
    len: usize,
}

/// A sorted, doubly linked list.
#[derive(Clone, Copy, Debug)]
struct Run<K> {
    head: u32,
    tail: u32,
    /// The head's key and the tail's, if there are any.
    least: K,
    greatest: K,
}

impl<K: Default> Default for Run<K> {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, least: K::default(), greatest: K::default() }
    }
}

#[derive(Clone, Copy, Debug)]
struct Link<K> {
    key: K,
    before: u32,
    behind: u32,
    run: u8,
}

impl<K: Default> Default for SortedRuns<K> {
    fn default() -> Self {
        Self {
            runs: std::array::from_fn(|_| Run::default()),
            links: Vec::new(),
            others: IndexedHeap::default(),
            first: None,
            len: 0,
        }
    }
}

impl<K: Ord + Copy + Default> SortedRuns<K> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The least key and whose it is.
    pub(super) fn peek(&self) -> Option<(K, u32)> {
        self.first
    }

    /// Every id, in no order.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        let some = |id: u32| (id != NONE).then_some(id);
        let of_run = move |run: &Run<K>| std::iter::successors(some(run.head), move |&id| some(self.link(id).behind));
        self.runs.iter().flat_map(of_run).chain(self.others.ids())
    }

    /// Gives `id` this key, whether it was in or not.
    pub(super) fn set(&mut self, id: u32, key: K) {
        if id as usize >= self.links.len() {
            let nowhere = Link { key: K::default(), before: NONE, behind: NONE, run: NO_RUN };
            self.links.resize(id as usize + 1, nowhere);
        }
        if self.link(id).run != NO_RUN && self.link(id).key == key {
            return;
        }
        self.remove(id);
        match self.run_for(key) {
            Some(run) => self.append(run, id, key),
            None => self.others.set(id, key),
        }
        self.len += 1;
        if self.first.is_none_or(|(least, _)| key < least) {
            self.first = Some((key, id));
        }
    }

    /// Takes `id` out, if it is in.
    pub(super) fn remove(&mut self, id: u32) {
        if self.links.get(id as usize).is_some_and(|link| link.run != NO_RUN) {
            self.unlink(id);
        } else if self.others.is_empty() || self.others.remove(id).is_none() {
            return;
        }
        self.len -= 1;
        if self.first.is_some_and(|(_, first)| first == id) {
            let others = self.others.peek();
            let heads = self.runs.iter().filter(|run| run.head != NONE).map(|run| Some((run.least, run.head)));
            self.first = heads.fold(others, |first, head| if first.is_none() || head < first { head } else { first });
        }
    }

    /// The first id, in order of keys, that is wanted, among the first `limit` (of the heap's, as many as it looks at).
    pub(super) fn find(&self, limit: usize, mut wanted: impl FnMut(u32) -> bool) -> Option<u32> {
        let (_, first) = self.first.filter(|_| limit > 0)?;
        if wanted(first) { Some(first) } else { self.find_behind(first, limit, wanted) }
    }

    /// The same, where the first is known not to be wanted.
    #[cold]
    fn find_behind(&self, first: u32, limit: usize, mut wanted: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut heads = self.runs.map(|run| run.head);
        let mut others = self.others.in_order().peekable();
        for _ in 0..limit {
            let of_runs = (0..RUNS).filter(|&run| heads[run] != NONE).min_by_key(|&run| self.link(heads[run]).key);
            let id = match (of_runs, others.peek()) {
                (Some(run), other) if other.is_none_or(|(key, _)| self.link(heads[run]).key <= *key) => {
                    let id = heads[run];
                    heads[run] = self.link(id).behind;
                    id
                }
                _ => others.next()?.1,
            };
            if id != first && wanted(id) {
                return Some(id);
            }
        }
        None
    }

    /// The run to whose end this key fits best, if it fits to any.
    fn run_for(&self, key: K) -> Option<usize> {
        let fits = |&run: &usize| self.runs[run].head != NONE && self.runs[run].greatest <= key;
        let best = (0..RUNS).filter(fits).max_by_key(|&run| self.runs[run].greatest);
        best.or_else(|| self.runs.iter().position(|run| run.head == NONE))
    }

    fn append(&mut self, run: usize, id: u32, key: K) {
        let ends = &mut self.runs[run];
        let before = std::mem::replace(&mut ends.tail, id);
        ends.greatest = key;
        if before == NONE {
            (ends.head, ends.least) = (id, key);
        } else {
            self.links[before as usize].behind = id;
        }
        self.links[id as usize] = Link { key, before, behind: NONE, run: run as u8 };
    }

    fn unlink(&mut self, id: u32) {
        let Link { before, behind, run, .. } = *self.link(id);
        let ends = &mut self.runs[run as usize];
        if let Some(link) = self.links.get_mut(before as usize) {
            link.behind = behind;
            if behind == NONE {
                ends.greatest = link.key;
            }
        } else {
            ends.head = behind;
        }
        if let Some(link) = self.links.get_mut(behind as usize) {
            link.before = before;
            if before == NONE {
                ends.least = link.key;
            }
        } else {
            ends.tail = before;
        }
        self.links[id as usize].run = NO_RUN;
    }

    fn link(&self, id: u32) -> &Link<K> {
        &self.links[id as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::heap::MAX_LOOK;
    use super::*;

    proptest! {
        /// Against a plain map: the same least key, the same members, the same order, whether keys come in order or not.
        #[test]
        fn it_agrees_with_a_map(
            ops in proptest::collection::vec((0_u32..40, 0_u64..30, 0_u8..5), 0..300),
            growing in any::<bool>(),
        ) {
            let mut runs = SortedRuns::default();
            let mut map = BTreeMap::new();
            for (now, (id, key, op)) in (0..).zip(ops) {
                // A few kinds of time-out, or anything.
                let key = if growing { now + 20 * (key % 6) } else { key };
                match op {
                    0..=2 => { runs.set(id, key); map.insert(id, key); }
                    3 => { runs.remove(id); map.remove(&id); }
                    _ => if let Some((key, id)) = runs.peek() {
                        prop_assert_eq!(Some(&key), map.values().min());
                        prop_assert_eq!(map.remove(&id), Some(key));
                        runs.remove(id);
                    }
                }
                prop_assert_eq!(runs.len(), map.len());
                prop_assert_eq!(runs.peek().map(|e| e.0), map.values().min().copied());
                let mut ids: Vec<_> = runs.ids().collect();
                ids.sort_unstable();
                prop_assert_eq!(ids, map.keys().copied().collect::<Vec<_>>());
            }
            let mut ids = Vec::new();
            runs.find(MAX_LOOK, |id| { ids.push(id); false });
            let seen: Vec<_> = ids.iter().map(|id| map[id]).collect();
            ids.sort_unstable();
            ids.dedup();
            prop_assert_eq!(ids.len(), seen.len(), "each is asked about once");
            let mut sorted: Vec<_> = map.into_values().collect();
            sorted.sort_unstable();
            sorted.truncate(MAX_LOOK);
            prop_assert_eq!(seen, sorted);
        }
    }

    #[test]
    fn kinds_that_only_grow_need_no_heap() {
        let mut runs = SortedRuns::default();
        for now in 0..1000_u32 {
            // Four patiences, in turns that repeat nowhere soon.
            let patience = [0, 2000, 8000, 30_000][(now * now + now / 7) as usize % 4];
            runs.set(now, now + patience);
        }
        assert!(runs.len() == 1000 && runs.others.is_empty());
    }
}
