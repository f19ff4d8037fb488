//! What libraries say when something is wrong, in words.

use candle_core::Error;

/// The first line of what a library says; in plain words where it is the usual one.
pub fn words(e: impl std::fmt::Debug) -> String {
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

/// An error of a library as one of this crate's, with what was being done.
pub fn wrong<E: std::fmt::Debug>(what: &str) -> impl Fn(E) -> Error + '_ {
    move |e| Error::Msg(format!("{what}: {}", words(e)))
}
