//! A mutable buffer that several threads of one loop write to, each its own part.

use std::marker::PhantomData;

/// A `&mut [T]` that can be split by index at run time instead of by the borrow checker.
#[derive(Clone, Copy)]
pub(super) struct SharedMut<'a, T> {
    pointer: *mut T,
    length: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]`, which may be sent when `T` may; who splits it promises disjoint parts.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Self {
        Self { pointer: slice.as_mut_ptr(), length: slice.len(), lifetime: PhantomData }
    }

    /// The part of `length` elements from `start`.
    ///
    /// # Safety
    /// No other live reference may overlap the part.
    ///
    /// # Panics
    /// When the part lies outside the buffer.
    // The whole point is a `&mut` out of a shared handle; the safety contract above is what makes it sound.
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise, as in split_at_mut")]
    pub(super) unsafe fn slice_mut(&self, start: usize, length: usize) -> &mut [T] {
        assert!(start <= self.length && length <= self.length - start, "part outside the buffer");
        // SAFETY: inside the buffer, which is borrowed mutably for 'a; disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(start), length) }
    }

    /// Pointer to element `start`, for kernels that write rows with a stride.
    pub(super) fn pointer(&self, start: usize) -> *mut T {
        debug_assert!(start <= self.length);
        self.pointer.wrapping_add(start)
    }
}
