use super::*;
use crate::gemm::{F32, F64};
use proptest::prelude::*;

fn any_window() -> impl Strategy<Value = Window> {
    let sizes = prop::sample::select(vec![(1, 1), (3, 3), (5, 5), (1, 7), (7, 1), (1, 3), (3, 1), (2, 3)]);
    (1usize..20, 1usize..40, sizes, 1usize..3, 0usize..4, 0usize..4, 0usize..9, 0usize..9).prop_map(
        |(c, c_out, size, stride, up, left, h, w)| {
            let pad = (up.min(size.0 - 1), left.min(size.1 - 1));
            Window { input: Frame { h: size.0 + h, w: size.1 + w, c }, c_out, size, stride, pad }
        },
    )
}

fn numbers(seed: u64, n: usize) -> Vec<f64> {
    crate::random::Random::new(seed, crate::random::Stream::Init).normals(0, 0, 1, n).into_iter().map(|v| v as f64).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_window_is_its_definition(window in any_window(), seed: u64) {
        let (weights, image) = (numbers(seed, window.weight_len()), numbers(seed ^ 1, window.input.numbers()));
        let bias = numbers(seed ^ 2, window.c_out);
        let expected = convolve(window, &weights, &bias, &image);
        let mut found = vec![f64::NAN; expected.len()];
        PackedConvolution::<F64>::new(window, &weights, bias.clone()).apply(&image, &mut found);
        prop_assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-12 * (1.0 + a.abs()) * window.weight_len() as f64));
        let single = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
        let mut found = vec![f32::NAN; expected.len()];
        PackedConvolution::<F32>::new(window, &single(&weights), single(&bias)).apply(&single(&image), &mut found);
        // A sum of n terms goes as far as the root of their squares' sum, and is rounded n times on the way.
        let squares = |v: &[f64]| v.iter().map(|v| v * v).collect::<Vec<f64>>();
        let reach = convolve(window, &squares(&weights), &squares(&bias), &squares(&image));
        let rounded = 1e-6 * ((window.weight_len() / window.c_out + 1) as f64).sqrt();
        prop_assert!(expected.iter().zip(&found).zip(&reach).all(|((a, b), reach)| (a - *b as f64).abs() <= rounded * reach.sqrt()));
    }
}
