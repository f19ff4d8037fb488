use crate::common::*;
use ddpm_core::Error;
use ddpm_core::embedding::timestep_embedding;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn sines_then_cosines_of_geometric_frequencies(n in 0u32..4000, dim in 4usize..300) {
        let embedding = timestep_embedding(n as f64, dim).unwrap();
        prop_assert_eq!(embedding.len(), dim);
        let half = dim / 2;
        for i in 0..half {
            let angle = n as f64 * 10000f64.powf(-(i as f64) / (half as f64 - 1.0));
            prop_assert!((embedding[i] - angle.sin()).abs() < 1e-9 && (embedding[half + i] - angle.cos()).abs() < 1e-9);
        }
        // The last frequency is 1e-4 exactly: the authors' denominator is half - 1.
        prop_assert!((embedding[half - 1] - (n as f64 * 1e-4).sin()).abs() < 1e-12);
        if dim % 2 == 1 {
            prop_assert_eq!(embedding[dim - 1], 0.0);
        }
    }
}

#[test]
fn dimensions_without_frequencies_are_errors() {
    for dim in 0..4 {
        assert_eq!(timestep_embedding(1.0, dim), Err(Error::EmbeddingDimension { got: dim }));
    }
    assert!(close(timestep_embedding(1.0, 4).unwrap()[0], 1f64.sin(), 1e-15));
}
