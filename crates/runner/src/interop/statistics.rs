//! Means and covariances in NumPy's `.npz`, as pytorch-fid writes and reads them: arrays `mu` and `sigma`, and of our own the number of
//! images and the protocol.

use crate::base::atomic;
use crate::base::npy::Array;
use crate::base::npz::{Npz, Writer};
use crate::metrics::moments::Moments;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// Moments that were stored.
pub struct Stored {
    /// The moments. If the file does not give the number of images, it is taken to be large enough to make no difference.
    pub moments: Moments,
    /// How many images, where the file says so.
    pub n: Option<usize>,
    /// In which features, where the file says so.
    pub features: Option<String>,
}

/// Writes the moments of features called `features`.
pub fn write(path: &Path, moments: &Moments, features: &str) -> Result<()> {
    let dim = moments.mean().len();
    let sigma: Vec<f64> = (0..dim * dim).map(|i| moments.covariance(i / dim, i % dim)).collect();
    atomic::write_with(path, |file| {
        let mut writer = Writer::new(file);
        writer.add("mu", &[dim], moments.mean())?;
        writer.add("sigma", &[dim, dim], &sigma)?;
        writer.add("n", &[1], &[moments.n() as i64])?;
        writer.add("features", &[features.len()], features.as_bytes())?;
        writer.finish()
    })
}

/// Reads a file of pytorch-fid's layout. Errors name the file and what is wrong with it.
pub fn read(path: &Path) -> Result<Stored> {
    let named = || path.display().to_string();
    stored(&mut Npz::open(path).with_context(named)?).with_context(named)
}

/// Whether a file holds a mean and a covariance.
pub fn are_in(file: &Npz) -> bool {
    file.has("mu") && file.has("sigma")
}

/// Those of an open file. Errors name what is wrong.
pub fn stored(file: &mut Npz) -> Result<Stored> {
    let (mu, sigma) = (file.numbers("mu")?, file.numbers("sigma")?);
    let dim = mu.numbers.len();
    ensure!(
        dim > 0 && mu.shape.len() == 1 && sigma.shape == [dim, dim],
        "expected mu [d] and sigma [d, d], got {:?} and {:?}",
        mu.shape,
        sigma.shape
    );
    let (mean, sigma) = (mu.numbers, sigma.numbers);
    ensure!(mean.iter().chain(&sigma).all(|v| v.is_finite()), "holds numbers that are not finite");
    for i in 0..dim {
        for j in 0..i {
            let (a, b) = (sigma[i * dim + j], sigma[j * dim + i]);
            if (a - b).abs() > 1e-6 * (1.0 + a.abs()) {
                bail!("sigma is not symmetric at [{i}, {j}]");
            }
        }
    }
    // Other programs may have arrays of these names that mean something else: then nothing is known.
    let one = |array: Array<f64>| if let [n] = array.numbers[..] { Some(n) } else { None };
    let n = file.numbers("n").ok().and_then(one).filter(|n| *n > 1.0 && n.fract() == 0.0).map(|n| n as usize);
    let text = file.bytes("features").ok().filter(|text| text.shape.len() == 1).and_then(|text| String::from_utf8(text.numbers).ok());
    let features = text.filter(|text| !text.is_empty() && !text.contains(char::is_control));
    Ok(Stored { moments: Moments::from_parts(n.unwrap_or(1 << 30), mean, sigma), n, features })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        let rows: Vec<f32> = (0..60).map(|i| ((i * 37) % 11) as f32).collect();
        let moments = Moments::of(5, rows.chunks(5));
        write(&path, &moments, "some net").unwrap();
        let stored = read(&path).unwrap();
        assert_eq!((stored.n, stored.features.as_deref()), (Some(12), Some("some net")));
        for i in 0..5 {
            assert_eq!(stored.moments.mean()[i], moments.mean()[i]);
            (0..5).for_each(|j| assert!((stored.moments.covariance(i, j) - moments.covariance(i, j)).abs() < 1e-12));
        }
    }

    #[test]
    fn files_that_are_something_else_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        let error = || format!("{:#}", read(&path).err().expect("an error"));
        assert!(error().contains("a.npz: cannot be read: No such file"), "{}", error());
        std::fs::write(&path, b"PK\x03\x04rubbish").unwrap();
        assert!(error().contains("a.npz: is not an .npz file"), "{}", error());
        let put = |arrays: &[(&str, &[usize], &[f64])]| {
            atomic::write_with(&path, |file| {
                let mut writer = Writer::new(file);
                arrays.iter().try_for_each(|(name, shape, numbers)| writer.add(name, shape, numbers))?;
                writer.finish()
            })
            .unwrap();
        };
        put(&[("mu", &[2], &[0.0, 1.0])]);
        assert!(error().contains("expected an array sigma, found mu") && !are_in(&Npz::open(&path).unwrap()), "{}", error());
        put(&[("mu", &[2], &[0.0, 1.0]), ("sigma", &[3], &[1.0; 3])]);
        assert!(error().contains("a.npz: expected mu [d] and sigma [d, d]"), "{}", error());
        put(&[("mu", &[2], &[0.0, f64::NAN]), ("sigma", &[2, 2], &[1.0; 4])]);
        assert!(error().contains("not finite"), "{}", error());
        put(&[("mu", &[2], &[0.0, 1.0]), ("sigma", &[2, 2], &[1.0, 0.0, 0.5, 1.0])]);
        assert!(error().contains("not symmetric at [1, 0]"), "{}", error());
        // What `n` and `features` mean to others says nothing here.
        let sigma: (&str, &[usize], &[f64]) = ("sigma", &[2, 2], &[1.0, 0.5, 0.5, 1.0]);
        for n in [&[-1.0][..], &[2.5], &[300.0, 5000.0]] {
            put(&[("mu", &[2], &[0.0, 1.0]), sigma, ("n", &[n.len()], n), ("features", &[1], &[2.5])]);
            let stored = read(&path).unwrap();
            assert_eq!((stored.n, stored.features), (None, None), "{n:?}");
        }
    }
}
