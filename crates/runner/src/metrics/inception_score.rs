//! The inception score (Salimans et al. 2016): exp of the mean KL from each image's class probabilities to their average.

/// Class probabilities of `[n, classes]` logits, by f64.
pub fn softmax(logits: &[f32], classes: usize) -> Vec<f32> {
    let row = |row: &[f32]| {
        let largest = row.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b)) as f64;
        let powers: Vec<f64> = row.iter().map(|v| libm::exp(*v as f64 - largest)).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|p| (p / sum) as f32).collect::<Vec<f32>>()
    };
    logits.chunks(classes).flat_map(row).collect()
}

/// Score of one split of `[n, classes]` probabilities, in [1, classes].
pub fn score(probabilities: &[f32], classes: usize) -> f64 {
    let n = (probabilities.len() / classes) as f64;
    let mut average = vec![0.0; classes];
    for row in probabilities.chunks(classes) {
        average.iter_mut().zip(row).for_each(|(a, p)| *a += *p as f64 / n);
    }
    // 0 ln 0 = 0.
    let term = |p: f64, q: f64| if p > 0.0 { p * libm::log(p / q) } else { 0.0 };
    let kl: f64 = probabilities.chunks(classes).map(|row| row.iter().zip(&average).map(|(p, a)| term(*p as f64, *a)).sum::<f64>()).sum();
    libm::exp(kl / n)
}

/// Mean and standard deviation over `splits` parts in order, as equal as they can be, as the paper reports it.
pub fn over_splits(probabilities: &[f32], classes: usize, splits: usize) -> (f64, f64) {
    let n = probabilities.len() / classes;
    assert!(n >= splits, "fewer images than splits");
    let part = |i: usize| &probabilities[i * n / splits * classes..(i + 1) * n / splits * classes];
    let scores: Vec<f64> = (0..splits).map(|i| score(part(i), classes)).collect();
    let mean = scores.iter().sum::<f64>() / splits as f64;
    let variance = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / splits as f64;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One image of each class, seen with certainty, scores the number of classes; images that all look alike score 1.
    #[test]
    fn the_ends_of_the_scale() {
        let certain: Vec<f32> = (0..100).map(|i| if i / 10 == i % 10 { 1.0 } else { 0.0 }).collect();
        assert!((score(&certain, 10) - 10.0).abs() < 1e-9);
        assert!((score(&[0.1; 100], 10) - 1.0).abs() < 1e-9);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn a_score_is_the_information_between_image_and_class(weights in prop::collection::vec(prop::array::uniform3(0.01f32..1.0), 2..30)) {
            let rows: Vec<f32> = weights.iter().flat_map(|w| w.map(|v| v / w.iter().sum::<f32>())).collect();
            // H(average) - average H, in nats.
            let entropy = |p: &mut dyn Iterator<Item = f64>| -> f64 { p.map(|p| -p * p.ln()).sum() };
            let n = weights.len() as f64;
            let average: Vec<f64> = (0..3).map(|c| rows.chunks(3).map(|r| r[c] as f64).sum::<f64>() / n).collect();
            let inner = rows.chunks(3).map(|r| entropy(&mut r.iter().map(|p| *p as f64))).sum::<f64>() / n;
            let expected = (entropy(&mut average.into_iter()) - inner).exp();
            prop_assert!((score(&rows, 3) - expected).abs() < 1e-5);
            let (mean, deviation) = over_splits(&rows, 3, 2);
            let half = weights.len() / 2 * 3;
            let (a, b) = (score(&rows[..half], 3), score(&rows[half..], 3));
            prop_assert!((mean - (a + b) / 2.0).abs() < 1e-12 && (deviation - (a - b).abs() / 2.0).abs() < 1e-12);
        }
    }
}
