//! The one thing a sampler needs of its state: linear combinations.

/// A vector space in which a step rule is written once: numbers and points run it beside exact laws, tensors in production.
pub trait Linear: Sized {
    /// What can go wrong in a combination (shapes, memory). `Infallible` for numbers.
    type Error;

    /// `sum of c_i v_i`, over at least one term. All vectors have one shape, and so has the result.
    fn combine(terms: &[(f64, &Self)]) -> Result<Self, Self::Error>;
}

impl Linear for f64 {
    type Error = std::convert::Infallible;

    fn combine(terms: &[(f64, &Self)]) -> Result<Self, Self::Error> {
        Ok(terms.iter().map(|(c, v)| c * **v).sum())
    }
}

impl<const D: usize> Linear for [f64; D] {
    type Error = std::convert::Infallible;

    fn combine(terms: &[(f64, &Self)]) -> Result<Self, Self::Error> {
        Ok(std::array::from_fn(|d| terms.iter().map(|(c, v)| c * v[d]).sum()))
    }
}
