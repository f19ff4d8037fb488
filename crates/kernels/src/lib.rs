//! The tensor operations of the U-Net that candle lacks or is slow at, forward and backward.
//!
//! Images are `[B, H, W, C]`. Convolution and its gradients, dense layers and attention all reduce to one matrix product, [`gemm`], whose
//! left-hand rows may start at arbitrary offsets, in f32, f64 or bf16, on the best instruction set that the processor has ([`simd`]). Each
//! operation is a folder: `reference` is plain tensor code with candle's autograd and serves as the oracle; `cpu` works on slices and
//! knows shapes and strides but nothing of candle; `op` is the thin wrapper between the two, with its backward pass; the folder's `mod`
//! has the one public function. Unsafe code lives here and nowhere else in the workspace.
//!
//! A kernel beside its reference, which is tensor code:
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use ddpm_kernels::Kernel;
//! use ddpm_kernels::conv2d::{Resample, conv2d};
//!
//! let x = Tensor::randn(0f64, 1.0, (2, 8, 8, 4), &Device::Cpu)?; // [B, H, W, Ci]
//! let weight = Tensor::randn(0f64, 0.1, (3, 3, 4, 6), &Device::Cpu)?; // [K, K, Ci, Co]
//! let bias = Tensor::zeros((1, 6), x.dtype(), &Device::Cpu)?; // one for all images
//! let [fused, plain] = [Kernel::Fused, Kernel::Reference].map(|kernel| conv2d(&x, &weight, &bias, Resample::Halve, kernel));
//! let (fused, plain) = (fused?, plain?);
//! assert_eq!(fused.dims(), [2, 4, 4, 6]);
//! assert!((fused - plain)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-12);
//! # Ok::<(), candle_core::Error>(())
//! ```

#![deny(missing_docs)]
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
