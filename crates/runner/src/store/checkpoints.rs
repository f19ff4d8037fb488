//! A training's checkpoints, written beside it and verified when they are read: the last two, to be gone on from, and snapshots, to be scored.

use super::layout::{CHECKPOINTS, Store};
use super::meta::CheckpointMeta;
use crate::base::atomic;
use anyhow::{Context, Result};
use ddpm_model::checkpoint;
use ddpm_model::optimiser::Training;
use ddpm_model::parameters::Parameter;
use ddpm_model::train_state::TrainState;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a damaged checkpoint is renamed to, so that the next one does not displace the good one before it.
pub const DAMAGED: &str = "checkpoint.damaged.safetensors";

/// Inverse of the largest fraction of time for which training may pause for checkpoints.
const SHARE: u32 = 100;

/// A checkpoint's contents.
pub struct Checkpoint {
    /// What it says of itself.
    pub meta: CheckpointMeta,
    /// The training's state.
    pub state: TrainState,
}

/// Reads a checkpoint file, verifying its digest.
pub fn read(path: &Path, parameters: impl FnOnce(&CheckpointMeta) -> Result<Vec<Parameter>>) -> Result<Checkpoint> {
    let bytes = fs::read(path).context("cannot be read")?;
    let meta = describe(&bytes)?;
    let state = checkpoint::read_state(&bytes, &parameters(&meta)?, meta.config.training.optimiser.kept())?;
    Ok(Checkpoint { meta, state })
}

/// What a checkpoint's bytes say of themselves, verified.
pub fn describe(bytes: &[u8]) -> Result<CheckpointMeta> {
    let text = checkpoint::description(bytes)?.context("is not a checkpoint of this program: it has no description")?;
    serde_json::from_str(&text).context("is not a checkpoint of this version")
}

impl Store {
    /// The newest good checkpoint of a training that `check` accepts; none where there is no checkpoint at all. A damaged newer one is
    /// named on stderr and set aside; where none is good, the error names each.
    pub fn newest(
        &self,
        training_id: &str,
        parameters: &[Parameter],
        check: impl Fn(&CheckpointMeta) -> Result<()>,
    ) -> Result<Option<Checkpoint>> {
        let dir = self.training(training_id);
        let mut bad: Vec<(PathBuf, anyhow::Error)> = Vec::new();
        for path in CHECKPOINTS.map(|name| dir.join(name)).into_iter().filter(|path| path.exists()) {
            let found = read(&path, |meta| {
                check(meta)?;
                Ok(parameters.to_vec())
            });
            match found {
                Ok(loaded) => {
                    for (path, why) in bad {
                        let aside = dir.join(DAMAGED);
                        eprintln!(
                            "{}: {why:#}; renamed to {DAMAGED}; training resumes from step {} of the previous checkpoint",
                            path.display(),
                            loaded.meta.step
                        );
                        fs::rename(&path, &aside).with_context(|| format!("{}: cannot be set aside", path.display()))?;
                    }
                    return Ok(Some(loaded));
                }
                Err(why) => bad.push((path, why)),
            }
        }
        if bad.is_empty() {
            return Ok(None);
        }
        let each: Vec<String> = bad.iter().map(|(path, why)| format!("{}: {why:#}", path.display())).collect();
        Err(anyhow::anyhow!("{}: cannot be resumed from; move what is damaged away to train anew", each.join("; ")))
    }

    /// Leaves a snapshot, beside all others.
    fn leave_snapshot(&self, parameters: &[Parameter], state: &TrainState, meta: &CheckpointMeta) -> Result<()> {
        let text = serde_json::to_string(meta)?;
        let path = self.snapshot(&meta.training_id, meta.step);
        atomic::write_with(&path, |file| Ok(checkpoint::write_state(file, parameters, state, &text)?))
    }

    /// Leaves a checkpoint, and the one before it beside it.
    fn leave(&self, parameters: &[Parameter], state: &TrainState, meta: &CheckpointMeta) -> Result<()> {
        let dir = self.training(&meta.training_id);
        let [newest, previous] = CHECKPOINTS.map(|name| dir.join(name));
        let text = serde_json::to_string(meta)?;
        atomic::write_before(
            &newest,
            |file| Ok(checkpoint::write_state(file, parameters, state, &text)?),
            // A crash between the two renamings leaves the older one alone, which is enough.
            || if newest.exists() { fs::rename(&newest, &previous) } else { Ok(()) },
        )
    }
}

/// How a state is written.
type Leave = fn(&Store, &[Parameter], &TrainState, &CheckpointMeta) -> Result<()>;

/// Writes checkpoints in the background: training pauses only while its state is copied.
pub struct Saver {
    store: Store,
    parameters: Arc<[Parameter]>,
    every: Duration,
    /// When the last one was taken, and how long that stopped the training.
    last: Instant,
    stop: Duration,
    /// A copy of the training's state, whose memory is kept from one checkpoint to the next.
    copy: Option<Box<TrainState>>,
    writing: Option<JoinHandle<(Box<TrainState>, Result<()>)>>,
    /// The step of the last snapshot that nothing but going on needs.
    trail: Option<u64>,
}

impl Saver {
    /// For a training with these parameters, at most once `every` so often; zero is as often as the disk allows.
    pub fn new(store: &Store, parameters: &[Parameter], every: Duration) -> Saver {
        let (store, parameters) = (store.clone(), parameters.into());
        Saver { store, parameters, every, last: Instant::now(), stop: Duration::ZERO, copy: None, writing: None, trail: None }
    }

    /// Whether it is time for another.
    pub fn is_due(&self) -> bool {
        let often = if self.every.is_zero() { self.every } else { self.every.max(self.stop * SHARE) };
        self.last.elapsed() >= often && self.writing.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Begins to write one. Errors are of the one before.
    pub fn begin(&mut self, training: &Training, meta: &CheckpointMeta) -> Result<()> {
        let started = Instant::now();
        self.copy_and(Store::leave, training, meta)?;
        self.last = Instant::now();
        self.stop = started.elapsed();
        Ok(())
    }

    /// Begins to write a snapshot. Errors are of what was written before.
    pub fn begin_snapshot(&mut self, training: &Training, meta: &CheckpointMeta) -> Result<()> {
        self.copy_and(Store::leave_snapshot, training, meta)
    }

    /// Writes a snapshot that nothing but going on needs, and removes the one before.
    pub fn write_trail(&mut self, training: &Training, meta: &CheckpointMeta) -> Result<()> {
        let started = Instant::now();
        self.finish()?;
        // What was left there to be scored does as well, and stays.
        let is_there = self.store.snapshot(&meta.training_id, meta.step).exists();
        if !is_there {
            self.store.leave_snapshot(&self.parameters, training.state(), meta)?;
        }
        self.remove_trail(&meta.training_id)?;
        self.trail = (!is_there).then_some(meta.step);
        self.last = Instant::now();
        self.stop = started.elapsed();
        Ok(())
    }

    /// Removes the last such snapshot.
    pub fn remove_trail(&mut self, training_id: &str) -> Result<()> {
        let Some(step) = self.trail.take() else { return Ok(()) };
        let path = self.store.snapshot(training_id, step);
        fs::remove_file(&path).with_context(|| format!("{}: cannot be removed", path.display()))
    }

    fn copy_and(&mut self, leave: Leave, training: &Training, meta: &CheckpointMeta) -> Result<()> {
        self.finish()?;
        let mut copy = self.copy.take().unwrap_or_default();
        copy.copy_from(training.state());
        let (store, parameters, meta) = (self.store.clone(), self.parameters.clone(), meta.clone());
        self.writing = Some(std::thread::spawn(move || {
            let result = leave(&store, &parameters, &copy, &meta);
            (copy, result)
        }));
        Ok(())
    }

    /// Waits for the one that is being written.
    pub fn finish(&mut self) -> Result<()> {
        let Some(thread) = self.writing.take() else { return Ok(()) };
        let (copy, result) = thread.join().expect("writing does not panic");
        self.copy = Some(copy);
        result
    }

    /// Writes one now, without a copy.
    pub fn write(&mut self, training: &Training, meta: &CheckpointMeta) -> Result<()> {
        self.finish()?;
        self.store.leave(&self.parameters, training.state(), meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::{Job, tiny};
    use ddpm_model::train_state::Average;

    /// A training after so many steps, as far as a checkpoint knows it, and rows of one number each, no two alike.
    fn after(job: &Job, step: u64) -> (Training, CheckpointMeta) {
        let data = few("d", 20, 3);
        let unet = job.config.unet(data.info.shape);
        let optimiser = job.config.training.optimiser.clone();
        let n = unet.parameter_count();
        let row = |row: u64| vec![(10 * step + row) as f32; n];
        let averages = vec![Average { decay: optimiser.ema_decay, numbers: row(3) }];
        let state = TrainState { theta: row(0), m: row(1), v: row(2), averages };
        let meta = serde_json::json!({
            "format": super::super::FORMAT, "training_id": job.training_id, "config": job.config, "seed": 7, "data": null, "step": step,
            "curve": [], "open": [0.0, 0.0, 0], "wall_s": 0.0,
        });
        (Training::resume(unet.parameters(), optimiser, state, step), serde_json::from_value(meta).unwrap())
    }

    /// The last two are kept. A damaged newer one is set aside, not pushed onto the good one; where both are damaged, both are named.
    #[test]
    fn the_newest_good_one_is_gone_on_from() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let job = tiny(&few("d", 20, 3), &[]);
        let folder = store.training(&job.training_id);
        std::fs::create_dir_all(&folder).unwrap();
        let parameters = after(&job, 0).0.parameters().to_vec();
        let newest = || store.newest(&job.training_id, &parameters, |_| Ok(()));
        assert!(newest().unwrap().is_none() && !store.has_checkpoint(&job.training_id));
        let mut saver = Saver::new(&store, &parameters, Duration::ZERO);
        for step in 1..=3 {
            let (training, meta) = after(&job, step);
            // Written from a copy, and without one.
            if step == 2 { saver.write(&training, &meta).unwrap() } else { saver.begin(&training, &meta).unwrap() }
        }
        saver.finish().unwrap();
        let [last, before] = CHECKPOINTS.map(|name| folder.join(name));
        let stepped = |path: &Path| read(path, |_| Ok(parameters.clone())).unwrap().meta.step;
        assert_eq!((stepped(&last), stepped(&before)), (3, 2));
        let found = newest().unwrap().unwrap();
        assert_eq!(
            (found.meta.step, found.state.rows().iter().map(|row| (row.len(), row[0])).collect::<Vec<_>>()),
            (3, {
                let n = parameters.iter().map(|p| p.len()).sum();
                vec![(n, 30.0), (n, 31.0), (n, 32.0), (n, 33.0)]
            })
        );
        // What is not wanted is as good as damaged.
        let refused = store.newest(&job.training_id, &parameters, |meta| {
            anyhow::ensure!(meta.step == 2, "step {}", meta.step);
            Ok(())
        });
        assert_eq!(refused.unwrap().unwrap().meta.step, 2);
        assert_eq!((last.exists(), folder.join(DAMAGED).exists(), stepped(&before)), (false, true, 2));
        // The next one goes beside it.
        let (training, meta) = after(&job, 4);
        saver.write(&training, &meta).unwrap();
        assert_eq!((stepped(&last), stepped(&before)), (4, 2));
        std::fs::write(&last, b"no").unwrap();
        std::fs::write(&before, b"nor this").unwrap();
        let why = format!("{:#}", newest().err().unwrap());
        assert!(CHECKPOINTS.iter().all(|name| why.contains(name)) && why.contains("move what is damaged away"), "{why}");
        assert!(last.exists() && before.exists());
    }

    /// Of states that are left for nothing but going on the last is there, and none at the end; what was left to be scored stays.
    #[test]
    fn a_trail_is_one_state_long() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let job = tiny(&few("d", 20, 3), &[]);
        fs::create_dir_all(store.training(&job.training_id)).unwrap();
        let mut saver = Saver::new(&store, after(&job, 0).0.parameters(), Duration::ZERO);
        for (step, scored, there) in
            [(3, true, vec![3]), (4, false, vec![3, 4]), (6, false, vec![3, 6]), (8, true, vec![3, 8]), (9, false, vec![3, 8, 9])]
        {
            let (training, meta) = after(&job, step);
            if scored {
                saver.begin_snapshot(&training, &meta).unwrap();
            }
            saver.write_trail(&training, &meta).unwrap();
            assert_eq!(store.snapshots(&job.training_id), there, "{step}");
        }
        saver.remove_trail(&job.training_id).unwrap();
        assert_eq!(store.snapshots(&job.training_id), [3, 8]);
    }

    /// As often as it is asked for, and never so often that copying takes more than a hundredth of the time.
    #[test]
    fn standing_still_has_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let due = |every: Duration, stop: Duration, since: u64| {
            let mut saver = Saver::new(&Store::new(dir.path()), &[], every);
            saver.last = Instant::now().checked_sub(Duration::from_secs(since)).expect("this machine has run for minutes");
            saver.stop = stop;
            saver.is_due()
        };
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert!(due(Duration::ZERO, minute, 0) && due(minute, Duration::ZERO, 61) && due(second, second / 10, 11));
        assert!(!due(minute, Duration::ZERO, 58) && !due(second, second / 10, 8) && !due(minute, second / 10, 11));
    }
}
