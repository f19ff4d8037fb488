//! Memory for feature maps: a pool of recycled buffers, so that only the first step allocates.

/// Free buffers.
#[derive(Debug, Default)]
pub struct Buffers(Vec<Vec<f32>>);

impl Buffers {
    /// A buffer of `len` numbers with arbitrary contents: the smallest free one that is large enough, but at most twice as large.
    pub fn take(&mut self, len: usize) -> Vec<f32> {
        let fits = |(_, b): &(usize, &Vec<f32>)| b.capacity() >= len && b.capacity() <= 2 * len;
        let best = self.0.iter().enumerate().filter(fits).min_by_key(|(_, b)| b.capacity()).map(|(i, _)| i);
        let mut buffer = best.map(|i| self.0.swap_remove(i)).unwrap_or_else(|| Vec::with_capacity(len));
        buffer.resize(len, 0.0);
        buffer
    }

    /// Gives a buffer back.
    pub fn put(&mut self, buffer: Vec<f32>) {
        if buffer.capacity() > 0 {
            self.0.push(buffer);
        }
    }
}
