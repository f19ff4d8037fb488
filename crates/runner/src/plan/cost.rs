//! What jobs compute and store.

use super::state::{State, is_trained};
use crate::base::data::DatasetInfo;
use crate::experiment::{Job, MIXTURES, Study};
use crate::stages::{anatomy_passes, score_field_passes};
use crate::store::Store;
use crate::store::progress::Stage;
use ddpm_model::Network;
use ddpm_model::train_state::FIRST_AVERAGE;
use serde::Serialize;
use std::collections::HashSet;

/// What a job computes and stores, whatever of it is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Floating-point operations of training: three forward passes for each image of each step.
    pub train_flops: f64,
    /// Floating-point operations of the samples.
    pub sample_flops: f64,
    /// Floating-point operations of the network in what is measured or looked at: the bound, a study's walks.
    pub evaluate_flops: f64,
    /// Bytes of its training's last two checkpoints, and of its snapshots.
    pub checkpoint_bytes: u64,
    /// Bytes of its samples.
    pub sample_bytes: u64,
}

impl Cost {
    /// All floating-point operations.
    pub fn flops(self) -> f64 {
        self.train_flops + self.sample_flops + self.evaluate_flops
    }

    /// All bytes.
    pub fn disk_bytes(self) -> u64 {
        self.checkpoint_bytes + self.sample_bytes
    }
}

/// Costs of jobs; what is known of a network is kept, since grids have many jobs and few networks.
#[derive(Debug, Default)]
pub struct Costs {
    /// Networks with their output channels.
    networks: Vec<(Network, usize, Size)>,
}

/// What costs depend on.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Operations of an image forward, and in training.
    forward: f64,
    train: f64,
    parameters: usize,
    skips: usize,
}

impl Costs {
    /// Of a job on `data`.
    pub fn of(&mut self, job: &Job, data: &DatasetInfo) -> Cost {
        let config = &job.config;
        let out = config.diffusion().out_channels(data.shape.channels);
        let known = self.networks.iter().find(|(network, channels, _)| *channels == out && *network == config.network);
        let Size { forward, train, parameters, skips } = match known {
            Some((_, _, size)) => *size,
            None => {
                let unet = config.unet(data.shape);
                let size = Size {
                    forward: unet.forward_flops(),
                    train: unet.training_flops(),
                    parameters: unet.parameter_count(),
                    skips: unet.skips().len(),
                };
                self.networks.push((config.network.clone(), out, size));
                size
            }
        };
        let (samples, evaluations) = passes(job, skips);
        let rows = (FIRST_AVERAGE + config.training.optimiser.kept().len()) as u64;
        let files = 2 + config.evaluation.at.len() as u64;
        Cost {
            train_flops: train * config.training.batch as f64 * config.training.steps as f64,
            sample_flops: forward * samples as f64,
            evaluate_flops: forward * evaluations as f64,
            checkpoint_bytes: files * rows * 4 * parameters as u64,
            sample_bytes: if samples > 0 { (config.sampling.count * data.shape.len()) as u64 } else { 0 },
        }
    }
}

/// Network evaluations of images for a job's samples, and for everything else that it evaluates, with so many skip connections.
fn passes(job: &Job, skips: usize) -> (usize, usize) {
    let config = &job.config;
    let walk = config.diffusion().setup.sampling_plan(&config.diffusion().process, &config.sampling.sampler).unwrap_or_default();
    let samples = config.sampling.count * walk.len();
    // Steps of the walk from a share of T on.
    let rest = |share: &f64| {
        let t = (share * config.diffusion.timesteps as f64).round() as usize;
        walk.iter().filter(|step| step.t <= t).count()
    };
    match &job.study {
        None => (samples, (config.evaluation.held_out + config.evaluation.train) * config.diffusion.timesteps),
        Some(Study::ReverseTime { .. } | Study::Neighbours { .. }) => (samples, 0),
        Some(Study::SharedLatents { at, images }) => (0, at.iter().map(|share| walk.len() - rest(share) + images * rest(share)).sum()),
        Some(Study::Anatomy { stops, images }) => {
            let stops = *stops.min(&config.diffusion.timesteps);
            (0, images * (walk.len() + anatomy_passes(&config.network, skips, stops)))
        }
        Some(Study::ScoreField { at, samplers, samples, .. }) => {
            let plan = |sampler| config.diffusion().setup.sampling_plan(&config.diffusion().process, sampler);
            let walks: usize = samplers.iter().map(|sampler| plan(sampler).map_or(0, |steps| steps.len())).sum();
            (0, at.len() * score_field_passes() + samples * walks)
        }
        Some(Study::Interpolation { at, pairs }) => (0, at.iter().map(|share| pairs * (MIXTURES + 2) * rest(share)).sum()),
    }
}

/// What is left to do of an experiment's jobs, in their order: what jobs share is counted with the first.
#[derive(Debug, Default)]
pub struct Left {
    trainings: HashSet<String>,
    samples: HashSet<String>,
}

impl Left {
    /// Of the next job, which would cost `whole`.
    pub fn of(&mut self, store: &Store, job: &Job, state: &State, whole: Cost) -> Cost {
        if state.is_done() {
            return Cost::default();
        }
        let (trained, config) = (is_trained(store, job), &job.config);
        let training = if !trained && self.trainings.insert(job.training_id.clone()) { untrained(state) } else { 0.0 };
        // Of one that has ended, steps up to the last snapshot that is missing are made again.
        let last = config.measured_at().into_iter().rfind(|step| !store.snapshot(&job.training_id, *step).exists());
        let again = store.training_record(&job.training_id).ok().flatten().is_some();
        let part = if again { last.unwrap_or(0) as f64 / config.training.steps as f64 } else { 1.0 };
        let training = training * part;
        let there = || store.samples(&job.sampling_id).exists();
        let sampled = whole.sample_flops > 0.0 && (!self.samples.insert(job.sampling_id.clone()) || there());
        // A study of the walk itself runs it even if its samples are already there.
        let walks = job.study.as_ref().is_some_and(Study::walks);
        Cost {
            train_flops: training * whole.train_flops,
            sample_flops: if sampled && !walks { 0.0 } else { whole.sample_flops },
            evaluate_flops: whole.evaluate_flops,
            checkpoint_bytes: if training > 0.0 { whole.checkpoint_bytes } else { 0 },
            sample_bytes: if sampled { 0 } else { whole.sample_bytes },
        }
    }
}

/// The share of a job's training that is still to do.
fn untrained(state: &State) -> f64 {
    match state {
        State::Done { .. } | State::Partial { trained: true, .. } => 0.0,
        State::Running { progress: Some(p), .. } | State::Partial { progress: Some(p), .. } if p.stage == Stage::Train => {
            1.0 - p.done as f64 / p.total.max(1) as f64
        }
        State::Running { progress: Some(_), .. } => 0.0,
        State::Running { .. } | State::Partial { .. } | State::Failed { .. } | State::Missing {} => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::tiny;
    use crate::store::Outcome;
    use crate::store::progress::Progress;
    use ddpm_core::Sampler;

    /// By hand, on a walk of 5 of 10 steps: what a job's samples and what it looks at beside them pass through the network.
    #[test]
    fn passes_are_those_counted_by_hand() {
        let data = few("d", 9, 1);
        let sets = ["timesteps=10", "beta_scale=as-given", "sampler={kind: ddim, steps: 5}", "sampling.count=12"];
        let job = tiny(&data, &[&sets[..], &["evaluation.held_out=2", "evaluation.train=3"]].concat());
        let config = &job.config;
        let walk = config.diffusion().setup.sampling_plan(&config.diffusion().process, &config.sampling.sampler).unwrap();
        assert_eq!(walk.iter().map(|step| step.t).collect::<Vec<_>>(), [10, 8, 6, 3, 1]);
        let of = |study: Option<Study>| passes(&Job { study, ..job.clone() }, 4);
        assert_eq!(of(None), (60, 50));
        assert_eq!(of(Some(Study::ReverseTime { stops: 2 })), (60, 0));
        assert_eq!(of(Some(Study::Neighbours { samples: 2, neighbours: 3, crop: None })), (60, 0));
        // From t = 10 on all five steps are each image's own; from 5 on three are shared and two are not.
        assert_eq!(of(Some(Study::SharedLatents { at: vec![1.0, 0.5], images: 4 })), (0, 4 * 5 + (3 + 4 * 2)));
        // Of each pair 11 mixtures, from 5 on and from 0 on, where nothing is left to do.
        assert_eq!(of(Some(Study::Interpolation { at: vec![0.5, 0.0], pairs: 2 })), (0, 2 * 11 * 2));
        // A walk; and at each of three steps once as it is, twice with each of four connections changed, and told either other step thrice.
        assert_eq!(of(Some(Study::Anatomy { stops: 3, images: 6 })), (0, 6 * (5 + 3 * (1 + 8 + 6))));
        let ddim = Sampler::Ddim { eta: 0.0, clip: true, steps: Some(3) };
        let field = Study::ScoreField { at: vec![1.0, 0.5], samplers: vec![ddim, Sampler::ancestral()], paths: 1, samples: 20 };
        assert_eq!(of(Some(field)), (0, 2 * (15 * 15 + 4096) + 20 * (3 + 10)));
        assert_eq!(of(Some(Study::Anatomy { stops: 30, images: 6 })), (0, 6 * (5 + 10 * (1 + 8 + 27))));
    }

    #[test]
    fn costs_are_made_of_passes() {
        let data = few("d", 9, 1);
        let job = tiny(&data, &["timesteps=10", "beta_scale=as-given", "sampling.count=12", "training.batch=16", "training.steps=7"]);
        let unet = job.config.unet(data.info.shape);
        let (forward, held) = (2.0 * unet.macs() as f64, job.config.evaluation.held_out + job.config.evaluation.train);
        let cost = Costs::default().of(&job, &data.info);
        assert_eq!(cost.train_flops, 3.0 * forward * 16.0 * 7.0);
        assert_eq!((cost.sample_flops, cost.evaluate_flops), (forward * 120.0, forward * 10.0 * held as f64));
        // Two checkpoints of four rows of four bytes; an image of 16 bytes for each sample.
        assert_eq!((cost.checkpoint_bytes, cost.sample_bytes), (2 * 4 * 4 * unet.parameter_count() as u64, 12 * 16));
        // With three averages each file has six rows, and there are two more of them.
        let more = ["training.optimiser.ema_kept=[0.25, 0.5, 0.9]", "evaluation.at=[2, 0.5]", "training.steps=7"];
        let along = Costs::default().of(&tiny(&data, &more), &data.info);
        assert_eq!(along.checkpoint_bytes, 4 * 6 * 4 * unet.parameter_count() as u64);
        assert_eq!((cost.disk_bytes(), cost.flops()), (cost.checkpoint_bytes + 192, cost.train_flops + forward * (120 + 10 * held) as f64));
    }

    /// A job whose snapshot is there needs no training; one whose snapshot is missing does, whichever comes first.
    #[test]
    fn a_training_is_left_to_the_first_job_that_needs_it() {
        let (dir, data) = (tempfile::tempdir().unwrap(), few("d", 9, 1));
        let (store, job) = (Store::new(dir.path()), tiny(&data, &["training.steps=8", "evaluation.at=[2, 5, 6]"]));
        let record = serde_json::json!({
            "format": crate::store::FORMAT, "id": job.training_id, "outcome": { "kind": "finished" }, "steps": 8, "parameters": 1, "curve": [],
            "wall_s": 0.0, "flops": 0.0, "machine": { "commit": "c", "device": "d", "threads": 1 },
        });
        store.leave_training_record(&serde_json::from_value(record).unwrap()).unwrap();
        std::fs::write(store.snapshot(&job.training_id, 2), b"x").unwrap();
        let whole = Cost { train_flops: 8.0, ..Cost::default() };
        let mut left = Left::default();
        let mut of = |at: Option<u64>| {
            let job = Job { at, ..job.clone() };
            left.of(&store, &job, &State::of(&store, &job).unwrap(), whole).train_flops
        };
        // Six of the eight steps, up to the last that is missing.
        assert_eq!([of(Some(2)), of(Some(5)), of(Some(6)), of(None)], [0.0, 6.0, 0.0, 0.0]);
    }

    #[test]
    fn what_is_left_of_a_training_is_what_was_last_told() {
        let told = |stage: Stage| {
            let device = "cpu".into();
            Some(Progress { stage, done: 25, total: 100, images_per_s: 1.0, loss: None, seconds_left: None, device })
        };
        let running = |progress| untrained(&State::Running { process: "p".into(), progress });
        let partial = |progress, trained| untrained(&State::Partial { progress, trained });
        assert_eq!([running(told(Stage::Train)), running(told(Stage::Sample)), running(None)], [0.75, 0.0, 1.0]);
        assert_eq!([partial(told(Stage::Train), false), partial(None, false), partial(None, true)], [0.75, 1.0, 0.0]);
        assert_eq!(untrained(&State::Failed { reason: "r".into() }), 1.0);
        assert_eq!((untrained(&State::Missing {}), untrained(&State::Done { outcome: Outcome::Finished {} })), (1.0, 0.0));
    }
}
