//! Means and covariances in NumPy's `.npz`, as pytorch-fid writes and reads them: arrays `mu` and `sigma`, and of our own the number of
//! images and the protocol.

use crate::base::atomic;
use crate::metrics::moments::Moments;
use anyhow::{Context, Result, bail, ensure};
use ddpm_model::interop::read_npz;
use ddpm_model::tensor::{DType, Device, Tensor};
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
    let arrays = [
        ("mu", Tensor::from_slice(moments.mean(), dim, &Device::Cpu)?),
        ("sigma", Tensor::from_vec(sigma, (dim, dim), &Device::Cpu)?),
        ("n", Tensor::from_vec(vec![moments.n() as i64], 1, &Device::Cpu)?),
        ("features", Tensor::from_slice(features.as_bytes(), features.len(), &Device::Cpu)?),
    ];
    atomic::write_with(path, |part| Ok(Tensor::write_npz(&arrays, part)?))
}

/// Reads a file of pytorch-fid's layout. Errors name the file and what is wrong with it.
pub fn read(path: &Path) -> Result<Stored> {
    let file = || path.display();
    let arrays = read_npz(path).with_context(|| file().to_string())?;
    let of = |name: &str| arrays.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor);
    let (Some(mu), Some(sigma)) = (of("mu"), of("sigma")) else {
        let found: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
        bail!("{}: expected the arrays mu and sigma, found {}", file(), found.join(", "));
    };
    let dim = mu.elem_count();
    ensure!(
        dim > 0 && mu.rank() == 1 && sigma.dims() == [dim, dim],
        "{}: expected mu [d] and sigma [d, d], got {:?} and {:?}",
        file(),
        mu.dims(),
        sigma.dims()
    );
    let numbers = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (mean, sigma) = (numbers(mu)?, numbers(sigma)?);
    ensure!(mean.iter().chain(&sigma).all(|v| v.is_finite()), "{}: holds numbers that are not finite", file());
    for i in 0..dim {
        for j in 0..i {
            let (a, b) = (sigma[i * dim + j], sigma[j * dim + i]);
            ensure!((a - b).abs() <= 1e-6 * (1.0 + a.abs()), "{}: sigma is not symmetric at [{i}, {j}]", file());
        }
    }
    let n = of("n").and_then(|t| numbers(t).ok()?.first().map(|n| *n as usize)).filter(|n| *n > 1);
    let text = |t: &Tensor| String::from_utf8(t.flatten_all().ok()?.to_vec1::<u8>().ok()?).ok();
    Ok(Stored { moments: Moments::from_parts(n.unwrap_or(1 << 30), mean, sigma), n, features: of("features").and_then(text) })
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
        std::fs::write(&path, b"PK\x03\x04rubbish").unwrap();
        assert!(error().contains("a.npz: is not an .npz file"), "{}", error());
        let one =
            |name: &str, numbers: &[f64], shape: &[usize]| (name.to_string(), Tensor::from_slice(numbers, shape, &Device::Cpu).unwrap());
        let put = |arrays: &[(String, Tensor)]| Tensor::write_npz(arrays, &path).unwrap();
        put(&[one("mu", &[0.0, 1.0], &[2])]);
        assert!(error().contains("expected the arrays mu and sigma, found mu"), "{}", error());
        put(&[one("mu", &[0.0, 1.0], &[2]), one("sigma", &[1.0; 3], &[3])]);
        assert!(error().contains("expected mu [d] and sigma [d, d]"), "{}", error());
        put(&[one("mu", &[0.0, f64::NAN], &[2]), one("sigma", &[1.0; 4], &[2, 2])]);
        assert!(error().contains("not finite"), "{}", error());
        put(&[one("mu", &[0.0, 1.0], &[2]), one("sigma", &[1.0, 0.0, 0.5, 1.0], &[2, 2])]);
        assert!(error().contains("not symmetric at [1, 0]"), "{}", error());
    }
}
