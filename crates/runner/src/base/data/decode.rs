//! One image file to pixels.

use anyhow::{Context, Result, bail, ensure};
use ddpm_model::interop::foreign;
use ddpm_model::network::ImageShape;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use std::io::Cursor;
use std::path::Path;

/// The kinds of images that are read, for a person.
pub const KINDS: &str = "PNG, JPEG, WebP or BMP";

/// Most pixels of an image: far above what is trained on, far below what a few bytes of a header can ask of memory.
pub const MOST_PIXELS: u64 = 1 << 26;

const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib"];

/// Whether a file's name says that it is an image of a kind that is read.
pub fn is_image(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| EXTENSIONS.contains(&e.to_lowercase().as_str()))
}

/// The shape of an image file and its pixels `[H, W, C]`, turned as its EXIF data say that it is to be seen. Grey images have one channel,
/// all others three; transparency is dropped, and 16 bits are rounded to 8.
pub fn decode(bytes: &[u8]) -> Result<(ImageShape, Vec<u8>)> {
    if let Some(what) = foreign(bytes) {
        bail!(what);
    }
    let picture = oriented(bytes)?;
    let grey = matches!(picture.color(), ColorType::L8 | ColorType::L16 | ColorType::La8 | ColorType::La16);
    let shape = ImageShape { height: picture.height() as usize, width: picture.width() as usize, channels: if grey { 1 } else { 3 } };
    Ok((shape, if grey { picture.into_luma8().into_raw() } else { picture.into_rgb8().into_raw() }))
}

fn oriented(bytes: &[u8]) -> Result<DynamicImage> {
    let what = || format!("is not a {KINDS} image, or is damaged");
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().with_context(what)?;
    ensure!(reader.format() != Some(ImageFormat::Jpeg) || is_whole(bytes), "is cut short: it has no end");
    let mut decoder = reader.into_decoder().with_context(what)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    ensure!(pixels <= MOST_PIXELS, "expected at most {MOST_PIXELS} pixels, got {height}x{width}");
    let orientation = decoder.orientation().with_context(what)?;
    let mut picture = DynamicImage::from_decoder(decoder).with_context(what)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Whether a JPEG goes on to the mark of its end. Decoders fill what is missing with grey, as browsers do, so that one that was cut short
/// would be read as half an image.
fn is_whole(jpeg: &[u8]) -> bool {
    let mut rest = jpeg;
    while let [0xff, marker, after @ ..] = rest {
        rest = match marker {
            0xd9 => return true,
            // Padding; marks without a segment.
            0xff => &rest[1..],
            0x01 | 0xd0..=0xd8 => after,
            _ => {
                let [high, low, ..] = after else { return false };
                let Some(after) = after.get(usize::from(u16::from_be_bytes([*high, *low]))..) else { return false };
                // Behind the start of a scan lie its data, in which only a zero or a restart follows 0xff.
                let data = if *marker == 0xda {
                    after.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xd0..=0xd7)).unwrap_or(after.len())
                } else {
                    0
                };
                &after[data..]
            }
        };
    }
    // Where no mark stands that should, the decoder judges.
    !rest.is_empty() && rest != [0xff]
}

#[cfg(test)]
mod tests {
    use super::*;

    use image::{GrayImage, Luma, Rgb, RgbImage};
    use proptest::prelude::*;
    use std::fs;

    fn read(path: &Path) -> Result<(ImageShape, Vec<u8>)> {
        decode(&fs::read(path).unwrap())
    }

    /// A picture in a format; JPEG with a thumbnail's marks in a segment of its own.
    fn encoded(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
        let picture = RgbImage::from_fn(width, height, |x, y| Rgb([(x * 37 + y * 11) as u8, (x * y) as u8, (y * 53) as u8]));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        let mut bytes = bytes.into_inner();
        if format == ImageFormat::Jpeg {
            bytes.splice(2..2, [0xff, 0xe1, 0, 6, 0xff, 0xd8, 0xff, 0xd9]);
        }
        bytes
    }

    proptest! {
        /// Wherever a file is cut, it is refused, unless all of its pixels are there.
        #[test]
        fn a_file_that_is_cut_is_refused(
            format in prop::sample::select(vec![ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp]),
            (width, height) in (1u32..70, 1u32..70),
            cut in any::<prop::sample::Index>(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.jpg");
            let bytes = encoded(format, width, height);
            fs::write(&path, &bytes).unwrap();
            let whole = read(&path).unwrap();
            prop_assert_eq!(whole.0, ImageShape { height: height as usize, width: width as usize, channels: 3 });
            fs::write(&path, &bytes[..cut.index(bytes.len())]).unwrap();
            let refused = read(&path).map_or(true, |found| found == whole);
            prop_assert!(refused, "{:?} of {} bytes cut at {}", format, bytes.len(), cut.index(bytes.len()));
        }
    }

    /// The eight orientations of EXIF: the same picture as a viewer shows it, whatever the order in which its pixels lie.
    #[test]
    fn a_picture_is_turned_as_it_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        // As it lies in the file: rows 1 2 3 and 4 5 6, in steps of 40.
        let picture = GrayImage::from_fn(3, 2, |x, y| Luma([40 * (y * 3 + x + 1) as u8]));
        let seen: [(u8, [usize; 2], [u8; 6]); 8] = [
            (1, [2, 3], [1, 2, 3, 4, 5, 6]),
            (2, [2, 3], [3, 2, 1, 6, 5, 4]),
            (3, [2, 3], [6, 5, 4, 3, 2, 1]),
            (4, [2, 3], [4, 5, 6, 1, 2, 3]),
            (5, [3, 2], [1, 4, 2, 5, 3, 6]),
            (6, [3, 2], [4, 1, 5, 2, 6, 3]),
            (7, [3, 2], [6, 3, 5, 2, 4, 1]),
            (8, [3, 2], [3, 6, 2, 5, 1, 4]),
        ];
        for (orientation, [height, width], expected) in seen {
            // TIFF's header and one entry: tag 0x0112, a short.
            let exif = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec(), vec![orientation, 0, 0, 0, 0, 0, 0, 0]].concat();
            let mut encoder = image::codecs::png::PngEncoder::new(fs::File::create(&path).unwrap());
            image::ImageEncoder::set_exif_metadata(&mut encoder, exif).unwrap();
            picture.write_with_encoder(encoder).unwrap();
            let (shape, pixels) = read(&path).unwrap();
            assert_eq!((shape, pixels), (ImageShape { height, width, channels: 1 }, expected.map(|v| 40 * v).to_vec()), "{orientation}");
        }
    }

    /// Each kind that is read, told by what the file holds and not by its name; other kinds are refused by name.
    #[test]
    fn kinds_are_told_by_their_contents() {
        let dir = tempfile::tempdir().unwrap();
        let colour = RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8, y as u8, 200]));
        let grey = GrayImage::from_fn(3, 2, |x, y| Luma([(x + 10 * y) as u8]));
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
            let path = dir.path().join("a.jpg");
            colour.save_with_format(&path, format).unwrap();
            assert_eq!(read(&path).unwrap(), (ImageShape { height: 2, width: 3, channels: 3 }, colour.as_raw().clone()), "{format:?}");
        }
        let path = dir.path().join("a.bmp");
        grey.save_with_format(&path, ImageFormat::Png).unwrap();
        assert_eq!(read(&path).unwrap(), (ImageShape { height: 2, width: 3, channels: 1 }, grey.as_raw().clone()));
        let path = dir.path().join("b.png");
        for rubbish in [&b"GIF89a"[..], b"no image", b"\x89PNG\r\n\x1a\nrubbish"] {
            fs::write(&path, rubbish).unwrap();
            let why = format!("{:#}", read(&path).unwrap_err());
            assert!(why.contains("is not a PNG, JPEG, WebP or BMP image, or is damaged"), "{why}");
        }
        // A few bytes that ask for 10 GB.
        let mut bomb = encoded(ImageFormat::Bmp, 3, 2);
        bomb[18..26].copy_from_slice(&[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0]);
        fs::write(&path, bomb).unwrap();
        let why = format!("{:#}", read(&path).unwrap_err());
        assert!(why.contains("expected at most 67108864 pixels, got 60000x60000"), "{why}");
        fs::write(&path, "version https://git-lfs.github.com/spec/v1\n").unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("is a Git LFS pointer"));
        assert!(
            is_image(Path::new("a.JPEG"))
                && is_image(Path::new("a.b.webp"))
                && !is_image(Path::new("png"))
                && !is_image(Path::new("a.gif"))
        );
    }
}
