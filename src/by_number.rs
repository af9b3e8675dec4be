//! Tables of what a counter numbers: requests, and what is sent on a stream.
//!
//! Numbers that are in use at the same time lie close together, so each has the place that its low bits say, and is
//! found with one look. One that stays for so long that its place comes round again goes to a hash map.

use std::collections::HashMap;

/// No number's place.
const FREE: u32 = u32::MAX;

/// Where each of some numbers is kept: an index for [`ByNumber`] and for other tables with slots.
#[derive(Clone, Debug, Default)]
pub(crate) struct NumberIndex {
    /// A number and its slot, or [`FREE`]; as many as a power of two.
    places: Vec<(u64, u32)>,
    /// Taken places.
    taken: usize,
    /// Those whose places were needed by others.
    displaced: HashMap<u64, u32>,
    /// The greatest of those that were displaced since `places` grew: what is beyond it need not be looked up.
    greatest: u64,
}

impl NumberIndex {
    pub(crate) fn len(&self) -> usize {
        self.taken + self.displaced.len()
    }

    pub(crate) fn get(&self, number: u64) -> Option<u32> {
        match self.places.get(self.place(number)) {
            Some(&(at, slot)) if at == number && slot != FREE => Some(slot),
            _ if self.displaced.is_empty() || number > self.greatest => None,
            _ => self.displaced.get(&number).copied(),
        }
    }

    /// Notes a number that is not in.
    pub(crate) fn insert(&mut self, number: u64, slot: u32) {
        if 2 * self.taken >= self.places.len() {
            self.grow();
        }
        let place = self.place(number);
        let (other, its_slot) = std::mem::replace(&mut self.places[place], (number, slot));
        if its_slot == FREE {
            self.taken += 1;
        } else {
            self.displace(other, its_slot);
        }
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<u32> {
        let place = self.place(number);
        match self.places.get_mut(place) {
            Some((at, slot)) if *at == number && *slot != FREE => {
                self.taken -= 1;
                Some(std::mem::replace(slot, FREE))
            }
            _ if self.displaced.is_empty() || number > self.greatest => None,
            _ => self.displaced.remove(&number),
        }
    }

    fn place(&self, number: u64) -> usize {
        number as usize & self.places.len().wrapping_sub(1)
    }

    #[cold]
    fn grow(&mut self) {
        const LEAST: usize = 16;
        let len = (2 * self.places.len()).max(LEAST);
        let old = std::mem::replace(&mut self.places, vec![(0, FREE); len]);
        (self.taken, self.greatest) = (0, 0);
        let placed = old.into_iter().filter(|(_, slot)| *slot != FREE);
        for (number, slot) in placed.chain(std::mem::take(&mut self.displaced)) {
            let place = self.place(number);
            if self.places[place].1 == FREE {
                self.places[place] = (number, slot);
                self.taken += 1;
            } else {
                self.displace(number, slot);
            }
        }
    }

    #[cold]
    fn displace(&mut self, number: u64, slot: u32) {
        self.displaced.insert(number, slot);
        self.greatest = self.greatest.max(number);
    }
}

/// A table of what is numbered by a counter. Its memory is that of the most that it ever held.
#[derive(Debug)]
pub(crate) struct ByNumber<V> {
    index: NumberIndex,
    slots: Vec<Option<(u64, V)>>,
    /// Slots without a value; the last one that was freed, which is in the caches, is used first.
    free: Vec<u32>,
}

impl<V> Default for ByNumber<V> {
    fn default() -> Self {
        Self { index: NumberIndex::default(), slots: Vec::new(), free: Vec::new() }
    }
}

impl<V> ByNumber<V> {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, number: u64) -> Option<&V> {
        let slot = self.index.get(number)?;
        self.slots[slot as usize].as_ref().map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut V> {
        let slot = self.index.get(number)?;
        self.slots[slot as usize].as_mut().map(|(_, value)| value)
    }

    /// Puts a value in; what was in under this number goes.
    pub(crate) fn insert(&mut self, number: u64, value: V) {
        if let Some(old) = self.get_mut(number) {
            *old = value;
            return;
        }
        let entry = Some((number, value));
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = entry;
            slot
        } else {
            self.slots.push(entry);
            self.slots.len() as u32 - 1
        };
        self.index.insert(number, slot);
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<V> {
        let slot = self.index.remove(number)?;
        self.free.push(slot);
        self.slots[slot as usize].take().map(|(_, value)| value)
    }

    /// All, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.slots.iter().flatten().map(|(number, value)| (*number, value))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.slots.into_iter().flatten().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain map: counted numbers of which some stay long, and numbers that someone chose to collide.
        #[test]
        fn it_agrees_with_a_map(
            ops in proptest::collection::vec((0_u64..60, any::<bool>(), any::<bool>()), 0..400),
            stride in prop_oneof![Just(1_u64), Just(3), Just(1 << 20)],
        ) {
            let mut table = ByNumber::default();
            let mut map = BTreeMap::new();
            for (now, (age, insert, again)) in (0_u64..).zip(ops) {
                let number = if again { now.saturating_sub(age) } else { now } * stride;
                if insert {
                    table.insert(number, now);
                    map.insert(number, now);
                } else {
                    prop_assert_eq!(table.remove(number), map.remove(&number));
                }
                prop_assert_eq!(table.get(number), map.get(&number));
                prop_assert_eq!(table.get_mut(number).copied(), map.get(&number).copied());
                prop_assert_eq!((table.len(), table.is_empty()), (map.len(), map.is_empty()));
            }
            for (&number, value) in &map {
                prop_assert_eq!(table.get(number), Some(value));
            }
            let mut entries: Vec<_> = table.iter().map(|(number, value)| (number, *value)).collect();
            entries.sort_unstable();
            prop_assert_eq!(entries, map.iter().map(|(number, value)| (*number, *value)).collect::<Vec<_>>());
            prop_assert_eq!(table.values().sum::<u64>(), map.values().sum::<u64>());
            prop_assert_eq!(table.into_values().count(), map.len());
        }
    }

    #[test]
    fn counted_numbers_need_no_hash_map() {
        let mut index = NumberIndex::default();
        for number in 0..10_000 {
            index.insert(number, number as u32);
            if number >= 100 {
                assert_eq!(index.remove(number - 100), Some(number as u32 - 100));
            }
        }
        assert_eq!((index.len(), index.places.len(), index.displaced.len()), (100, 256, 0));
    }
}
