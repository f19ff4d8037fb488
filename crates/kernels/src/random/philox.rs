//! Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

/// Four random words of a counter and a key. Ten rounds.
pub fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let (hi0, lo0) = wide_product(0xD251_1F53, counter[0]);
        let (hi1, lo1) = wide_product(0xCD9E_8D57, counter[2]);
        counter = [hi1 ^ counter[1] ^ key[0], lo1, hi0 ^ counter[3] ^ key[1], lo0];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// The outputs for `N` counters that differ only in their first word, grouped by word so that the loop vectorises.
#[inline(always)]
pub fn philox4x32_10_lanes<const N: usize>(first: [u32; N], rest: [u32; 3], mut key: [u32; 2]) -> [[u32; N]; 4] {
    let mut counter = [first, [rest[0]; N], [rest[1]; N], [rest[2]; N]];
    for _ in 0..10 {
        let mut next = [[0; N]; 4];
        for i in 0..N {
            let (hi0, lo0) = wide_product(0xD251_1F53, counter[0][i]);
            let (hi1, lo1) = wide_product(0xCD9E_8D57, counter[2][i]);
            next[0][i] = hi1 ^ counter[1][i] ^ key[0];
            next[1][i] = lo1;
            next[2][i] = hi0 ^ counter[3][i] ^ key[1];
            next[3][i] = lo0;
        }
        counter = next;
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[inline(always)]
fn wide_product(a: u32, b: u32) -> (u32, u32) {
    let product = a as u64 * b as u64;
    ((product >> 32) as u32, product as u32)
}

#[cfg(test)]
mod tests {
    use super::{philox4x32_10, philox4x32_10_lanes};

    /// The known-answer vectors published with the authors' library Random123.
    #[test]
    fn known_answers() {
        let cases = [
            ([0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            ([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox4x32_10(counter, key), expected);
        }
    }

    #[test]
    fn lanes_are_counters() {
        let lanes = philox4x32_10_lanes([0, 1, u32::MAX], [5, 6, 7], [8, 9]);
        for (i, first) in [0, 1, u32::MAX].into_iter().enumerate() {
            assert_eq!(lanes.map(|word| word[i]), philox4x32_10([first, 5, 6, 7], [8, 9]));
        }
    }
}
