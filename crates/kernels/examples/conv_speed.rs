use candle_core::*;
use ddpm_kernels::{conv2d::*, *};
fn main() -> Result<()> {
    for (b, s, ci, co) in [(32, 14, 32, 32), (32, 14, 96, 32), (32, 7, 64, 64), (32, 14, 64, 64), (8, 32, 128, 128), (8, 16, 256, 256)] {
        let x = Tensor::randn(0f32, 1., (b, s, s, ci), &Device::Cpu)?;
        let w = Var::randn(0f32, 1., (3, 3, ci, co), &Device::Cpu)?;
        let bias = Var::zeros((1, co), DType::F32, &Device::Cpu)?;
        let x = Var::from_tensor(&x)?;
        let fl = 2. * (b * s * s * ci * co * 9) as f64;
        let mut f = f64::MAX;
        let mut t = f64::MAX;
        for _ in 0..10 {
            let t0 = std::time::Instant::now();
            let y = conv2d(&x, &w, &bias, Resize::Same, Kernel::Fused)?;
            f = f.min(t0.elapsed().as_secs_f64());
            let t0 = std::time::Instant::now();
            y.backward()?;
            t = t.min(t0.elapsed().as_secs_f64());
        }
        println!(
            "{b}x{s}x{s} {ci}->{co}: fwd {:.1} GF/s ({:.2} ms)  bwd {:.1} GF/s ({:.2} ms)",
            fl / f / 1e9,
            f * 1e3,
            2. * fl / t / 1e9,
            t * 1e3
        );
    }
    Ok(())
}
