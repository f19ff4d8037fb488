//! What a study of a trained network's inside found.

use serde::{Deserialize, Serialize};

/// What the parts of a network do: errors of the predicted eps where one of them is changed, and spectra along the reverse process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anatomy {
    /// Images that each number is a mean over.
    pub images: usize,
    /// Of which split they are: `held-out` or `training`.
    pub split: String,
    /// The steps that were looked at, rising.
    pub steps: Vec<usize>,
    /// The lowest radial frequency of each band, in cycles along an image's longer side; the first band is the mean alone.
    pub bands: Vec<f64>,
    /// Mean squared error of the predicted eps with nothing changed: of each step, what each band adds to it.
    pub intact: Vec<Vec<f64>>,
    /// The skip connections, from the first layer on.
    pub skips: Vec<SkipErrors>,
    /// The error at each step where the network is told another one; nothing where it is told none, and one way where the first layer alone is.
    pub told: Vec<ToldErrors>,
    /// The time shifts.
    pub shifts: Vec<ShiftCourse>,
    /// Power along the reverse process; absent where that left every range.
    pub spectra: Option<Spectra>,
}

/// Errors as [`Anatomy::intact`] where one skip connection carries something else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkipErrors {
    /// The layer on the way down whose features it carries.
    pub from: String,
    /// The block on the way up that reads them.
    pub to: String,
    /// Height of the feature map.
    pub height: usize,
    /// Width of the feature map.
    pub width: usize,
    /// Where it carries zeros.
    pub zeros: Vec<Vec<f64>>,
    /// Where it carries another image's features.
    pub next_image: Vec<Vec<f64>>,
}

/// Who is told a wrong t.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The way down and the middle.
    Down,
    /// The way up.
    Up,
    /// The whole network.
    Both,
}

/// Mean squared errors of the predicted eps: of each true step, those under each step that was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToldErrors {
    /// Who was told it.
    pub way: Way,
    /// The errors.
    pub errors: Vec<Vec<f64>>,
}

/// A block's time shift beside the features that it is added to, at each step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShiftCourse {
    /// The block.
    pub block: String,
    /// Root mean square of the shift over that of the features.
    pub size: Vec<f64>,
    /// Cosine of the angle between the shift and the features' mean over pixels.
    pub direction: Vec<f64>,
}

/// Mean power of the coefficients of each band; 1 for white noise of variance 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spectra {
    /// The steps of the reverse process, falling.
    pub steps: Vec<usize>,
    /// Of real images.
    pub data: Vec<f64>,
    /// Of the predicted x_0, at each step.
    pub x0: Vec<Vec<f64>>,
    /// Of the predicted eps, at each step.
    pub eps: Vec<Vec<f64>>,
}

impl Anatomy {
    /// Whether every error and shift is a number.
    pub fn is_finite(&self) -> bool {
        let skips = self.skips.iter().flat_map(|skip| skip.zeros.iter().chain(&skip.next_image));
        let told = self.told.iter().flat_map(|told| &told.errors);
        let shifts = self.shifts.iter().flat_map(|shift| [&shift.size, &shift.direction]);
        self.intact.iter().chain(skips).chain(told).chain(shifts).flatten().all(|v| v.is_finite())
    }
}

impl Spectra {
    /// Whether every power is a number.
    pub fn is_finite(&self) -> bool {
        self.x0.iter().chain(&self.eps).chain([&self.data]).flatten().all(|v| v.is_finite())
    }
}
