//! Which images are held out.

use std::collections::BTreeMap;

/// Which of the images with these labels are held out: of each class its share of `held_out`, the last ones. Where shares are not whole, the classes with the
/// largest fractions give one more.
pub fn held(labels: &[usize], held_out: usize) -> Vec<bool> {
    let n = labels.len();
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    labels.iter().for_each(|label| *sizes.entry(*label).or_default() += 1);
    let mut shares: BTreeMap<usize, usize> = sizes.iter().map(|(class, size)| (*class, size * held_out / n)).collect();
    let mut order: Vec<usize> = sizes.keys().copied().collect();
    order.sort_by_key(|class| std::cmp::Reverse(sizes[class] * held_out % n));
    let rest = held_out - shares.values().sum::<usize>();
    order[..rest].iter().for_each(|class| *shares.entry(*class).or_default() += 1);
    let mut held = vec![false; n];
    for i in (0..n).rev() {
        let share = shares.entry(labels[i]).or_default();
        held[i] = *share > 0;
        *share = share.saturating_sub(1);
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// As many as asked, from each class its share to within one, and of one class the last.
        #[test]
        fn classes_are_held_out_in_proportion(sizes in prop::collection::vec(1usize..30, 1..8), share in 0.0..1.0f64) {
            let labels: Vec<usize> = sizes.iter().enumerate().flat_map(|(class, size)| vec![class; *size]).collect();
            let n = labels.len();
            let held_out = (share * n as f64) as usize;
            let held = held(&labels, held_out);
            prop_assert_eq!(held.iter().filter(|h| **h).count(), held_out);
            let mut first = 0;
            for size in &sizes {
                let of_class = &held[first..first + size];
                let count = of_class.iter().filter(|h| **h).count();
                prop_assert!((count as f64 - (size * held_out) as f64 / n as f64).abs() < 1.0);
                prop_assert!(of_class[size - count..].iter().all(|h| *h));
                first += size;
            }
        }
    }
}
