//! Static memory planning: spans are allocated and freed in program order before anything runs.

use super::Span;

/// Alignment of all spans, as the libraries' fastest kernels and all packed accesses require.
const ALIGNMENT: usize = 256;

/// The allocations of an arena.
#[derive(Clone, Debug, Default)]
pub struct Arena {
    /// Free blocks below `top`, sorted by offset, no two of them adjacent.
    free: Vec<Span>,
    top: usize,
}

impl Arena {
    /// Allocates `bytes` bytes, in the smallest free block that fits or at the top. Nothing else uses the span until it is freed.
    pub fn take(&mut self, bytes: usize) -> Span {
        let room = bytes.max(1).next_multiple_of(ALIGNMENT);
        let fits = self.free.iter().enumerate().filter(|(_, piece)| piece.bytes >= room).min_by_key(|(_, piece)| piece.bytes);
        let at = match fits.map(|(i, _)| i) {
            Some(i) if self.free[i].bytes == room => self.free.remove(i).at,
            Some(i) => {
                let at = self.free[i].at;
                self.free[i] = Span { at: at + room, bytes: self.free[i].bytes - room };
                at
            }
            None => {
                // The last piece may reach to the top: the new place begins there.
                let last = self.free.pop_if(|piece| piece.at + piece.bytes == self.top);
                let at = last.map_or(self.top, |piece| piece.at);
                self.top = at + room;
                at
            }
        };
        Span { at, bytes }
    }

    /// Frees a span: later allocations may reuse it.
    pub fn put(&mut self, span: Span) {
        let room = span.bytes.max(1).next_multiple_of(ALIGNMENT);
        let i = self.free.partition_point(|piece| piece.at < span.at);
        debug_assert!(self.free.get(i).is_none_or(|next| span.at + room <= next.at), "{span:?} is free already");
        self.free.insert(i, Span { at: span.at, bytes: room });
        for left in [Some(i), i.checked_sub(1)].into_iter().flatten() {
            if left + 1 < self.free.len() && self.free[left].at + self.free[left].bytes == self.free[left + 1].at {
                self.free[left].bytes += self.free[left + 1].bytes;
                self.free.remove(left + 1);
            }
        }
    }

    /// Bytes that an arena for everything taken so far has.
    pub fn bytes(&self) -> usize {
        self.top
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_in_use_never_meet(sizes in prop::collection::vec((0usize..5000, 0usize..4, any::<prop::sample::Index>()), 1..80)) {
            let (mut arena, mut used) = (Arena::default(), Vec::<Span>::new());
            for (bytes, what, which) in sizes {
                if what == 0 && !used.is_empty() {
                    arena.put(used.swap_remove(which.index(used.len())));
                    continue;
                }
                let span = arena.take(bytes);
                prop_assert_eq!((span.bytes, span.at % ALIGNMENT), (bytes, 0));
                prop_assert!(span.at + bytes <= arena.bytes());
                for other in &used {
                    prop_assert!(span.at + bytes.max(1) <= other.at || other.at + other.bytes.max(1) <= span.at, "{:?} meets {:?}", span, other);
                }
                used.push(span);
            }
            // All given back is one piece again, and the same places are found anew.
            let top = arena.bytes();
            used.into_iter().for_each(|span| arena.put(span));
            prop_assert_eq!(&arena.free, &vec![Span { at: 0, bytes: top }]);
            arena.take(top);
            prop_assert_eq!(arena.bytes(), top);
        }
    }
}
