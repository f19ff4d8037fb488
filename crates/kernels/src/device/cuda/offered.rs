//! The algorithms that cuDNN offers for a convolution, and which of them may be used.

use crate::device::Type;
use candle_core::cuda_backend::cudarc::cudnn::sys;

/// How factors are multiplied: f32 exactly unless TF32 was asked for, which the default mathematics permits.
pub fn math(kind: Type, tf32: bool) -> sys::cudnnMathType_t {
    match (kind, tf32) {
        (Type::F32, false) => sys::cudnnMathType_t::CUDNN_FMA_MATH,
        (Type::F32, true) => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
        (Type::Bf16, _) => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
    }
}

/// An algorithm as cuDNN describes it. Its math type is what the library would use, not what it is run with: see [`math`].
#[derive(Clone, Copy, Debug)]
pub struct Offered {
    /// cuDNN's number of the algorithm, among those of the pass.
    pub algorithm: u32,
    /// Math type that cuDNN would use.
    pub math: sys::cudnnMathType_t,
    /// Workspace that the algorithm needs, in bytes.
    pub room: usize,
    /// Success if the algorithm is available for the convolution, otherwise the reason why not.
    pub status: sys::cudnnStatus_t,
    /// Whether the algorithm gives the same bits in every run.
    pub determinism: sys::cudnnDeterminism_t,
    /// Milliseconds, where it was timed.
    pub ms: f32,
}

impl Offered {
    /// Whether it is available and deterministic.
    pub fn is_sure(&self) -> bool {
        let sure = self.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC;
        self.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS && sure
    }

    /// What it is; times where there are any.
    pub fn description(&self) -> String {
        let Offered { algorithm, math, room, status, determinism, ms } = self;
        let plain = |words: String, head: &str| words.replace(head, "").to_lowercase();
        let mut words = format!("algorithm {algorithm}: ");
        if *status != sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS {
            return words + &plain(format!("{status:?}"), "CUDNN_STATUS_");
        }
        if *ms > 0.0 {
            words += &format!("{ms:.3} ms, ");
        }
        let (determinism, math) = (plain(format!("{determinism:?}"), "CUDNN_"), plain(format!("{math:?}"), "CUDNN_"));
        words + &format!("{determinism}, {math}, {} MiB", room >> 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cuDNN offers on a GPU is not available here, but the choice among algorithms can be tested.
    #[test]
    fn nothing_is_taken_that_changes_from_run_to_run() {
        use sys::cudnnDeterminism_t as D;
        use sys::cudnnMathType_t as M;
        use sys::cudnnStatus_t as S;
        let offered = |determinism, status| Offered { algorithm: 1, math: M::CUDNN_FMA_MATH, room: 3 << 20, status, determinism, ms: 0.5 };
        let fine = offered(D::CUDNN_DETERMINISTIC, S::CUDNN_STATUS_SUCCESS);
        assert!(fine.is_sure());
        assert!(!offered(D::CUDNN_NON_DETERMINISTIC, S::CUDNN_STATUS_SUCCESS).is_sure());
        assert!(!offered(D::CUDNN_DETERMINISTIC, S::CUDNN_STATUS_NOT_SUPPORTED).is_sure());
        assert_eq!(fine.description(), "algorithm 1: 0.500 ms, deterministic, fma_math, 3 MiB");
        assert_eq!(math(Type::F32, false), M::CUDNN_FMA_MATH);
    }
}
