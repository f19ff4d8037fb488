//! Reusable scratch buffers: each thread takes one from its pool, uses it and returns it, so that nothing is allocated in the steady state.

use std::cell::RefCell;

/// Numbers that buffers can be made of.
pub trait Scratch: Copy + Default + 'static {
    /// The calling thread's buffers that are not in use.
    fn with_pool<R>(f: impl FnOnce(&RefCell<Vec<Vec<Self>>>) -> R) -> R;
}

/// Lets buffers be made of some types.
macro_rules! scratch {
    ($($t:ty),*) => {
        $(impl $crate::scratch::Scratch for $t {
            fn with_pool<R>(f: impl FnOnce(&std::cell::RefCell<Vec<Vec<Self>>>) -> R) -> R {
                thread_local!(static POOL: std::cell::RefCell<Vec<Vec<$t>>> = const { std::cell::RefCell::new(Vec::new()) });
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
        buffer.resize(len, T::default());
    }
    let result = f(&mut buffer[..len]);
    T::with_pool(|pool| pool.borrow_mut().push(buffer));
    result
}
