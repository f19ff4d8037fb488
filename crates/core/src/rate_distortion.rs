//! Progressive lossy coding (section 4.3, Table 4, Figure 5): what is known after t steps of the reverse process, and its price.

/// One point of the rate-distortion curve: x_t has been received.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatePoint {
    /// The step received, 1..=T.
    pub t: usize,
    /// L_T + sum over s > t of L_{s-1}: bits/dim needed to receive x_t.
    pub rate: f64,
    /// Root mean squared error of the x_0 predicted from x_t, on the 0-255 scale.
    pub rmse: f64,
}

/// The curve from bits/dim of the terms (`terms[t-1]` is L_{t-1}), the prior's bits/dim, and the mean squared errors of the predicted
/// x_0 on the [-1, 1] scale. Both lists have length T. The result runs from t = T to t = 1, so its rate rises.
pub fn rate_distortion(terms: &[f64], prior: f64, mse_x0: &[f64]) -> Vec<RatePoint> {
    assert_eq!(terms.len(), mse_x0.len(), "one term and one error for each step");
    let mut rate = prior;
    let mut points = Vec::with_capacity(terms.len());
    for t in (1..=terms.len()).rev() {
        points.push(RatePoint { t, rate, rmse: 127.5 * mse_x0[t - 1].sqrt() });
        rate += terms[t - 1];
    }
    points
}
