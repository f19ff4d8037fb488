use crate::common::*;
use candle_core::DType;
use ddpm_kernels::random::Stream;
use ddpm_model::UNet;
use ddpm_model::checkpoint::*;
use ddpm_model::optimiser::Training;
use proptest::prelude::*;

fn saved() -> (UNet, Training, Vec<u8>) {
    let unet = UNet::new(&tiny(), IMAGE, 2).unwrap();
    let training = Training::new(unet.parameters(), optimiser(), 9, Stream::Init);
    let tensors = state_tensors(unet.parameters(), training.rows()).unwrap();
    let bytes = to_bytes(&tensors, "{\"step\": 7}").unwrap();
    (unet, training, bytes)
}

#[test]
fn a_state_comes_back_bit_for_bit() {
    let (unet, training, bytes) = saved();
    assert_eq!(description(&bytes).unwrap(), "{\"step\": 7}");
    assert_eq!(&read_states(&bytes, unet.parameters()).unwrap(), training.rows());
}

#[test]
fn missing_left_over_and_misshapen_tensors_are_named() {
    let (unet, _, bytes) = saved();
    let error = |parameters: &[_]| read_states(&bytes, parameters).unwrap_err().to_string();
    assert!(error(&unet.parameters()[1..]).contains("time.0.weight and 3 others"));
    let mut more = unet.parameters().to_vec();
    more[0].name = "other".into();
    assert!(error(&more).contains("weight.other is missing"));
    let mut wrong = unet.parameters().to_vec();
    wrong[0].shape.push(1);
    assert!(error(&wrong).contains("expected [1, 1, 4, 16, 1] in F32, got [1, 1, 4, 16]"), "{}", error(&wrong));
    let plain = to_bytes(&[("a".into(), normal(0, 0, &[2], DType::F32))], "x").unwrap();
    assert!(read_weights(&plain, unet.parameters()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn damaged_files_are_errors_and_never_panics(cut in 0usize..4000, flip in 0usize..4000, bit in 0u8..8) {
        let (unet, _, bytes) = saved();
        prop_assert!(read_states(&bytes[..cut.min(bytes.len() - 1)], unet.parameters()).is_err());
        let mut flipped = bytes.clone();
        flipped[flip] ^= 1 << bit;
        // A flip in the numbers themselves is the digest's to find; here nothing may panic.
        let _ = read_states(&flipped, unet.parameters());
        let _ = description(&flipped);
    }
}
