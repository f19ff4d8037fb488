//! The tensor operations of the U-Net that candle lacks or is slow at, forward and backward.
//!
//! Images are `[B, H, W, C]`. Convolution with its gradients, dense layers and attention are one product, [`gemm`], over rows that need
//! not be a matrix's, in f32, f64 or bf16, on the best instruction set that the processor has ([`simd`]). Each operation is a folder: `reference` is plain tensor code with candle's autograd and stays as the
//! oracle; `cpu` works on slices, knows shapes and strides but nothing of candle; `op` is the thin wrapper between the two, with
//! its backward pass; the folder's `mod` has the one public function. Unsafe code lives here and nowhere else in the workspace.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod adam;
pub mod attention;
pub mod conv2d;
pub mod device;
pub mod dropout;
pub mod gemm;
pub mod group_norm;
pub mod pool;
pub mod random;
pub mod scratch;
pub mod simd;
pub mod window;

/// Which implementation of an operation runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernel {
    /// Plain tensor code: slow, any type, the oracle.
    Reference,
    /// The fused kernel of the device that the tensors are on.
    #[default]
    Fused,
}
