//! Training images nearest to samples: whether a network has memorised its training images (Figures 12 and 15).

use super::reference;
use super::sample::samples_of;
use super::study::{Sheet, StudyContext, names};
use crate::base::stop;
use crate::metrics::features::BATCH;
use crate::metrics::seen::MOST_KEPT;
use crate::store::progress::Stage;
use crate::store::{Findings, Labels};
use anyhow::Result;
use ddpm_model::network::ImageShape;
use rayon::prelude::*;
use std::borrow::Cow;

impl StudyContext<'_> {
    /// The first `samples`, each with its `neighbours` in pixels and in features. With `crop`, distances are of the square in the middle
    /// with sides of that many pixels; whole images are shown.
    pub fn neighbours(&mut self, samples: usize, neighbours: usize, crop: Option<usize>) -> Result<Findings> {
        let (shape, train) = (self.data.info.shape, &self.data.train);
        let seen = crop.map_or(shape, |side| ImageShape { height: side, width: side, ..shape });
        if seen.height > shape.height || seen.width > shape.width {
            let why = format!("images of {}x{} have no crop of {}x{}", shape.height, shape.width, seen.height, seen.width);
            return Ok(Findings { blank: Some(why), ..Findings::default() });
        }
        let made = samples_of(self.store, self.job, self.data, self.engine, self.reporter)?;
        let shown = &made.bytes[..samples.min(made.bytes.len() / shape.len()) * shape.len()];
        let n = neighbours.min(train.len());
        // With distances as `said` says them of their squares.
        let sheet = |found: &[Vec<(f64, usize)>], said: &dyn Fn(f64) -> String| {
            let (mut bytes, mut notes) = (Vec::new(), Vec::new());
            for (sample, near) in shown.chunks(shape.len()).zip(found) {
                bytes.extend_from_slice(sample);
                notes.push(String::new());
                for (square, i) in near {
                    bytes.extend_from_slice(&train.image(*i)?);
                    notes.push(said(*square));
                }
            }
            let rows = vec![String::new(); found.len()];
            let labels = Labels { columns: names("sample", 1 + n, |i| i.to_string()), rows, notes, ..Labels::default() };
            Ok::<_, anyhow::Error>(Sheet { rows: found.len(), columns: 1 + n, bytes, labels })
        };
        let place = crop.map_or(String::new(), |side| format!(", by the {side}x{side} pixels in the middle"));
        let words = |space: &str, distance: &str| {
            format!("A sample and the training images nearest to it in {space}{place}; under each {distance} (Figures 12, 15).")
        };
        let file = |space: &str| format!("neighbours-{space}{}.png", crop.map_or(String::new(), |side| format!("-crop-{side}")));

        let ours = middles(shown, shape, seen);
        // A part at a time: all of them may be more than there is memory.
        let theirs = |at_once: usize| {
            train.chunks(at_once).map(move |part| {
                let part = part?;
                Ok(if seen == shape { part } else { Cow::Owned(middles(&part, shape, seen)) })
            })
        };
        let found = nearest(&ours, theirs(train.at_once()), seen.len(), n)?;
        let of_pixels = sheet(&found, &|square| format!("{:.1}", (square / seen.len() as f64).sqrt()))?;
        let caption = words("pixels", "the root mean square difference on 0-255");
        let mut findings = Findings { pictures: vec![self.show(&file("pixels"), caption, of_pixels)?], ..Findings::default() };

        let Some(net) = self.net else {
            findings.blank = Some("no feature network for these images".into());
            return Ok(findings);
        };
        if !net.sees(seen) {
            findings.blank = Some(format!("{} sees no crops of {}x{}", net.name, seen.height, seen.width));
            return Ok(findings);
        }
        let ours = net.see(&ours, seen, |_| stop::check())?;
        // What is stored are whole images' features; of a large set, those of some.
        let stored = match crop {
            Some(_) => None,
            None if train.len() > MOST_KEPT => None,
            None => match reference::load(Some(self.store), self.data, net, self.reporter)? {
                Ok(reference) => Some(reference.train),
                Err(reason) => {
                    findings.blank = Some(reason);
                    return Ok(findings);
                }
            },
        };
        let found = match &stored {
            Some(stored) => nearest(&ours.rows, [Ok(Cow::Borrowed(&stored.features.rows[..]))].into_iter(), ours.dim, n)?,
            None => {
                let (mut done, total) = (0, train.len() as u64);
                self.reporter.begin();
                let parts = net.parts(theirs(BATCH), seen).map(|part| {
                    let part = part?;
                    done += part.n() as u64;
                    self.reporter.tell(Stage::Features, done, total, done, None)?;
                    Ok(Cow::Owned(part.rows))
                });
                nearest(&ours.rows, parts, ours.dim, n)?
            }
        };
        let of_features = sheet(&found, &|square| format!("{:.2}", square.sqrt()))?;
        let caption = words(&format!("{} features", net.name), "the Euclidean distance");
        findings.pictures.push(self.show(&file("features"), caption, of_features)?);
        Ok(findings)
    }
}

/// The middle of every image, of shape `inner`; where an odd number of pixels is left over, the extra one is below or to the right.
fn middles(bytes: &[u8], shape: ImageShape, inner: ImageShape) -> Vec<u8> {
    let (top, left) = ((shape.height - inner.height) / 2, (shape.width - inner.width) / 2);
    let mut kept = Vec::with_capacity(bytes.len() / shape.len() * inner.len());
    for image in bytes.chunks_exact(shape.len()) {
        for row in image.chunks_exact(shape.width * shape.channels).skip(top).take(inner.height) {
            kept.extend_from_slice(&row[left * shape.channels..][..inner.width * shape.channels]);
        }
    }
    kept
}

/// For each row of `a` the squared distances and the places of its `n` nearest rows of `b`, which comes in parts, nearest first and of
/// equals the first.
fn nearest<'b, V: Copy + Sync + Into<f32> + 'b>(
    a: &[V],
    b: impl Iterator<Item = Result<Cow<'b, [V]>>>,
    dim: usize,
    n: usize,
) -> Result<Vec<Vec<(f64, usize)>>> {
    let mut found: Vec<Vec<(f64, usize)>> = vec![Vec::new(); a.len() / dim];
    let mut first = 0;
    for part in b {
        let part = part?;
        found.par_iter_mut().zip(a.par_chunks(dim)).for_each(|(near, row)| {
            let square = |(x, y): (&V, &V)| ((*x).into() - (*y).into()) as f64;
            let distance = |other: &[V]| row.iter().zip(other).map(|both| square(both).powi(2)).sum::<f64>();
            near.extend(part.chunks(dim).enumerate().map(|(i, other)| (distance(other), first + i)));
            near.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
            near.truncate(n);
        });
        first += part.len() / dim;
        stop::check()?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every pixel of the middle is the image's at the place that the middle's corner says.
        #[test]
        fn the_middle_is_where_it_should_be(
            (height, width) in (1..9usize, 1..9usize), channels in 1..4usize, side in 1..9usize, n in 1..4usize, seed in any::<u64>(),
        ) {
            let shape = ImageShape { height, width, channels };
            let inner = ImageShape { height: side.min(height), width: side.min(width), channels };
            let bytes: Vec<u8> = (0..n * shape.len()).map(|i| (seed.rotate_left(i as u32 % 64) ^ i as u64) as u8).collect();
            let kept = middles(&bytes, shape, inner);
            prop_assert_eq!(kept.len(), n * inner.len());
            for (at, value) in kept.iter().enumerate() {
                let (c, x) = (at % channels, at / channels % inner.width);
                let (y, i) = (at / channels / inner.width % inner.height, at / inner.len());
                let (y, x) = (y + (height - inner.height) / 2, x + (width - inner.width) / 2);
                prop_assert_eq!(*value, bytes[((i * height + y) * width + x) * channels + c]);
            }
        }

        /// Distances never fall along a list, and nothing outside it is nearer than its last.
        #[test]
        fn the_nearest_are_nearest(a in prop::collection::vec(any::<u8>(), 3), b in prop::collection::vec(any::<u8>(), 3..60), n in 1..8usize, part in 1..8usize) {
            let b = &b[..b.len() / 3 * 3];
            let parts = b.chunks(3 * part).map(|part| Ok(Cow::Borrowed(part)));
            let found = &nearest(&a, parts, 3, n).unwrap()[0];
            let order: Vec<usize> = found.iter().map(|(_, i)| *i).collect();
            let distance = |i: usize| (0..3).map(|k| (a[k] as i64 - b[3 * i + k] as i64).pow(2)).sum::<i64>();
            prop_assert!(found.iter().all(|(square, i)| *square == distance(*i) as f64));
            prop_assert_eq!(order.len(), n.min(b.len() / 3));
            prop_assert!(order.windows(2).all(|w| (distance(w[0]), w[0]) < (distance(w[1]), w[1])));
            let last = order.last().map(|i| (distance(*i), *i)).unwrap();
            prop_assert!((0..b.len() / 3).all(|i| order.contains(&i) || (distance(i), i) > last));
        }
    }
}
