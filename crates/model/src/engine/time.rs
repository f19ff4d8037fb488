//! The time embedding and the dense layers that read it, forward and backward, in f32 whatever the precision: a thousandth of the work.

use super::graph::Graph;
use crate::layers::Dense;
use ddpm_kernels::conv2d::cpu::sum_rows;
use ddpm_kernels::gemm::F32;
use ddpm_kernels::gemm::matrix::product;
use ddpm_kernels::gemm::pack::{Matrix, OperandSplit};
use rayon::prelude::*;

/// The parameters' numbers by their place in the network.
pub struct ParameterSlices<'a> {
    pub all: &'a [f32],
    pub offsets: &'a [usize],
}

impl ParameterSlices<'_> {
    /// Those of a parameter.
    pub fn of(&self, parameter: usize) -> &[f32] {
        &self.all[self.offsets[parameter]..self.offsets[parameter + 1]]
    }
}

/// What the backward pass needs of the forward pass.
#[derive(Debug, Default)]
pub struct SavedTime {
    batch: usize,
    /// Inputs of the two dense layers, their results before SiLU, and the embedding.
    inputs: [Vec<f32>; 2],
    before: [Vec<f32>; 2],
    embedding: Vec<f32>,
    /// Results of the dense layers on the embedding.
    pub shifts: Vec<Vec<f32>>,
}

fn matrix(data: &[f32], stride: usize, transposed: bool) -> Matrix<'_, f32> {
    Matrix { data, stride, transposed }
}

fn apply(dense: &Dense, p: &ParameterSlices, x: &[f32]) -> Vec<f32> {
    let batch = x.len() / dense.from;
    let mut y: Vec<f32> = p.of(dense.bias).repeat(batch);
    let (left, right) = (matrix(x, dense.from, false), matrix(p.of(dense.weight), dense.out, false));
    product::<F32>(OperandSplit::One, (batch, dense.from, dense.out), left, right, true, dense.out, &mut y);
    y
}

/// (dx, dw, db).
fn gradient(dense: &Dense, p: &ParameterSlices, x: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
    let batch = x.len() / dense.from;
    let (mut dx, mut dw) = (vec![0f32; x.len()], vec![0f32; dense.from * dense.out]);
    let (rows, weight) = (matrix(dy, dense.out, false), matrix(p.of(dense.weight), dense.out, true));
    product::<F32>(OperandSplit::One, (batch, dense.out, dense.from), rows, weight, false, dense.from, &mut dx);
    let columns = matrix(x, dense.from, true);
    product::<F32>(OperandSplit::One, (dense.from, batch, dense.out), columns, rows, false, dense.out, &mut dw);
    [dx, dw, sum_rows(dy, dense.out)]
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

impl SavedTime {
    /// Computes the embedding of each image's step, and every dense layer's result.
    pub fn forward(&mut self, graph: &Graph, p: &ParameterSlices, embedding: Vec<f32>, batch: usize) {
        let Some(layers) = &graph.time else { return };
        self.batch = batch;
        self.inputs[0] = embedding;
        for (i, dense) in layers.iter().enumerate() {
            self.before[i] = apply(dense, p, &self.inputs[i]);
            let after = self.before[i].iter().map(|x| x * sigmoid(*x)).collect();
            if i == 0 { self.inputs[1] = after } else { self.embedding = after }
        }
        let embedding = &self.embedding;
        self.shifts = graph.denses.par_iter().map(|dense| apply(dense, p, embedding)).collect();
    }

    /// Gradients of all parameters involved from those of the dense layers' results, each to `put` (parameter, gradient).
    pub fn backward(&self, graph: &Graph, p: &ParameterSlices, dshifts: &[Vec<f32>], mut put: impl FnMut(usize, &[f32])) {
        let Some(layers) = &graph.time else { return };
        let all: Vec<[Vec<f32>; 3]> =
            graph.denses.par_iter().zip(dshifts).map(|(dense, dy)| gradient(dense, p, &self.embedding, dy)).collect();
        let mut dy = vec![0f32; self.embedding.len()];
        for (dense, [dx, dw, db]) in graph.denses.iter().zip(&all) {
            dy.iter_mut().zip(dx).for_each(|(to, v)| *to += v);
            put(dense.weight, dw);
            put(dense.bias, db);
        }
        for (i, dense) in layers.iter().enumerate().rev() {
            for (d, x) in dy.iter_mut().zip(&self.before[i]) {
                let s = sigmoid(*x);
                *d *= s * (1.0 + x * (1.0 - s));
            }
            let [dx, dw, db] = gradient(dense, p, &self.inputs[i], &dy);
            put(dense.weight, &dw);
            put(dense.bias, &db);
            dy = dx;
        }
    }
}
