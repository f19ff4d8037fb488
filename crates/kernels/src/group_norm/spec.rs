//! What a normalisation does.

/// Its groups, and what comes after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// Number of groups that the channels are split into; must divide C.
    pub groups: usize,
    /// Added to the (biased) variance. 1e-6 in the authors' code.
    pub epsilon: f64,
    /// Whether SiLU, u sigmoid(u), follows.
    pub silu: bool,
}
