//! Gives pages of data in the binary back to the system once they have been read.
//!
//! Packing a model reads all of its bytes, which are then resident although nothing needs them again but the embedding
//! tables, row by row. In a fleet on one machine that counts once for each process.

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
