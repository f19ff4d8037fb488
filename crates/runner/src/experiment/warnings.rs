//! What is allowed and rarely meant, told before anything runs.

use super::cell::Cell;
use super::load::Experiment;
use std::collections::BTreeMap;

/// Largest share of the first weights in the moving average at a training's end about which nothing is said.
const FIRST_WEIGHTS: f64 = 0.1;

/// Sentences about an experiment's cells; each names its cells where it is not about all.
pub fn warnings(experiment: &Experiment) -> Vec<String> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for cell in &experiment.cells {
        for warning in of_cell(cell) {
            found.entry(warning).or_default().push(cell.label());
        }
    }
    let all = experiment.cells.len();
    let named = |(warning, cells): (String, Vec<String>)| match cells.len() == all {
        true => warning,
        false => format!("{warning} (in the cells {})", cells.join("; ")),
    };
    found.into_iter().map(named).collect()
}

fn of_cell(cell: &Cell) -> Vec<String> {
    let (steps, optimiser) = (cell.config.training.steps, &cell.config.training.optimiser);
    let mut found = Vec::new();
    let decay = optimiser.ema_decay;
    let share = libm::pow(decay, steps as f64);
    if share > FIRST_WEIGHTS {
        let percent = 100.0 * share;
        found.push(format!(
            "training.optimiser.ema_decay: after {steps} steps an average with decay {decay} is still {percent:.0}% the weights as initialised, and samples and bounds are made with it; expected less than 10%: more steps, or a smaller decay"
        ));
    }
    let warmup = optimiser.warmup_steps;
    if steps < warmup {
        let most = optimiser.rate(steps - 1);
        found.push(format!(
            "training.optimiser.warmup_steps: a warm-up of {warmup} steps does not end in {steps}: the learning rate comes to {most:.2e} and not to {:.2e}",
            optimiser.learning_rate
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn told(grid: &str, sets: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q.yaml");
        std::fs::write(&path, format!("question: q\nbase: fashion-cpu\ngrid: {grid}\n")).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let base = root.join("experiments/bases/fashion-cpu.yaml");
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        warnings(&Experiment::read(&path, base.to_str(), &sets).unwrap())
    }

    /// Each at its limit: an average that is a tenth of the first weights, a warm-up that ends with the training.
    #[test]
    fn what_is_rarely_meant_is_told() {
        assert!(told("{steps: [2000]}", &[]).is_empty());
        // 0.99^229 = 0.1001, 0.99^230 = 0.0991.
        let found = told("{steps: [229, 230]}", &[]);
        assert!(
            found.len() == 1 && found[0].contains("is still 10% the weights") && found[0].ends_with("(in the cells steps=229)"),
            "{found:?}"
        );
        let found = told("{steps: [99, 100]}", &["training.optimiser.ema_decay=0"]);
        assert!(found.len() == 1 && found[0].ends_with("comes to 1.96e-3 and not to 2.00e-3 (in the cells steps=99)"), "{found:?}");
        let both = told("{steps: [10]}", &[]);
        assert!(both.len() == 2 && both.iter().all(|warning| !warning.contains("in the cells")), "{both:?}");
    }
}
