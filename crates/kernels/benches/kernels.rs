//! Each kernel by itself, on shapes of the paper's network and of the default base's. `just bench-kernels conv` runs those that match.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ddpm_kernels::adam::{AdamState, Epsilon, Update, adam, sum_of_squares};
use ddpm_kernels::attention::cpu as attention;
use ddpm_kernels::conv2d::Resample;
use ddpm_kernels::conv2d::cpu::{self as conv, Source, kernels};
use ddpm_kernels::conv2d::layer::Layer;
use ddpm_kernels::conv2d::{Frame, Shape};
use ddpm_kernels::dropout::Dropout;
use ddpm_kernels::gemm::pack::OperandSplit;
use ddpm_kernels::gemm::{Bf16, F32, Format};
use ddpm_kernels::group_norm::{Spec, cpu as norm};
use ddpm_kernels::random::{Random, Stream};
use ddpm_kernels::scratch::Scratch;

fn numbers(step: u64, n: usize) -> Vec<f32> {
    Random::new(0, Stream::Evaluation).normals(step, 0, 1, n)
}

/// (images, side, channels in, channels out, change of size).
const CONVOLUTIONS: [(usize, usize, usize, usize, Resample); 15] = [
    (8, 32, 128, 128, Resample::Same),
    (8, 32, 256, 128, Resample::Same),
    (8, 16, 256, 256, Resample::Same),
    (8, 16, 512, 256, Resample::Same),
    (8, 8, 256, 256, Resample::Same),
    (8, 4, 256, 256, Resample::Same),
    (8, 32, 128, 128, Resample::Halve),
    (8, 16, 256, 256, Resample::Double),
    (8, 16, 256, 256, Resample::Transposed),
    (32, 14, 32, 32, Resample::Same),
    (32, 14, 64, 64, Resample::Same),
    (32, 7, 64, 64, Resample::Same),
    (32, 7, 64, 64, Resample::Double),
    (32, 7, 64, 64, Resample::Transposed),
    (32, 28, 16, 16, Resample::Same),
];

fn convolutions<F: Format<Number = f32, Element: Scratch>>(c: &mut Criterion, format: &str) {
    let mut group = c.benchmark_group(format!("conv-{format}"));
    for (batch, side, c_in, c_out, resample) in CONVOLUTIONS {
        let k = if resample == Resample::Transposed { 4 } else { 3 };
        let shape = Shape { input: Frame { h: side, w: side, c: c_in }, c_out, k, resample };
        let (layer, out) = (Layer::<F>::new(shape, OperandSplit::One), shape.output());
        let (x, w, dy) = (numbers(0, batch * shape.input.numbers()), numbers(1, shape.weight_len()), numbers(2, batch * out.numbers()));
        let name = format!("{batch}x{side}x{side}x{c_in}-{c_out}-{resample:?}");
        group.throughput(Throughput::Elements(2 * batch as u64 * shape.multiplications()));
        let mut packed = vec![F::Element::default(); layer.forward_len()];
        layer.pack_forward(kernels(&[&w], c_in, c_out), &mut packed);
        let (mut y, bias) = (vec![0f32; dy.len()], vec![0f32; c_out]);
        group.bench_function(BenchmarkId::new("forward", &name), |b| {
            b.iter(|| conv::forward(&layer, &packed, Source::Plain(&x), &bias, false, &mut y));
        });
        let mut packed = vec![F::Element::default(); layer.input_gradient_len()];
        layer.pack_input_gradient(kernels(&[&w], c_in, c_out), &mut packed);
        let mut dx = vec![0f32; x.len()];
        group.bench_function(BenchmarkId::new("input-gradient", &name), |b| {
            let mut sinks: Vec<&mut [f32]> = dx.chunks_mut(shape.input.numbers()).collect();
            b.iter(|| conv::input_gradient(&layer, &packed, &dy, &mut sinks, |_, to, from| to.copy_from_slice(from)));
        });
        let mut dw = vec![0f32; w.len()];
        group.bench_function(BenchmarkId::new("weight-gradient", &name), |b| {
            b.iter(|| conv::weight_gradient(&layer, Source::Plain(&x), &dy, &mut [&mut dw]));
        });
    }
}

fn all_convolutions(c: &mut Criterion) {
    convolutions::<F32>(c, "f32");
    convolutions::<Bf16>(c, "bf16");
}

/// Weights made ready, of layers that together do not fit a cache: a training step finds each of them in memory.
fn packings<F: Format<Number = f32, Element: Scratch>>(c: &mut Criterion, format: &str) {
    let mut group = c.benchmark_group(format!("pack-{format}"));
    let (layers, side) = (24, 256);
    for resample in [Resample::Same, Resample::Double] {
        let shape = Shape { input: Frame { h: 8, w: 8, c: side }, c_out: side, k: 3, resample };
        let (layer, w) = (Layer::<F>::new(shape, OperandSplit::One), numbers(0, layers * shape.weight_len()));
        group.throughput(Throughput::Elements(w.len() as u64));
        let mut packed = vec![F::Element::default(); layer.forward_len()];
        group.bench_function(format!("forward-{resample:?}"), |b| {
            b.iter(|| w.chunks_exact(shape.weight_len()).for_each(|w| layer.pack_forward(kernels(&[w], side, side), &mut packed)));
        });
        let mut packed = vec![F::Element::default(); layer.input_gradient_len()];
        group.bench_function(format!("input-gradient-{resample:?}"), |b| {
            b.iter(|| w.chunks_exact(shape.weight_len()).for_each(|w| layer.pack_input_gradient(kernels(&[w], side, side), &mut packed)));
        });
    }
}

fn all_packings(c: &mut Criterion) {
    packings::<F32>(c, "f32");
    packings::<Bf16>(c, "bf16");
}

/// One image at a time, on one thread.
fn norms(c: &mut Criterion) {
    let mut group = c.benchmark_group("group-norm");
    for (pixels, channels, groups) in [(1024, 128, 32), (256, 512, 32), (196, 32, 8)] {
        let spec = Spec { groups, epsilon: 1e-6, silu: true };
        let (x, gamma, beta) = (numbers(0, pixels * channels), numbers(1, channels), numbers(2, channels));
        let (mut y, mut statistics, mut partial) = (vec![0f32; x.len()], vec![0f32; 2 * channels], vec![0f32; 2 * channels]);
        group.throughput(Throughput::Elements(x.len() as u64));
        let parts = [(&x[..], channels)];
        group.bench_function(format!("forward/{pixels}x{channels}"), |b| {
            b.iter(|| norm::forward(spec, &parts, &gamma, &beta, &mut statistics, &mut y));
        });
        let dy = numbers(3, x.len());
        group.bench_function(format!("backward/{pixels}x{channels}"), |b| {
            b.iter(|| {
                y.copy_from_slice(&dy);
                norm::backward(spec, &parts, &gamma, &beta, &statistics, &mut y, &mut partial);
            });
        });
    }
}

fn attentions(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention");
    let (pixels, channels) = (256, 256);
    let (qkv, dout) = (numbers(0, pixels * 3 * channels), numbers(1, pixels * channels));
    let (mut out, mut dqkv) = (vec![0f32; dout.len()], vec![0f32; qkv.len()]);
    group.bench_function("forward/f32", |b| b.iter(|| attention::forward::<F32>(OperandSplit::One, channels, &qkv, &mut out)));
    group.bench_function("forward/bf16", |b| b.iter(|| attention::forward::<Bf16>(OperandSplit::One, channels, &qkv, &mut out)));
    group.bench_function("backward/f32", |b| b.iter(|| attention::backward::<F32>(OperandSplit::One, channels, &qkv, &dout, &mut dqkv)));
    group.bench_function("backward/bf16", |b| b.iter(|| attention::backward::<Bf16>(OperandSplit::One, channels, &qkv, &dout, &mut dqkv)));
}

fn elementwise(c: &mut Criterion) {
    let mut group = c.benchmark_group("elementwise");
    let n = 1 << 22;
    group.throughput(Throughput::Elements(n as u64));
    let gradient = numbers(0, n);
    let [mut theta, mut m, mut v, mut ema] = [numbers(1, n), vec![0f32; n], vec![0f32; n], vec![0f32; n]];
    let update = Update {
        learning_rate: 2e-4,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        epsilon_mode: Epsilon::Hat,
        k: 10,
        gradient_scale: 0.5,
        ema_decay: 0.9999,
    };
    group.bench_function("adam-and-average", |b| {
        b.iter(|| adam(&update, AdamState { theta: &mut theta, m: &mut m, v: &mut v, ema: &mut ema }, &gradient));
    });
    group.bench_function("sum-of-squares", |b| b.iter(|| sum_of_squares(&gradient)));
    let mut x = numbers(2, n);
    group.bench_function("dropout", |b| b.iter(|| Dropout::new(0, 0).drop_image(0, 1, 0.1, &mut x)));
}

criterion_group!(benches, all_convolutions, all_packings, norms, attentions, elementwise);
criterion_main!(benches);
