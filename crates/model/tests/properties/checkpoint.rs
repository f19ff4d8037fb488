use crate::common::*;
use candle_core::DType;
use ddpm_kernels::random::Stream;
use ddpm_model::UNet;
use ddpm_model::checkpoint::*;
use ddpm_model::optimiser::Training;
use ddpm_model::train_state::TrainState;
use proptest::prelude::*;

fn saved() -> (UNet, Training, Vec<u8>) {
    let unet = UNet::new(&tiny(), IMAGE, 2).unwrap();
    let start = Training::new(unet.parameters(), optimiser(), 9, Stream::Init);
    // No row like another.
    let row = |factor: f32| start.weights().iter().map(|w| factor * w + factor).collect();
    let state = TrainState { theta: row(1.0), m: row(2.0), v: row(3.0), ema: row(4.0) };
    let training = Training::resume(unet.parameters(), optimiser(), state, 7);
    let file = tempfile::NamedTempFile::new().unwrap();
    write_state(file.path(), unet.parameters(), training.state(), "{\"step\": 7}").unwrap();
    (unet, training, std::fs::read(file.path()).unwrap())
}

#[test]
fn a_state_comes_back_bit_for_bit() {
    let (unet, training, bytes) = saved();
    assert_eq!(description(&bytes).unwrap().as_deref(), Some("{\"step\": 7}"));
    assert_eq!(&read_state(&bytes, unet.parameters()).unwrap(), training.state());
}

/// Under each name in the file stands what it says: other programs, and older files, go by the names.
#[test]
fn rows_stand_under_their_names() {
    let (unet, training, bytes) = saved();
    let first = &unet.parameters()[0];
    for (prefix, row) in ["weight", "adam_m", "adam_v", "ema"].iter().zip(training.state().rows()) {
        assert_eq!(ddpm_model::checkpoint::read_f32(&bytes, &format!("{prefix}.{}", first.name)).unwrap(), row[..first.len()], "{prefix}");
    }
}

#[test]
fn missing_left_over_and_misshapen_tensors_are_named() {
    let (unet, _, bytes) = saved();
    let error = |parameters: &[_]| read_state(&bytes, parameters).unwrap_err().to_string();
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

#[test]
fn files_of_others_have_no_description() {
    let tensors = [("a".to_string(), normal(0, 0, &[2], DType::F32))];
    assert_eq!(description(&plain_bytes(&tensors).unwrap()).unwrap(), None);
    assert!(description(&to_bytes(&tensors, "x").unwrap()).unwrap().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// Every cut and every flipped bit is found: by the format's reader, or because the digest or the names no longer fit.
    #[test]
    fn damaged_files_are_told(cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (unet, training, bytes) = saved();
        let cut = &bytes[..cut.index(bytes.len())];
        prop_assert!(description(cut).is_err() && read_state(cut, unet.parameters()).is_err());
        let mut flipped = bytes.clone();
        flipped[flip.index(bytes.len())] ^= 1 << bit;
        let told = !matches!(description(&flipped), Ok(Some(_)));
        // Blanks after the header may change into other blanks: then nothing that the file says has changed.
        let same = read_state(&flipped, unet.parameters()).is_ok_and(|state| &state == training.state());
        prop_assert!(told || same && description(&flipped).unwrap() == description(&bytes).unwrap());
    }

    /// The first 2,000 bytes, where the header is, each bit by itself.
    #[test]
    fn damaged_headers_are_told(at in 0usize..2000, bit in 0u8..8) {
        let (_, _, mut bytes) = saved();
        bytes[at] ^= 1 << bit;
        prop_assert!(!matches!(description(&bytes), Ok(Some(_))), "byte {at}");
    }
}
