//! Reusable scratch buffers: each thread takes one from its pool, uses it and returns it, so that nothing is allocated in the steady state.

use std::cell::RefCell;

/// Bytes of a cache line, at which buffers begin: rows of vectors and tiles then lie in one line each.
const LINE: usize = 64;

/// Numbers that begin at a cache line.
#[derive(Debug, Default)]
pub struct Buffer<T> {
    /// As many, and enough to begin later.
    all: Vec<T>,
    first: usize,
    len: usize,
}

impl<T: Copy + Default> Buffer<T> {
    /// `len` times the default.
    pub fn new(len: usize) -> Buffer<T> {
        let all = vec![T::default(); len + LINE];
        let first = all.as_ptr().align_offset(LINE);
        assert!(first <= LINE, "numbers that can begin at a cache line");
        Buffer { all, first, len }
    }
}

impl<T> std::ops::Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.all[self.first..][..self.len]
    }
}

impl<T> std::ops::DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.all[self.first..][..self.len]
    }
}

/// Numbers that buffers can be made of.
pub trait Scratch: Copy + Default + 'static {
    /// The calling thread's buffers that are not in use.
    fn with_pool<R>(f: impl FnOnce(&RefCell<Vec<Buffer<Self>>>) -> R) -> R;
}

/// Lets buffers be made of some types.
macro_rules! scratch {
    ($($t:ty),*) => {
        $(impl $crate::scratch::Scratch for $t {
            fn with_pool<R>(f: impl FnOnce(&std::cell::RefCell<Vec<$crate::scratch::Buffer<Self>>>) -> R) -> R {
                thread_local!(static POOL: std::cell::RefCell<Vec<$crate::scratch::Buffer<$t>>> = const { std::cell::RefCell::new(Vec::new()) });
                POOL.with(f)
            }
        })*
    };
}

pub(crate) use scratch;

scratch!(f32, f64, u16);

/// Calls `f` with a buffer of `len` elements with unspecified contents: this thread's most recently returned free buffer, if any.
pub fn with<T: Scratch, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    let mut buffer = T::with_pool(|pool| pool.borrow_mut().pop()).unwrap_or_default();
    if buffer.len() < len {
        buffer = Buffer::new(len);
    }
    let result = f(&mut buffer[..len]);
    T::with_pool(|pool| pool.borrow_mut().push(buffer));
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::RowOffsets;

    fn begins<T: Scratch>() {
        for len in [1, 7, 1000, 3] {
            with(len, |one: &mut [T]| {
                with(2 * len, |two: &mut [T]| {
                    assert_eq!((one.len(), two.len()), (len, 2 * len));
                    assert_eq!((one.as_ptr() as usize % LINE, two.as_ptr() as usize % LINE), (0, 0));
                });
            });
        }
    }

    /// Also those of three words, which do not fit a line a whole number of times.
    #[test]
    fn buffers_begin_at_a_line() {
        begins::<f32>();
        begins::<f64>();
        begins::<u16>();
        begins::<RowOffsets>();
    }
}
