//! An experiment of tenths of a second on a folder of tiny images, for what is done thousands of times or under a limit.

use crate::*;
use std::fs;

/// Its grid, base and images, in a folder of their own.
pub struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    /// With this grid, in YAML.
    pub fn new(grid: &str) -> Small {
        // In memory, where the system has such a place.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("images")).unwrap();
        for i in 0..40u32 {
            let picture = image::GrayImage::from_fn(4, 4, |x, y| image::Luma([byte(i, y, x, 0)]));
            picture.save(at(&format!("images/{i:02}.png"))).unwrap();
        }
        let base = format!(
            "data: {{kind: folder, path: '{}', held_out: 12}}
diffusion: {{timesteps: 4, schedule: {{kind: linear, beta_end: 0.3}}, prediction: eps, variance: fixed-large, objective: simple}}
network: {{channels: 4, multipliers: [1], blocks: 1, attention: [], dropout: 0.0, groups: 4}}
training: {{steps: 3, batch: 8, flip: false, precision: f32, optimiser: {{learning_rate: 1.0e-3, warmup_steps: 2, ema_decay: 0.3}}}}
sampling: {{sampler: {{kind: ancestral}}, count: 10, batch: 10}}
evaluation: {{held_out: 4, train: 4, batch: 8}}
",
            at("images").display()
        );
        fs::write(at("base.yaml"), base).unwrap();
        fs::write(at("grid.yaml"), grid).unwrap();
        Small { dir }
    }

    /// A path in its folder.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The words of `ddpm ablate` for it, with its images prepared.
    pub fn words(&self, results: &Path) -> Vec<String> {
        let paths = [&self.at("grid.yaml"), &self.at("base.yaml"), results, &results.join("data")];
        let [grid, base, results, cache] = paths.map(|path| path.display().to_string());
        ["ablate", &grid, "--base", &base, "--results", &results, "--cache", &cache].map(String::from).into()
    }
}
