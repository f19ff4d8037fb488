use crate::common::*;
use candle_core::DType;
use ddpm_kernels::random::Stream;
use ddpm_model::UNet;
use ddpm_model::checkpoint::*;
use ddpm_model::optimiser::Training;
use ddpm_model::train_state::{Average, TrainState};
use proptest::prelude::*;
use safetensors::SafeTensors;

fn saved() -> (UNet, Training, Vec<u8>) {
    let unet = UNet::new(&tiny(), IMAGE, 2).unwrap();
    let start = Training::new(unet.parameters(), optimiser(), 9, Stream::Init);
    // No row like another.
    let row = |factor: f32| start.weights().iter().map(|w| factor * w + factor).collect();
    let state = TrainState {
        theta: row(1.0),
        m: row(2.0),
        v: row(3.0),
        averages: vec![Average { decay: optimiser().ema_decay, numbers: row(4.0) }],
    };
    let training = Training::resume(unet.parameters(), optimiser(), state, 7);
    let mut bytes = Vec::new();
    write_state(&mut bytes, unet.parameters(), training.state(), "{\"step\": 7}").unwrap();
    (unet, training, bytes)
}

/// The file is the one that the format's own library writes of the same tensors.
#[test]
fn a_state_is_written_as_the_library_would() {
    let (_, _, bytes) = saved();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(safetensors::serialize(file.tensors(), header.metadata().clone()).unwrap(), bytes);
}

#[test]
fn a_state_comes_back_bit_for_bit() {
    let (unet, training, bytes) = saved();
    assert_eq!(description(&bytes).unwrap().as_deref(), Some("{\"step\": 7}"));
    assert_eq!(&read_state(&bytes, unet.parameters(), &[0.9]).unwrap(), training.state());
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

/// Several averages stand under their decays, whichever of them is used; and a file is read as what it is.
#[test]
fn several_averages_come_back_under_their_decays() {
    let (unet, training, one) = saved();
    let n = unet.parameter_count();
    let averages = [(0.5, 5.0), (0.999, 6.0)].map(|(decay, value)| Average { decay, numbers: vec![value; n] });
    let state = TrainState { averages: averages.to_vec(), ..training.state().clone() };
    let mut bytes = Vec::new();
    write_state(&mut bytes, unet.parameters(), &state, "{}").unwrap();
    assert_eq!(read_state(&bytes, unet.parameters(), &[0.5, 0.999]).unwrap(), state);
    assert_eq!(
        (state.average(0.999), state.average(0.0), state.average(0.9)),
        (Some(&[6.0; 1].repeat(n)[..]), Some(&state.theta[..]), None)
    );
    let name = &unet.parameters()[0].name;
    for (prefix, value) in [("ema-0.5", 5.0), ("ema-0.999", 6.0)] {
        assert_eq!(read_f32(&bytes, &format!("{prefix}.{name}")).unwrap()[0], value);
    }
    for (bytes, decays, why) in [
        (&bytes, &[0.5, 0.99][..], format!("tensor ema-0.99.{name} is missing")),
        (&bytes, &[0.999], format!("tensor ema.{name} is missing")),
        (&one, &[0.5, 0.9], format!("tensor ema-0.5.{name} is missing")),
    ] {
        assert!(read_state(bytes, unet.parameters(), decays).unwrap_err().to_string().contains(&why), "{why}");
    }
    assert!(read_average(&bytes, unet.parameters()).unwrap().is_none());
}

/// An eighth of the bytes; each weight is the nearest in half precision, under its own name; and a whole checkpoint is no average.
#[test]
fn an_average_comes_back_in_half_precision() {
    let (unet, training, whole) = saved();
    let average = training.average();
    let bytes = average_bytes(unet.parameters(), average, "{}").unwrap();
    assert_eq!(description(&bytes).unwrap().as_deref(), Some("{}"));
    let nearest: Vec<f32> = average.iter().map(|w| half::f16::from_f32(*w).to_f32()).collect();
    assert!(nearest.iter().zip(average).any(|(half, w)| half != w), "nothing was rounded");
    assert_eq!(read_average(&bytes, unet.parameters()).unwrap().unwrap(), nearest);
    assert_eq!(read_f32(&bytes, &format!("ema.{}", unet.parameters()[1].name)).unwrap(), {
        let [first, second] = [0, 1].map(|i| unet.parameters()[i].len());
        &nearest[first..first + second]
    });
    assert!(read_average(&whole, unet.parameters()).unwrap().is_none());
    let error = |parameters: &[_]| read_average(&bytes, parameters).unwrap_err().to_string();
    assert!(error(&unet.parameters()[1..]).contains("belong to no parameter"));
    assert!(read_state(&bytes, unet.parameters(), &[0.9]).unwrap_err().to_string().contains("is missing"));
    let mut large = average.to_vec();
    large[unet.parameters()[0].len()] = 65_520.0;
    let why = average_bytes(unet.parameters(), &large, "{}").unwrap_err().to_string();
    assert!(why.contains(&format!("ema.{}: 65520 does not fit", unet.parameters()[1].name)), "{why}");
}

/// Other programs store features and noise in other types.
#[test]
fn numbers_of_every_floating_point_type_are_read() {
    use candle_core::{Device, Tensor};
    use safetensors::tensor::{Dtype, TensorView};
    let numbers = [1.5f32, -0.25, 1024.0];
    let tensor = Tensor::new(&numbers, &Device::Cpu).unwrap();
    let view = |dtype, bytes: &[u8]| {
        let views = [("x", TensorView::new(dtype, vec![3], bytes).unwrap())];
        ddpm_model::checkpoint::read_f32(&safetensors::serialize(views, None).unwrap(), "x")
    };
    let two = |bits: Vec<u16>| bits.iter().flat_map(|b| b.to_le_bytes()).collect::<Vec<u8>>();
    let half = |dtype| tensor.to_dtype(dtype).unwrap();
    let f16 = half(DType::F16).to_vec1::<half::f16>().unwrap().iter().map(|v| v.to_bits()).collect();
    let bf16 = half(DType::BF16).to_vec1::<half::bf16>().unwrap().iter().map(|v| v.to_bits()).collect();
    let f64s: Vec<u8> = numbers.iter().flat_map(|v| (*v as f64).to_le_bytes()).collect();
    assert_eq!(view(Dtype::F16, &two(f16)).unwrap(), numbers);
    assert_eq!(view(Dtype::BF16, &two(bf16)).unwrap(), numbers);
    assert_eq!(view(Dtype::F64, &f64s).unwrap(), numbers);
    assert!(view(Dtype::I32, &[0; 12]).unwrap_err().to_string().contains("x: expected floating-point numbers, got I32"));
}

#[test]
fn missing_left_over_and_misshapen_tensors_are_named() {
    let (unet, _, bytes) = saved();
    let error = |parameters: &[_]| read_state(&bytes, parameters, &[0.9]).unwrap_err().to_string();
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
        prop_assert!(description(cut).is_err() && read_state(cut, unet.parameters(), &[0.9]).is_err());
        let mut flipped = bytes.clone();
        flipped[flip.index(bytes.len())] ^= 1 << bit;
        let told = !matches!(description(&flipped), Ok(Some(_)));
        // Blanks after the header may change into other blanks: then nothing that the file says has changed.
        let same = read_state(&flipped, unet.parameters(), &[0.9]).is_ok_and(|state| &state == training.state());
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
