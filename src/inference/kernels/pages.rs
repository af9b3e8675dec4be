//! What the system is told of memory: weights are best on huge pages, and data in the binary need not stay once it was read.
//!
//! Weights are gone through from end to end for every batch. Where a batch is small that is most of the work, and with
//! pages of 4 KiB an eighth of it is to find out where each of them is. Packing a model reads all of its bytes, which are
//! then resident although nothing needs them again but the embedding tables, row by row; in a fleet on one machine that
//! counts once for each process.

use std::mem::MaybeUninit;

/// A huge page on x86-64, and on aarch64 with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

/// As many times the same, on huge pages as far as it fills such and the system has them.
pub(super) fn on_huge_pages<T: Copy>(value: T, count: usize) -> Vec<T> {
    let mut all = Vec::with_capacity(count);
    let _allowed = HugePages::allow(all.spare_capacity_mut());
    all.resize(count, value);
    all
}

/// While it is there, the process may have huge pages; the allocator has switched them off for all else. Where two threads
/// pack at once, one of them may get small ones.
struct HugePages;

impl HugePages {
    /// Asks for huge pages where there is room for any. They come when they are first written to.
    fn allow<T>(room: &mut [MaybeUninit<T>]) -> Option<Self> {
        let room = room.as_mut_ptr_range();
        let whole = room.start.addr().next_multiple_of(HUGE_PAGE)..room.end.addr() / HUGE_PAGE * HUGE_PAGE;
        #[cfg(target_os = "linux")]
        if !whole.is_empty() {
            use nix::libc;
            use nix::sys::prctl::{get_thp_disable, set_thp_disable};

            // SAFETY: whole pages inside an allocation of the caller's, in which nothing is yet: they may be taken away, so
            // that others come in their place. A refusal changes nothing.
            unsafe {
                libc::madvise(whole.start as *mut libc::c_void, whole.len(), libc::MADV_DONTNEED);
                libc::madvise(whole.start as *mut libc::c_void, whole.len(), libc::MADV_HUGEPAGE);
            }
            let switched_off = get_thp_disable().unwrap_or(false);
            return (switched_off && set_thp_disable(false).is_ok()).then_some(Self);
        }
        let _ = whole;
        None
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        // What can be switched on can be switched off; if not, memory is all that it costs.
        let _ = nix::sys::prctl::set_thp_disable(true);
    }
}

/// Tells the system that these bytes will hardly be read again. They still can be: they are then read from the binary's file.
pub fn release_pages(bytes: &'static [u8]) {
    #[cfg(target_os = "linux")]
    {
        use nix::libc;

        // SAFETY: asks for a number, touches nothing.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let Ok(page) = usize::try_from(page) else { return };
        let start = (bytes.as_ptr() as usize).next_multiple_of(page);
        let end = (bytes.as_ptr() as usize + bytes.len()) / page * page;
        if start < end {
            // SAFETY: whole pages inside a static byte array of the binary's read-only data: a private mapping of a file
            // that nobody has written to, so its content is the same when it is next read. A refusal changes nothing.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_hold_what_is_put_there() {
        for count in [0, 1, HUGE_PAGE / 8 - 1, 3 * HUGE_PAGE / 8 + 5] {
            let numbers = on_huge_pages(7u64, count);
            assert_eq!(numbers.len(), count);
            assert!(numbers.iter().all(|&number| number == 7));
        }
    }

    #[test]
    fn what_was_released_reads_the_same_again() {
        static BYTES: &[u8] =
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/models/clip-mini/model.safetensors"));
        let sum = || BYTES.iter().fold(0u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let before = sum();
        release_pages(BYTES);
        release_pages(&BYTES[..100]);
        release_pages(&[]);
        assert_eq!(sum(), before);
    }
}
