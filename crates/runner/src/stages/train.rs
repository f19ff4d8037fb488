//! Training, from the start or from the last state that is there, on the same random streams either way.

use super::options::RunOptions;
use super::states::{Begun, States};
use super::stepper::{Stepper, diverged};
use crate::base::data::Dataset;
use crate::base::lock::Lock;
use crate::base::stop;
use crate::experiment::Job;
use crate::store::checkpoints::Saver;
use crate::store::progress::{Reporter, Stage};
use crate::store::{CheckpointMeta, FORMAT, Loading, Machine, Outcome, Store, TrainingRecord};
use anyhow::{Context, Result};
use ddpm_model::optimiser::Training;
use std::time::Instant;

/// Points of a whole training curve.
const POINTS: u64 = 200;

/// Leaves a state to go on from.
type Leave = fn(&mut Saver, &Training, &CheckpointMeta) -> Result<()>;

/// What a training works with.
struct Lab<'a> {
    store: &'a Store,
    lock: &'a Lock,
    job: &'a Job,
    data: &'a Dataset,
    options: RunOptions,
    reporter: &'a mut Reporter,
}

/// Trains, and returns the training record and the average of the weights after the step that the job asks for, parameter by parameter;
/// none where the training diverged before. What an ended training has left is read, not computed. Only the holder of its `lock` may
/// train; on a stop request, a checkpoint is saved first.
pub fn train(
    store: &Store,
    lock: &Lock,
    job: &Job,
    data: &Dataset,
    options: RunOptions,
    reporter: &mut Reporter,
) -> Result<(TrainingRecord, Option<Vec<f32>>)> {
    let states = States { store, job, data };
    let mut lab = Lab { store, lock, job, data, options, reporter };
    let ended = states.record();
    if let (Some(record), Some(step)) = (&ended, job.at)
        && step <= record.steps
        && let Some(weights) = states.snapshot(step)
    {
        return Ok((record.clone(), Some(weights)));
    }
    let record = match (ended, job.at) {
        (Some(record), Some(_)) => record,
        (Some(record), None) => match states.end(&record)? {
            Some(weights) => return Ok((record, weights)),
            None => return lab.finish(&states),
        },
        (None, None) => return lab.finish(&states),
        (None, Some(_)) => lab.finish(&states)?.0,
    };
    let step = job.at.unwrap_or(record.steps);
    if step > record.steps {
        return Ok((record, None));
    }
    let weights = match states.snapshot(step) {
        Some(weights) => weights,
        None => {
            lab.retrace(&states, &record)?;
            states.snapshot(step).with_context(|| format!("training anew came to no weights of step {step}, as it had before"))?
        }
    };
    Ok((record, Some(weights)))
}

impl<'a> Lab<'a> {
    /// Makes the steps that are left to the training's end, and leaves its record. The average of the weights; none where it diverged.
    fn finish(&mut self, states: &States) -> Result<(TrainingRecord, Option<Vec<f32>>)> {
        let (config, unet) = (&self.job.config.training, self.job.config.unet(self.data.info.shape));
        let begun = states.last()?;
        let mut saver = Saver::new(self.store, unet.parameters(), self.options.checkpoint_every);
        let Run { outcome, begun, mut stepper } = self.run(begun, config.steps, &mut saver, Saver::begin)?;
        let Begun { mut training, meta, .. } = begun;
        // A diverged state is of no use, and resuming from it would not repeat what happened.
        let finished = outcome == (Outcome::Finished {});
        if finished {
            stepper.fetch(&mut training)?;
            saver.write(&training, &meta)?;
        }
        let record = TrainingRecord {
            format: FORMAT,
            id: self.job.training_id.clone(),
            outcome,
            steps: meta.step,
            parameters: unet.parameter_count(),
            flops: unet.training_flops() * config.batch as f64 * meta.step as f64,
            curve: meta.curve,
            wall_s: meta.wall_s,
            loading: Some(Loading { form: self.data.train.form().into(), delivery: stepper.loading().0, waited_s: meta.waited_s }),
            machine: Machine::here(),
        };
        self.store.leave_training_record(&record)?;
        Ok((record, finished.then(|| training.average().to_vec())))
    }

    /// Makes the snapshots that an ended training has not left, and nothing else: its end and its record stay.
    fn retrace(&mut self, states: &States, record: &TrainingRecord) -> Result<()> {
        let begun = states.before_missing(record.steps);
        let until = begun.missing.last().copied().unwrap_or(begun.meta.step);
        let mut saver = Saver::new(self.store, begun.training.parameters(), self.options.checkpoint_every);
        self.run(begun, until, &mut saver, Saver::write_trail)?;
        saver.remove_trail(&self.job.training_id)
    }

    /// Makes steps up to `until`, with snapshots on the way, and every so often what `leave` leaves to go on from. A stop request is an
    /// error, after that was left once more.
    fn run(&mut self, mut begun: Begun, until: u64, saver: &mut Saver, leave: Leave) -> Result<Run<'a>> {
        let Lab { store, lock, job, data, options, ref mut reporter } = *self;
        let config = &job.config.training;
        let unet = job.config.unet(data.info.shape);
        let mut stepper = Stepper::begin((job, until), data, job.config.diffusion(), &unet, &begun.training, options.ranks, store.cache())?;
        let Begun { training, meta, missing } = &mut begun;
        let every = (config.steps / POINTS).max(1);
        let (started, before, waited_before, first) = (Instant::now(), meta.wall_s, meta.waited_s, meta.step);
        reporter.begin();
        if missing.contains(&meta.step) {
            saver.begin_snapshot(training, meta)?;
        }
        let mut outcome = Outcome::Finished {};
        'steps: while meta.step < until {
            let next = missing.iter().copied().find(|step| *step > meta.step).unwrap_or(until);
            for (loss, norm) in stepper.go_on(training, meta.step, next)? {
                if diverged(loss, norm) {
                    let step = meta.step + 1;
                    let reason = format!("training diverged at step {step}: loss {loss:.3e}, gradient norm {norm:.3e}");
                    outcome = Outcome::Diverged { reason };
                    break 'steps;
                }
                meta.note(every, loss, norm, config.optimiser.clips(norm));
            }
            meta.wall_s = before + started.elapsed().as_secs_f64();
            meta.waited_s = waited_before + stepper.loading().1.as_secs_f64();
            let recent = meta.curve.last().map(|p| p.loss);
            let told = reporter.tell(Stage::Train, meta.step, until, (meta.step - first) * config.batch as u64, recent);
            if missing.contains(&meta.step) {
                lock.check()?;
                stepper.fetch(training)?;
                saver.begin_snapshot(training, meta)?;
            }
            if meta.step < until {
                if stop::requested() || saver.is_due() {
                    lock.check()?;
                    stepper.fetch(training)?;
                    leave(saver, training, meta)?;
                }
                if told.is_err() {
                    saver.finish()?;
                }
                told?;
            }
        }
        lock.check()?;
        saver.finish()?;
        Ok(Run { outcome, begun, stepper })
    }
}

/// How far a training came.
struct Run<'a> {
    outcome: Outcome,
    begun: Begun,
    stepper: Stepper<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::tiny;
    use crate::store::Point;

    /// What a training leaves says what it did; it is read again, not done again. One that diverges leaves no state.
    #[test]
    fn a_training_leaves_what_it_did() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let data = few("d", 20, 3);
        let options = RunOptions { checkpoint_every: std::time::Duration::from_secs(3600), wait: false, ranks: 1 };
        let run = |job: &Job| {
            let lock = Lock::attempt(&store.training(&job.training_id)).unwrap().ok().unwrap();
            train(&store, &lock, job, &data, options, &mut Reporter::silent()).unwrap()
        };
        let job = tiny(&data, &["training.steps=7", "training.batch=3"]);
        let (record, ema) = run(&job);
        let unet = job.config.unet(data.info.shape);
        assert_eq!((record.id.as_str(), record.steps, &record.outcome), (job.training_id.as_str(), 7, &Outcome::Finished {}));
        assert_eq!((record.parameters, ema.as_ref().unwrap().len()), (unet.parameter_count(), unet.parameter_count()));
        // Of every step and each of 3 images: a multiplication and an addition, forward, and twice as many backward.
        assert_eq!(record.flops, (7 * 3 * (2 + 4) * unet.macs()) as f64);
        assert_eq!(record.curve.iter().map(|p| p.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
        assert!(record.curve.iter().all(|p| p.loss.is_finite() && p.gradient_norm > 0.0) && record.wall_s > 0.0);
        assert_eq!(store.training_record(&job.training_id).unwrap().unwrap(), record);
        assert_eq!(run(&job), (record.clone(), ema));
        // A limit between the norms of its steps clips those that are longer; without one none is.
        let longest = record.curve.iter().map(|p| p.gradient_norm).fold(0.0, f64::max);
        let limit = format!("training.optimiser.clip_norm={}", 0.999 * record.curve[0].gradient_norm);
        let clipping = run(&tiny(&data, &["training.steps=7", "training.batch=3", &limit])).0.curve;
        let longer = |p: &Point| Some(f64::from(p.gradient_norm > 0.999 * record.curve[0].gradient_norm));
        assert!(clipping[0].clipped == Some(1.0) && clipping.iter().all(|p| p.clipped == longer(p)), "{clipping:?}");
        let limit = format!("training.optimiser.clip_norm={}", 2.0 * longest);
        let free = run(&tiny(&data, &["training.steps=7", "training.batch=3", &limit])).0.curve;
        assert!(free.iter().all(|p| p.clipped == Some(0.0)), "{free:?}");
        // A record of which the checkpoint knows nothing is none.
        let more = TrainingRecord { steps: 8, ..record.clone() };
        store.leave_training_record(&more).unwrap();
        let (again, _) = run(&job);
        assert_eq!((again.steps, &again.curve), (7, &record.curve));
        let job = tiny(&data, &["training.steps=7", "training.batch=3", "training.optimiser.learning_rate=1e30"]);
        let (record, ema) = run(&job);
        assert!(matches!(&record.outcome, Outcome::Diverged { reason } if reason.contains("training diverged at step")), "{record:?}");
        assert!(record.steps < 7 && ema.is_none() != store.has_checkpoint(&job.training_id), "{record:?}");
        assert_eq!(run(&job), (record, None));
    }

    /// What a training under `sets` leaves its jobs, from whatever is in the store.
    struct Bench {
        dir: tempfile::TempDir,
        data: Dataset,
        sets: Vec<&'static str>,
    }

    impl Bench {
        fn new(sets: &[&'static str]) -> Bench {
            let sets = [&["training.steps=9", "training.batch=3"], sets].concat();
            Bench { dir: tempfile::tempdir().unwrap(), data: few("d", 20, 3), sets }
        }

        fn store(&self) -> Store {
            Store::new(self.dir.path())
        }

        /// The job of these steps that is scored at one of them, or at the end.
        fn job(&self, along: &'static str, at: Option<u64>) -> Job {
            Job { at, ..tiny(&self.data, &[&self.sets[..], &[along]].concat()) }
        }

        fn run(&self, job: &Job) -> (TrainingRecord, Option<Vec<f32>>) {
            let store = self.store();
            let options = RunOptions { checkpoint_every: std::time::Duration::from_secs(3600), wait: false, ranks: 1 };
            let lock = Lock::attempt(&store.training(&job.training_id)).unwrap().ok().unwrap();
            train(&store, &lock, job, &self.data, options, &mut Reporter::silent()).unwrap()
        }

        /// The steps of the snapshots that are there.
        fn there(&self, job: &Job) -> Vec<u64> {
            (0..20).filter(|step| self.store().snapshot(&job.training_id, *step).exists()).collect()
        }
    }

    const ALONG: &str = "evaluation.at=[2, 5, 8]";

    /// Weights after some of a training's steps are those of a training of so many; the whole training is made once, and its end is what
    /// it is without them.
    #[test]
    fn snapshots_are_shorter_trainings() {
        let bench = Bench::new(&["training.optimiser.ema_kept=[0.5, 0.9]", "ema_decay=0.5"]);
        let (end, first) = (bench.run(&bench.job(ALONG, None)), bench.job(ALONG, Some(2)));
        assert_eq!(bench.there(&first), [2, 5, 8]);
        for (step, steps) in [(2, "training.steps=2"), (5, "training.steps=5"), (8, "training.steps=8")] {
            let (record, weights) = bench.run(&bench.job(ALONG, Some(step)));
            assert_eq!(record, end.0);
            let shorter = Bench { sets: [&bench.sets[..], &[steps]].concat(), ..Bench::new(&[]) };
            assert_eq!(weights, shorter.run(&shorter.job("evaluation.at=[]", None)).1);
        }
        let alone = Bench::new(&["training.optimiser.ema_kept=[0.5, 0.9]", "ema_decay=0.5"]);
        assert_eq!(alone.run(&alone.job("evaluation.at=[]", None)).1, end.1);
        // The job of another of its averages finds the same training.
        let other = Bench { sets: [&bench.sets[..], &["ema_decay=0"]].concat(), ..bench };
        let raw = other.run(&other.job(ALONG, Some(5)));
        assert!(raw.0 == end.0 && raw.1.is_some());
    }

    /// A training that has ended without a snapshot that is asked for, or whose snapshot is damaged, is made again from the last state
    /// before it, and ends as it did.
    #[test]
    fn snapshots_that_are_missing_are_made() {
        let bench = Bench::new(&[]);
        let (end, weights) = bench.run(&bench.job("evaluation.at=[5]", None));
        let job = bench.job(ALONG, Some(8));
        let files = ["training.json", "checkpoint.safetensors"].map(|name| bench.store().training(&job.training_id).join(name));
        let kept = files.each_ref().map(|path| std::fs::read(path).unwrap());
        let after = bench.run(&job);
        assert_eq!((bench.there(&job), &after.0), (vec![2, 5, 8], &end));
        assert_eq!(bench.run(&bench.job(ALONG, None)), (end.clone(), weights.clone()));
        let path = bench.store().snapshot(&job.training_id, 8);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, b"no snapshot").unwrap();
        assert_eq!(bench.run(&job), after);
        let state = |bytes: &[u8]| {
            ddpm_model::checkpoint::read_state(bytes, bench.job(ALONG, None).config.unet(bench.data.info.shape).parameters(), &[0.9])
                .unwrap()
        };
        assert_eq!(state(&std::fs::read(&path).unwrap()), state(&good));
        // That of another training, or of another step, is none.
        std::fs::copy(bench.store().snapshot(&job.training_id, 5), &path).unwrap();
        assert_eq!(bench.run(&job), after);
        // Its end and its record are what they were.
        assert!(files.map(|path| std::fs::read(path).unwrap()) == kept);
    }

    /// What was killed goes on from the last state that it has left, whatever that was left for.
    #[test]
    fn a_training_goes_on_from_its_last_state() {
        let bench = Bench::new(&[]);
        let job = bench.job(ALONG, None);
        let (record, weights) = bench.run(&job);
        let states =
            || States { store: &bench.store(), job: &job, data: &bench.data }.last().map(|begun| (begun.meta.step, begun.missing)).unwrap();
        let remove = |name: &str| std::fs::remove_file(bench.store().training(&job.training_id).join(name)).unwrap();
        assert_eq!(states(), (9, vec![]));
        remove("training.json");
        remove("checkpoint.safetensors");
        assert_eq!(states(), (8, vec![]));
        remove("at-8.safetensors");
        std::fs::write(bench.store().snapshot(&job.training_id, 5), b"no snapshot").unwrap();
        // The damaged one is to be left again.
        assert_eq!(states(), (2, vec![5, 8]));
        let again = bench.run(&job);
        assert_eq!((again.1, again.0.curve, bench.there(&job)), (weights, record.curve, vec![2, 5, 8]));
    }

    /// A snapshot is made from the last state before it, whatever that was left for, and leaves nothing else behind.
    #[test]
    fn a_training_is_retraced_from_the_last_state_before() {
        let bench = Bench::new(&[]);
        let job = bench.job(ALONG, Some(8));
        let (_, weights) = bench.run(&job);
        bench.run(&bench.job("evaluation.at=[6]", Some(6)));
        std::fs::remove_file(bench.store().snapshot(&job.training_id, 8)).unwrap();
        let begun = States { store: &bench.store(), job: &job, data: &bench.data }.before_missing(9);
        assert_eq!((begun.meta.step, begun.missing), (6, vec![8]));
        assert_eq!(bench.run(&job).1, weights);
        assert_eq!(bench.there(&job), [2, 5, 6, 8]);
    }

    /// Before a training diverged its weights are scored; after that there is nothing to score.
    #[test]
    fn a_diverged_training_has_what_it_had_before() {
        // The rate of the first step is 0, whatever it rises to.
        let bench = Bench::new(&["training.optimiser.learning_rate=1e30", "training.optimiser.warmup_steps=1"]);
        let job = bench.job("evaluation.at=[1, 8]", Some(1));
        let (record, weights) = bench.run(&job);
        assert!(matches!(record.outcome, Outcome::Diverged { .. }) && (1..8).contains(&record.steps), "{record:?}");
        assert!(weights.is_some_and(|weights| weights.iter().all(|w| w.is_finite())));
        assert_eq!((bench.there(&job), bench.run(&bench.job("evaluation.at=[1, 8]", Some(8)))), (vec![1], (record.clone(), None)));
        // The job's own snapshot is all that has to be there.
        std::fs::remove_file(bench.store().snapshot(&job.training_id, 1)).unwrap();
        assert_eq!(bench.run(&bench.job("evaluation.at=[1, 8]", None)), (record.clone(), None));
        assert_eq!(bench.there(&job), [0; 0]);
        assert!(bench.run(&job).1.is_some() && bench.there(&job) == [1]);
    }
}
