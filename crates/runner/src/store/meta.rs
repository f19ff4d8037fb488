//! Checkpoint metadata.

use super::record::Point;
use crate::base::data::DatasetInfo;
use crate::experiment::{Config, FORMAT, Job};
use anyhow::{Result, ensure};
use ddpm_model::network::ImageShape;
use serde::{Deserialize, Serialize};

/// Metadata stored with the tensors in a checkpoint: enough to sample from it, and to resume.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointMeta {
    /// [`FORMAT`].
    pub format: u32,
    /// The training's name.
    pub training_id: String,
    /// The configuration of the job that trained it; where several averages are kept, with the longest, whichever job that was.
    pub config: Config,
    /// The seed.
    pub seed: u64,
    /// Digest of the data set that it was trained on; absent where the weights come from elsewhere.
    pub data: Option<String>,
    /// The shape of its images; absent in older checkpoints.
    #[serde(default)]
    pub image: Option<ImageShape>,
    /// Steps made.
    pub step: u64,
    /// Loss and gradient norm so far.
    pub curve: Vec<Point>,
    /// Sums since the last point: loss, gradient norm, steps.
    pub open: (f64, f64, u64),
    /// Steps since the last point whose gradient was clipped; absent where an older program made some of them.
    #[serde(default)]
    pub clipped: Option<u64>,
    /// Seconds of computing so far.
    pub wall_s: f64,
    /// Seconds of these that images were waited for; 0 in older checkpoints.
    #[serde(default)]
    pub waited_s: f64,
}

impl CheckpointMeta {
    /// Before the first step.
    pub fn first(job: &Job, data: &DatasetInfo) -> CheckpointMeta {
        CheckpointMeta {
            format: FORMAT,
            training_id: job.training_id.clone(),
            config: job.config.with_longest_average(),
            seed: job.seed,
            data: Some(data.digest.clone()),
            image: Some(data.shape),
            step: 0,
            curve: Vec::new(),
            open: (0.0, 0.0, 0),
            clipped: None,
            wall_s: 0.0,
            waited_s: 0.0,
        }
    }

    /// Records one more step with its loss, its gradient's norm and whether that was clipped. Every `every` steps, the means since the last
    /// point become a new one.
    pub fn note(&mut self, every: u64, loss: f64, norm: f64, clipped: bool) {
        if self.open.2 == 0 {
            self.clipped = Some(0);
        }
        self.clipped = self.clipped.map(|n| n + u64::from(clipped));
        self.step += 1;
        self.open = (self.open.0 + loss, self.open.1 + norm, self.open.2 + 1);
        if self.step.is_multiple_of(every) {
            let (loss, norm, n) = std::mem::take(&mut self.open);
            let n = n as f64;
            let clipped = self.clipped.map(|clipped| clipped as f64 / n);
            self.curve.push(Point { step: self.step, loss: loss / n, gradient_norm: norm / n, clipped });
        }
    }

    /// Whether these are the images that it was trained on, where it says so.
    pub fn check_data(&self, data: &DatasetInfo) -> Result<()> {
        if let Some(digest) = &self.data {
            ensure!(*digest == data.digest, "was trained on data of digest {digest}, these have {}", data.digest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::tiny;

    /// Points are means over the steps since the last one, also where a training was interrupted between two.
    #[test]
    fn a_point_is_the_mean_of_its_steps() {
        let data = few("d", 20, 3);
        let mut meta = CheckpointMeta::first(&tiny(&data, &[]), &data.info);
        for (loss, norm) in [(1.0, 4.0), (2.0, 5.0), (6.0, 9.0), (10.0, 1.0), (1.0, 6.0), (1.0, 8.0), (5.0, 5.0)] {
            meta.note(3, loss, norm, norm > 4.5);
            meta = serde_json::from_str(&serde_json::to_string(&meta).unwrap()).unwrap();
        }
        let point = |step: u64, loss: f64, gradient_norm: f64| Point { step, loss, gradient_norm, clipped: Some(2.0 / 3.0) };
        assert_eq!(meta.curve, [point(3, 3.0, 6.0), point(6, 4.0, 5.0)]);
        assert_eq!((meta.step, meta.open, meta.clipped), (7, (5.0, 5.0, 1), Some(1)));
    }

    /// One that was written before the images' shape and the time that they were waited for stood in it.
    #[test]
    fn an_older_one_is_read() {
        let data = few("d", 20, 3);
        let first = CheckpointMeta::first(&tiny(&data, &[]), &data.info);
        assert_eq!(first.image, Some(data.info.shape));
        let mut tree = serde_json::to_value(&first).unwrap();
        for key in ["image", "waited_s"] {
            tree.as_object_mut().unwrap().remove(key).unwrap();
        }
        let read: CheckpointMeta = serde_json::from_value(tree).unwrap();
        assert_eq!((read.image, read.waited_s), (None, 0.0));
        // Between two points: how many of its steps were clipped is not known; from the next point on it is.
        let mut tree = serde_json::to_value(&first).unwrap();
        tree["open"] = serde_json::json!([1.0, 4.0, 1]);
        tree["step"] = serde_json::json!(1);
        tree.as_object_mut().unwrap().remove("clipped").unwrap();
        let mut read: CheckpointMeta = serde_json::from_value(tree).unwrap();
        (0..3).for_each(|_| read.note(2, 1.0, 4.0, true));
        assert_eq!(read.curve.iter().map(|point| point.clipped).collect::<Vec<_>>(), [None, Some(1.0)]);
    }
}
