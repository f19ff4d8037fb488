//! Images that other programs sampled: guided-diffusion's `.npz`, an array `arr_0` of bytes `[n, H, W, C]`.

use super::npz::Npz;
use crate::base::data::Images;
use anyhow::{Result, bail, ensure};
use ddpm_model::network::ImageShape;

/// The name that NumPy gives to an array without one.
const ARRAY: &str = "arr_0";

/// Whether a file holds such images.
pub fn are_in(file: &Npz) -> bool {
    file.has(ARRAY)
}

/// Those of an open file. Errors name what is wrong.
pub fn images(file: &mut Npz) -> Result<Images> {
    let array = file.bytes(ARRAY)?;
    let [n, height, width, channels] = array.shape[..] else { bail!("{ARRAY}: expected images [n, H, W, C], got {:?}", array.shape) };
    ensure!(
        n > 0 && height > 0 && width > 0 && (channels == 1 || channels == 3),
        "{ARRAY}: expected images [n, H, W, 1 or 3], got {:?}",
        array.shape
    );
    Ok(Images { pixels: array.numbers, ..Images::none(ImageShape { height, width, channels }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::atomic;
    use crate::interop::npz::Writer;

    #[test]
    fn images_are_bytes_of_four_dimensions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples_2x2x3x1.npz");
        let put = |name: &str, shape: &[usize]| {
            let pixels: Vec<u8> = (0..shape.iter().product::<usize>()).map(|i| i as u8).collect();
            let write = |file: &mut std::fs::File| {
                let mut writer = Writer::new(file);
                writer.add(name, shape, &pixels)?;
                writer.finish()
            };
            atomic::write_with(&path, write).unwrap();
        };
        put(ARRAY, &[2, 2, 3, 1]);
        let read = || images(&mut Npz::open(&path).unwrap());
        let images = read().unwrap();
        assert_eq!(
            (images.len(), images.shape, images.image(1)),
            (2, ImageShape { height: 2, width: 3, channels: 1 }, &[6, 7, 8, 9, 10, 11][..])
        );
        put("other", &[2, 2, 3, 1]);
        assert!(!are_in(&Npz::open(&path).unwrap()));
        for shape in [&[12][..], &[0, 2, 2, 3], &[1, 3, 2, 2], &[1, 2, 3, 1, 2]] {
            put(ARRAY, shape);
            let why = format!("{:#}", read().unwrap_err());
            assert!(why.contains("arr_0: expected images"), "{why}");
        }
    }
}
