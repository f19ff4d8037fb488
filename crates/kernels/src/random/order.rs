//! The order in which an epoch visits the images: a table where it is short, a keyed permutation where it would be long.

use super::Random;

/// Longest order that is a table: half a megabyte. Short orders are shuffled exactly, long ones need no memory.
pub const LONGEST_TABLE: usize = 1 << 16;

/// Rounds of the keyed permutation: two leave traces that the tests below find, three none; three more for those that they do not look for.
const ROUNDS: u64 = 6;

/// A permutation of 0..n, n at least 1.
#[derive(Clone, Debug)]
pub enum Order {
    /// Written out.
    Table(Vec<usize>),
    /// Computed one by one.
    Keyed(Keyed),
}

impl Order {
    /// That of epoch `epoch` of `n` images under `random`: up to [`LONGEST_TABLE`] by Fisher and Yates, [`Keyed`] beyond.
    pub fn new(random: &Random, epoch: u64, n: usize) -> Order {
        match n <= LONGEST_TABLE {
            true => Order::Table(random.permutation(epoch, n)),
            false => Order::Keyed(Keyed::new(random, epoch, n as u64)),
        }
    }

    /// The number at place `i`, which is below n.
    pub fn at(&self, i: usize) -> usize {
        match self {
            Order::Table(table) => table[i],
            Order::Keyed(keyed) => keyed.at(i as u64) as usize,
        }
    }
}

/// A keyed permutation of 0..n without a table, for n from 1 to 2^56: a number is split into a quotient and a remainder, and in turn one is
/// moved on by a random function of the other (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002, method 3). Where the result
/// is n or more, it is permuted again. Made for long orders: in those of a dozen numbers, so few rounds leave traces.
#[derive(Clone, Debug)]
pub struct Keyed {
    random: Random,
    epoch: u64,
    n: u64,
    /// Quotients are below `rows`, remainders below `columns`; rows x columns is n or little more.
    rows: u64,
    columns: u64,
}

impl Keyed {
    /// That of epoch `epoch`.
    pub fn new(random: &Random, epoch: u64, n: u64) -> Keyed {
        let columns = n.isqrt().max(1);
        Keyed { random: *random, epoch, n, rows: n.div_ceil(columns), columns }
    }

    /// The number at place `i`.
    pub fn at(&self, i: u64) -> u64 {
        assert!(i < self.n, "place {i} of a permutation of {}", self.n);
        let mut number = i;
        loop {
            number = self.permuted(number);
            if number < self.n {
                return number;
            }
        }
    }

    /// A permutation of 0..rows x columns.
    fn permuted(&self, number: u64) -> u64 {
        let (mut row, mut column) = (number / self.columns, number % self.columns);
        for round in 0..ROUNDS {
            // A block for each round and half.
            let moved = |half: u64, size: u64| {
                let words = self.random.block(self.epoch, (round << 32) + half);
                (u64::from(words[0]) | u64::from(words[1]) << 32) % size
            };
            match round % 2 {
                0 => row = (row + moved(column, self.rows)) % self.rows,
                _ => column = (column + moved(row, self.columns)) % self.columns,
            }
        }
        row * self.columns + column
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use proptest::prelude::*;

    proptest! {
        /// Every number once, whatever the length; another order in another epoch.
        #[test]
        fn a_keyed_permutation_has_every_number_once(seed: u64, epoch in 0u64..1 << 56, n in 1u64..3000) {
            let random = Random::new(seed, Stream::Shuffle);
            let order = |epoch| { let keyed = Keyed::new(&random, epoch, n); (0..n).map(|i| keyed.at(i)).collect::<Vec<_>>() };
            let here = order(epoch);
            prop_assert!(n < 10 || here != order((epoch + 1) % (1 << 56)));
            let mut sorted = here;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
        }

        /// Of any length that a data set has; what is known of one place is known without the others.
        #[test]
        fn long_orders_stay_within_their_length(seed: u64, n in 1u64 << 16..1 << 40, places in prop::collection::vec(any::<prop::sample::Index>(), 50)) {
            let keyed = Keyed::new(&Random::new(seed, Stream::Shuffle), 3, n);
            let places: std::collections::BTreeSet<u64> = places.iter().map(|i| i.index(n as usize) as u64).collect();
            let numbers: std::collections::BTreeSet<u64> = places.iter().map(|i| keyed.at(*i)).collect();
            prop_assert!(numbers.len() == places.len() && numbers.iter().all(|number| *number < n));
        }
    }

    /// Over epochs, each sixteenth of the numbers as often at each place, and each pair of them as often at two places, of one row or one
    /// column or neither.
    #[test]
    fn keyed_permutations_are_uniform() {
        let random = Random::new(11, Stream::Shuffle);
        let (n, epochs, bins) = (LONGEST_TABLE as u64 + 1, 40_000u64, 16usize);
        // 256 columns.
        for (a, b) in [(0, 1), (5, 5 + 256), (70, n - 1)] {
            let mut pairs = vec![0u32; bins * bins];
            for epoch in 0..epochs {
                let keyed = Keyed::new(&random, epoch, n);
                let [a, b] = [a, b].map(|place| (keyed.at(place) * bins as u64 / n) as usize);
                pairs[a * bins + b] += 1;
            }
            // Five standard deviations of a count with probability p.
            let near = |count: u32, p: f64| (f64::from(count) - epochs as f64 * p).abs() < 5.0 * (epochs as f64 * p * (1.0 - p)).sqrt();
            assert!(pairs.iter().all(|count| near(*count, 1.0 / 256.0)), "{pairs:?}");
            assert!(pairs.chunks(bins).all(|row| near(row.iter().sum(), 1.0 / 16.0)), "{pairs:?}");
            assert!((0..bins).all(|b| near(pairs.iter().skip(b).step_by(bins).sum(), 1.0 / 16.0)), "{pairs:?}");
        }
    }

    /// In a long order neighbours are as far apart as in any: the mean distance is a third of the length, and no step is preferred.
    #[test]
    fn neighbours_in_a_long_order_are_anywhere() {
        let n = 1_000_000u64;
        let keyed = Keyed::new(&Random::new(5, Stream::Shuffle), 0, n);
        let order: Vec<u64> = (0..40_000).map(|i| keyed.at(i)).collect();
        let distances: Vec<f64> = order.windows(2).map(|pair| pair[0].abs_diff(pair[1]) as f64 / n as f64).collect();
        let mean = distances.iter().sum::<f64>() / distances.len() as f64;
        // The variance of the distance of two uniform numbers is 1/18; neighbouring distances share one.
        assert!((mean - 1.0 / 3.0).abs() < 5.0 * (2.0 / 18.0 / distances.len() as f64).sqrt(), "{mean}");
        let mut residues = [0u32; 16];
        order.iter().for_each(|number| residues[(number % 1000 * 16 / 1000) as usize] += 1);
        assert!(residues.iter().all(|count| (*count as f64 - 2500.0).abs() < 5.0 * 2344f64.sqrt()), "{residues:?}");
    }

    /// The shuffled table up to its longest, what is computed beyond.
    #[test]
    fn the_length_decides_the_kind() {
        let random = Random::new(1, Stream::Shuffle);
        let (short, long) = (Order::new(&random, 4, LONGEST_TABLE), Order::new(&random, 4, LONGEST_TABLE + 1));
        let table = random.permutation(4, LONGEST_TABLE);
        assert!((0..LONGEST_TABLE).step_by(97).all(|i| short.at(i) == table[i]));
        let keyed = Keyed::new(&random, 4, LONGEST_TABLE as u64 + 1);
        assert!((0..=LONGEST_TABLE).step_by(97).all(|i| long.at(i) == keyed.at(i as u64) as usize));
    }
}
