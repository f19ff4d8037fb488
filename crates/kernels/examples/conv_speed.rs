//! Speed of the fused convolution, forward and backward, on shapes of the project's networks. `just bench` runs it.

use candle_core::{DType, Device, Result, Tensor, Var};
use ddpm_kernels::Kernel;
use ddpm_kernels::conv2d::{Resize, conv2d};
use ddpm_kernels::random::{Random, Stream};
use ddpm_kernels::simd::Isa;
use std::time::Instant;

/// (images, side, channels in, channels out).
const SHAPES: [(usize, usize, usize, usize); 6] =
    [(32, 14, 32, 32), (32, 14, 96, 32), (32, 7, 64, 64), (32, 14, 64, 64), (8, 32, 128, 128), (8, 16, 256, 256)];
const REPEATS: usize = 10;

fn random(step: u64, dims: &[usize]) -> Result<Tensor> {
    let numbers = Random::new(0, Stream::Evaluation).normals(step, 0, 1, dims.iter().product());
    Tensor::from_vec(numbers, dims, &Device::Cpu)
}

fn main() -> Result<()> {
    println!("{} threads, kernels {}; the best of {REPEATS}", rayon::current_num_threads(), Isa::active().name());
    println!("{:<24} {:>16} {:>16}", "images, side, channels", "forward GFLOP/s", "backward GFLOP/s");
    for (images, side, c_in, c_out) in SHAPES {
        let x = Var::from_tensor(&random(0, &[images, side, side, c_in])?)?;
        let w = Var::from_tensor(&random(1, &[3, 3, c_in, c_out])?)?;
        let bias = Var::zeros((1, c_out), DType::F32, &Device::Cpu)?;
        let flops = 2.0 * (images * side * side * c_in * c_out * 9) as f64;
        let (mut forward, mut backward) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..REPEATS {
            let start = Instant::now();
            let y = conv2d(&x, &w, &bias, Resize::Same, Kernel::Fused)?;
            forward = forward.min(start.elapsed().as_secs_f64());
            let start = Instant::now();
            y.backward()?;
            backward = backward.min(start.elapsed().as_secs_f64());
        }
        let name = format!("{images} x {side}x{side}, {c_in} -> {c_out}");
        println!("{name:<24} {:>16.0} {:>16.0}", flops / forward / 1e9, 2.0 * flops / backward / 1e9);
    }
    Ok(())
}
