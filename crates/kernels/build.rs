//! With feature `cuda`: the kernels as PTX, by nvcc. With feature `emulation`: the same source for the CPU, by a C++ compiler.

#[cfg(feature = "cuda")]
use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cuda");
    #[cfg(feature = "cuda")]
    ptx(&std::path::Path::new(&env::var("OUT_DIR").expect("cargo gives it")).join("kernels.ptx"));
    #[cfg(feature = "emulation")]
    cc::Build::new().cpp(true).std("c++17").define("_FORTIFY_SOURCE", "0").file("cuda/emulation.cpp").compile("ddpm_emulation");
}

#[cfg(feature = "cuda")]
fn ptx(to: &std::path::Path) {
    for variable in ["NVCC", "CUDA_HOME", "CUDA_COMPUTE_CAP"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let nvcc = env::var("NVCC").or_else(|_| env::var("CUDA_HOME").map(|home| home + "/bin/nvcc")).unwrap_or_else(|_| "nvcc".into());
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".into());
    let status = std::process::Command::new(&nvcc)
        .args(["--ptx", "-O3", "-std=c++17", &format!("-arch=compute_{capability}"), "cuda/kernels.cu", "-o"])
        .arg(to)
        .status()
        .unwrap_or_else(|e| panic!("feature `cuda` needs nvcc (NVCC, CUDA_HOME or the path), tried {nvcc}: {e}"));
    assert!(status.success(), "{nvcc} failed on cuda/kernels.cu");
}
