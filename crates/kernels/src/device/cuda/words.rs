//! What libraries say when something is wrong, in words.

use crate::device::fault::{DeviceError, Fault};
use candle_core::Error;
use candle_core::cuda_backend::cudarc;
use cudarc::cublas::result::CublasError;
use cudarc::cublas::sys::cublasStatus_t;
use cudarc::cudnn::CudnnError;
use cudarc::cudnn::sys::cudnnStatus_t;
use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

/// The first line of a library's error message; common ones are replaced by plain words.
pub fn plainly(e: impl std::fmt::Debug) -> String {
    let said = format!("{e:?}").lines().next().unwrap_or_default().to_string();
    let usual = [
        ("CUDA_ERROR_NO_DEVICE", "no NVIDIA GPU, or no driver for it (libcuda.so.1), was found"),
        ("CUDA_ERROR_STUB_LIBRARY", "no driver for an NVIDIA GPU (libcuda.so.1) was found"),
        ("CUBLAS_STATUS_NOT_INITIALIZED", "cuBLAS (libcublas.so) cannot be loaded or started; is its folder in LD_LIBRARY_PATH?"),
        ("CUDNN_STATUS_NOT_INITIALIZED", "cuDNN (libcudnn.so.9) cannot be loaded or started; is its folder in LD_LIBRARY_PATH?"),
        ("CURAND_STATUS_INITIALIZATION_FAILED", "cuRAND (libcurand.so) cannot be loaded or started; is its folder in LD_LIBRARY_PATH?"),
    ];
    match usual.into_iter().find(|(name, _)| said.contains(name)) {
        Some((name, plain)) => format!("{plain} ({name})"),
        None => said,
    }
}

/// An error of a library.
pub trait LibraryError: std::fmt::Debug {
    /// What is the matter, where the error says it.
    fn fault(&self) -> Option<Fault>;
}

impl LibraryError for DriverError {
    /// The driver's other errors mean that it aborted work, or that the context was lost as a result.
    fn fault(&self) -> Option<Fault> {
        match self.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => Some(Fault::Memory),
            _ => Some(Fault::Lost),
        }
    }
}

impl LibraryError for CublasError {
    /// A library call is often the first to report the failure of an earlier kernel.
    fn fault(&self) -> Option<Fault> {
        match self.0 {
            cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => Some(Fault::Memory),
            cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED | cublasStatus_t::CUBLAS_STATUS_INTERNAL_ERROR => Some(Fault::Lost),
            _ => None,
        }
    }
}

impl LibraryError for CudnnError {
    fn fault(&self) -> Option<Fault> {
        use cudnnStatus_t::*;
        match self.0 {
            CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED | CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED => {
                Some(Fault::Memory)
            }
            CUDNN_STATUS_INTERNAL_ERROR
            | CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED
            | CUDNN_STATUS_INTERNAL_ERROR_UNEXPECTED_VALUE
            | CUDNN_STATUS_INTERNAL_ERROR_BAD_LAUNCH_PARAM
            | CUDNN_STATUS_INTERNAL_ERROR_TEXTURE_CREATION_FAILED
            | CUDNN_STATUS_EXECUTION_FAILED
            | CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER
            | CUDNN_STATUS_EXECUTION_FAILED_CUBLAS
            | CUDNN_STATUS_EXECUTION_FAILED_CUDART
            | CUDNN_STATUS_EXECUTION_FAILED_CURAND => Some(Fault::Lost),
            _ => None,
        }
    }
}

/// candle's own, which opens the device: whatever is the matter, the device is not there.
impl LibraryError for Error {
    fn fault(&self) -> Option<Fault> {
        None
    }
}

/// An error of a library as one of this crate's, with what was being done.
pub fn wrong<E: LibraryError>(what: &str) -> impl Fn(E) -> Error + '_ {
    move |e| DeviceError { fault: e.fault(), words: format!("{what}: {}", plainly(e)) }.into()
}
