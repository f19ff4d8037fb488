//! Copies to the GPU beside its work: from memory that stays where it is, on a stream of their own.

use super::words::wrong;
use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::{CudaStream, PinnedHostSlice, result};
use std::sync::Arc;

/// The stream of copies, and what they are made from.
pub struct Copies {
    stream: Arc<CudaStream>,
    pinned: Option<PinnedHostSlice<u8>>,
}

impl Copies {
    /// On the GPU of `stream`.
    pub fn new(stream: &CudaStream) -> Result<Copies> {
        let stream = stream.context().new_stream().map_err(wrong("a stream for copies"))?;
        Ok(Copies { stream, pinned: None })
    }

    /// Copies `bytes` to the address `to` while `stream` works on what it was asked for before; what it is asked for later comes after.
    ///
    /// # Safety
    ///
    /// `to` is the address of as many bytes, which stay allocated until `stream` has been awaited; nothing that `stream` was asked for and has
    /// not done reads or writes them.
    pub unsafe fn begin(&mut self, stream: &CudaStream, to: u64, bytes: &[u8]) -> Result<()> {
        // The last one has been made: its bytes may be overwritten.
        self.stream.synchronize().map_err(wrong("the GPU"))?;
        if self.pinned.as_ref().is_none_or(|pinned| pinned.len() < bytes.len()) {
            self.pinned = None;
            // Safety: bytes, of any value.
            self.pinned = Some(unsafe { stream.context().alloc_pinned(bytes.len()) }.map_err(wrong("memory for copies to the GPU"))?);
        }
        let pinned = self.pinned.as_mut().expect("just allocated");
        let slice = &mut pinned.as_mut_slice().map_err(wrong("memory for copies to the GPU"))?[..bytes.len()];
        slice.copy_from_slice(bytes);
        // Safety: the caller answers for where they go; they come from memory that is neither written nor freed before this stream is awaited,
        // above and when self is dropped.
        unsafe { result::memcpy_htod_async(to, slice, self.stream.cu_stream()) }.map_err(wrong("to the GPU"))?;
        let ordered = self.stream.record_event(None).and_then(|copied| stream.wait(&copied));
        if ordered.is_err() {
            // Nothing else would wait for it.
            let _ = self.stream.synchronize();
        }
        ordered.map_err(wrong("an event"))
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // After a fault nothing is copied any more.
        let _ = self.stream.synchronize();
    }
}
