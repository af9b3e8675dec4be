//! Tables of what a counter numbers: requests, and what is sent on a stream.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table of what is numbered by a counter.
pub(crate) type ByNumber<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Numbers are counters of our own making, so nobody outside can choose them to collide. Their low bits
/// stay as they are: requests that came one after the other lie beside one another in the table, and finding
/// those that are due together meets few cache lines. The top bits, by which the table tells entries
/// apart, are mixed.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(u64::from(b));
        }
    }

    fn write_u64(&mut self, n: u64) {
        let n = self.0.rotate_left(5) ^ n;
        self.0 = (n & (u64::MAX >> 7)) | (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) & !(u64::MAX >> 7));
    }
}
