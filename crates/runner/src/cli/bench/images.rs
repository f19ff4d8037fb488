//! How fast images are read and decoded, in the order in which a training sees them.

use crate::base::data::{Dataset, Loader, Portions};
use crate::base::text::{print, size};
use anyhow::Result;
use ddpm_model::network::ImageShape;
use serde::Serialize;
use std::time::Instant;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct ImagesRead {
    pub program: &'static str,
    pub commit: &'static str,
    pub data: String,
    /// How they are kept.
    pub form: &'static str,
    pub shape: ImageShape,
    pub batch: usize,
    pub threads: usize,
    /// Batches that were timed.
    pub batches: u32,
    pub img_per_s: f64,
    pub img_per_s_per_thread: f64,
    pub bytes_per_s: f64,
}

/// A loader of `steps` batches of a training of seed 0.
pub fn loader(data: &Dataset, batch: usize, steps: u64) -> Loader {
    let batch = batch as u64;
    Loader::new(&data.train, 0, Portions { every: batch, first: 0, len: batch, end: steps * batch })
}

/// Batches of pixels in bytes; nothing else is done meanwhile.
pub fn measure(set: &Dataset, batch: usize, warmup: u32, batches: u32) -> Result<ImagesRead> {
    // More than are asked for: as many lie ready when the clock stops as when it started.
    let mut loader = loader(set, batch, u64::from(warmup + batches) * 2 + 16);
    let mut read = |number: u64| loader.portion(number).map(drop);
    (0..u64::from(warmup)).try_for_each(&mut read)?;
    let begun = Instant::now();
    (0..u64::from(batches)).try_for_each(|number| read(u64::from(warmup) + number))?;
    let img_per_s = (batches as usize * batch) as f64 / begun.elapsed().as_secs_f64();
    // Images in memory are only copied, by whoever asks for them.
    let threads = if set.train.is_in_memory() { 1 } else { Loader::threads() };
    Ok(ImagesRead {
        program: env!("CARGO_PKG_VERSION"),
        commit: env!("DDPM_COMMIT"),
        data: set.info.name.clone(),
        form: set.train.form(),
        shape: set.info.shape,
        batch,
        threads,
        batches,
        img_per_s,
        img_per_s_per_thread: img_per_s / threads as f64,
        bytes_per_s: img_per_s * set.info.shape.len() as f64,
    })
}

/// In words.
pub fn say(m: &ImagesRead) {
    let ImagesRead { data, form, shape, batch, threads, img_per_s, img_per_s_per_thread: each, bytes_per_s, .. } = m;
    print(&format!("{data}: {shape}, {form}, batch {batch}, {threads} threads\n"));
    print(&format!("{img_per_s:.0} images/s, {each:.0} for each thread, {} of pixels a second\n", size(*bytes_per_s as u64)));
}
