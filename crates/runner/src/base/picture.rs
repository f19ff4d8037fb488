//! Images as pictures.

use anyhow::Result;
use ddpm_model::network::ImageShape;
use ddpm_model::tensor::Tensor;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use std::path::PathBuf;

/// Images that are shown of many.
pub const SHOWN: usize = 64;
/// Points of a plane below which each is larger than a pixel.
const FEW: usize = 1000;
/// How many of them stand in a row.
pub const COLUMNS: usize = 8;

/// Rounds `[B, H, W, C]` in [-1, 1] to bytes, clipping what is outside. Numbers that are not finite become 0.
pub fn to_bytes(images: &Tensor) -> ddpm_model::tensor::Result<Vec<u8>> {
    let numbers = images.flatten_all()?.to_vec1::<f32>()?;
    Ok(numbers.iter().map(|v| ((v + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8).collect())
}

/// Bytes as [-1, 1] again, `[n, H, W, C]`.
pub fn from_bytes(bytes: &[u8], shape: ImageShape) -> ddpm_model::tensor::Result<Tensor> {
    let numbers: Vec<f32> = bytes.iter().map(|b| *b as f32 / 127.5 - 1.0).collect();
    let n = bytes.len() / shape.len();
    Tensor::from_vec(numbers, (n, shape.height, shape.width, shape.channels), &ddpm_model::tensor::Device::Cpu)
}

/// Whether images are points of a plane: one pixel with two channels.
pub fn is_plane(shape: ImageShape) -> bool {
    shape == ImageShape { height: 1, width: 1, channels: 2 }
}

/// Images in rows of `columns`, or where they are points of a plane, all of them in it.
pub fn shown(bytes: &[u8], shape: ImageShape, columns: usize, scale: usize) -> RgbImage {
    if is_plane(shape) { plane(bytes) } else { grid(bytes, shape, columns, scale) }
}

/// Points of a plane, x to the right and y upwards: a pixel for each pair of levels, darker with every point. Few points are larger.
pub fn plane(points: &[u8]) -> RgbImage {
    let mut counts = vec![0i32; 256 * 256];
    let wide: i32 = if points.len() / 2 < FEW { 2 } else { 0 };
    for point in points.chunks_exact(2) {
        let around = (-wide..=wide).flat_map(|dy| (-wide..=wide).map(move |dx| (dx, dy)));
        for (dx, dy) in around {
            let (x, y) = (point[0] as i32 + dx, 255 - point[1] as i32 + dy);
            if (0..256).contains(&x) && (0..256).contains(&y) {
                counts[(y * 256 + x) as usize] += 1;
            }
        }
    }
    RgbImage::from_fn(256, 256, |x, y| {
        let dark = 1.0 - libm::pow(0.5, counts[(y * 256 + x) as usize] as f64);
        Rgb([0, 62, 104].map(|deep| (255.0 + dark * (deep as f64 - 255.0)).round() as u8))
    })
}

/// Pictures of one size beside each other, a line of white around each.
pub fn row(pictures: &[RgbImage]) -> RgbImage {
    let (w, h) = pictures.first().map_or((0, 0), RgbImage::dimensions);
    let mut whole = RgbImage::from_pixel((w + 1) * pictures.len() as u32 + 1, h + 2, Rgb([255; 3]));
    for (i, picture) in pictures.iter().enumerate() {
        image::imageops::replace(&mut whole, picture, ((w + 1) * i as u32 + 1) as i64, 1);
    }
    whole
}

/// A pixel's channels as a colour: of one grey, of two red and green.
fn colour(pixel: &[u8]) -> Rgb<u8> {
    match *pixel {
        [r, g, b] => Rgb([r, g, b]),
        [r, g] => Rgb([r, g, 0]),
        _ => Rgb([pixel[0]; 3]),
    }
}

/// How wide a pixel is shown: small images larger, so that they can be seen.
pub fn scale_for(shape: ImageShape) -> usize {
    match shape.height.max(shape.width) {
        // A pixel by itself is as large as a small image.
        1 => 32,
        side => (64 / side).clamp(1, 2),
    }
}

/// Images in rows of `columns`, each pixel `scale` wide, a line of white between them.
pub fn grid(bytes: &[u8], shape: ImageShape, columns: usize, scale: usize) -> RgbImage {
    let n = bytes.len() / shape.len();
    let rows = n.div_ceil(columns);
    let (h, w) = (shape.height * scale + 1, shape.width * scale + 1);
    let mut picture = RgbImage::from_pixel((columns * w + 1) as u32, (rows * h + 1) as u32, Rgb([255; 3]));
    for (i, image) in bytes.chunks(shape.len()).enumerate() {
        let (top, left) = (i / columns * h + 1, i % columns * w + 1);
        for y in 0..shape.height * scale {
            for x in 0..shape.width * scale {
                let pixel = &image[(y / scale * shape.width + x / scale) * shape.channels..][..shape.channels];
                picture.put_pixel((left + x) as u32, (top + y) as u32, colour(pixel));
            }
        }
    }
    picture
}

/// Images in rows of `columns`, pixel for pixel and without anything between them: for programs.
pub fn tiled(bytes: &[u8], shape: ImageShape, columns: usize) -> RgbImage {
    let rows = (bytes.len() / shape.len()).div_ceil(columns);
    let mut picture = RgbImage::from_pixel((columns * shape.width) as u32, (rows * shape.height) as u32, Rgb([255; 3]));
    for (i, image) in bytes.chunks_exact(shape.len()).enumerate() {
        let (top, left) = (i / columns * shape.height, i % columns * shape.width);
        for (place, pixel) in image.chunks_exact(shape.channels).enumerate() {
            picture.put_pixel((left + place % shape.width) as u32, (top + place / shape.width) as u32, colour(pixel));
        }
    }
    picture
}

/// The images of a tiled picture, row by row; none where they do not fit into it.
pub fn untiled(picture: &RgbImage, shape: ImageShape) -> Option<Vec<Vec<u8>>> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if !width.is_multiple_of(shape.width) || !height.is_multiple_of(shape.height) {
        return None;
    }
    let (columns, rows) = (width / shape.width, height / shape.height);
    let image = |i: usize| {
        let (top, left) = (i / columns * shape.height, i % columns * shape.width);
        let pixel = |place| picture.get_pixel((left + place % shape.width) as u32, (top + place / shape.width) as u32).0;
        (0..shape.height * shape.width).flat_map(|place| pixel(place).into_iter().take(shape.channels)).collect()
    };
    Some((0..rows * columns).map(image).collect())
}

/// The path of a picture to write, from a command line: one that is said to be of another kind would not be what its name says.
pub fn png_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
        Some("png") => Ok(path),
        _ => Err("expected a name that ends in .png, in which pixels are kept as they are".into()),
    }
}

/// A picture as a PNG file's bytes, as few as they can be: of one channel where all is grey.
pub fn png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive);
    let (width, height) = picture.dimensions();
    if picture.pixels().all(|Rgb([r, g, b])| r == g && g == b) {
        let grey: Vec<u8> = picture.pixels().map(|pixel| pixel[0]).collect();
        encoder.write_image(&grey, width, height, ExtendedColorType::L8)?;
    } else {
        encoder.write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To the nearest level; what is outside is clipped; what is no number is black.
    #[test]
    fn numbers_become_the_nearest_byte() {
        let numbers = [-1.0, 1.0, 0.0, 0.5 / 127.5 - 1.0 - 1e-6, 0.5 / 127.5 - 1.0 + 1e-6, -7.0, 7.0, f32::NAN, f32::INFINITY];
        let tensor = Tensor::new(&numbers, &ddpm_model::tensor::Device::Cpu).unwrap();
        assert_eq!(to_bytes(&tensor).unwrap(), [0, 255, 128, 0, 1, 0, 255, 0, 255]);
    }

    /// Tiles are read again as they were laid, of one channel and of three; a picture that is cut elsewhere has none.
    #[test]
    fn tiles_are_read_again() {
        for channels in [1, 2, 3] {
            let shape = ImageShape { height: 2, width: 3, channels };
            let bytes: Vec<u8> = (0..6 * shape.len() as u32).map(|i| i as u8).collect();
            let picture = tiled(&bytes, shape, 3);
            assert_eq!(picture.dimensions(), (9, 4));
            // The fifth image's second row begins here.
            assert_eq!(picture.get_pixel(3, 3).0[0] as usize, 4 * shape.len() + 3 * channels);
            assert_eq!(untiled(&picture, shape).unwrap().concat(), bytes);
            assert_eq!(untiled(&picture, ImageShape { width: 2, ..shape }), None);
        }
    }

    /// A file is read as it was written, in grey and in colours; grey takes a third of the room.
    #[test]
    fn pictures_are_written_as_they_are() {
        let noise = |i: u32| (i.wrapping_mul(2654435761) >> 24) as u8;
        let colours = RgbImage::from_fn(40, 30, |x, y| Rgb([0, 1, 2].map(|c| noise(3 * (40 * y + x) + c))));
        let grey = RgbImage::from_fn(40, 30, |x, y| Rgb([noise(40 * y + x); 3]));
        let lengths = [&colours, &grey].map(|picture| {
            let bytes = png(picture).unwrap();
            assert_eq!(image::load_from_memory(&bytes).unwrap().to_rgb8(), *picture);
            bytes.len()
        });
        assert!(lengths[1] * 5 < lengths[0] * 2, "{lengths:?}");
    }

    /// Image after image, row by row, each pixel as wide and as high as asked, with its colours in order.
    #[test]
    fn a_grid_has_every_pixel_in_its_place() {
        let shape = ImageShape { height: 2, width: 3, channels: 3 };
        let bytes: Vec<u8> = (0..3 * shape.len() as u32).map(|i| i as u8).collect();
        let picture = grid(&bytes, shape, 2, 2);
        assert_eq!(picture.dimensions(), (2 * 7 + 1, 2 * 5 + 1));
        for (image, top, left) in [(0, 1, 1), (1, 1, 8), (2, 6, 1)] {
            for (y, x) in [(0, 0), (1, 2), (3, 5)] {
                let first = (image * 18 + y / 2 * 9 + x / 2 * 3) as u8;
                assert_eq!(picture.get_pixel(left + x, top + y).0, [first, first + 1, first + 2]);
            }
        }
        assert_eq!((picture.get_pixel(0, 0).0, picture.get_pixel(9, 8).0), ([255; 3], [255; 3]));
    }

    /// Each point is where its coordinates are, darker where there are two.
    #[test]
    fn points_are_where_they_are_in_the_plane() {
        let three = [0, 0, 255, 10, 255, 10];
        let picture = plane(&[&three[..], &[100; 2 * FEW]].concat());
        let at = |x, y| picture.get_pixel(x, y).0;
        assert_eq!((picture.dimensions(), at(0, 255), at(255, 245), at(128, 128)), ((256, 256), [128, 159, 180], [64, 110, 142], [255; 3]));
        let few = plane(&three);
        assert_eq!(
            [few.get_pixel(2, 253).0, few.get_pixel(3, 253).0, few.get_pixel(253, 243).0],
            [[128, 159, 180], [255; 3], [64, 110, 142]]
        );
        let whole = row(&[picture.clone(), picture]);
        assert_eq!(
            (whole.dimensions(), whole.get_pixel(1, 256).0, whole.get_pixel(258, 256).0),
            ((515, 258), [128, 159, 180], [128, 159, 180])
        );
    }
}
