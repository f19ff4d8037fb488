//! Grids that give each cell settings of its own; a part of configuration.rs.

use super::read;
use ddpm_runner::base::error::ConfigError;
use ddpm_runner::experiment::{Experiment, asked};

#[test]
fn mistakes_in_what_is_tuned_are_reported_where_they_stand() {
    let tuned =
        |tune: &str, more: &str| read(&format!("question: q\ngrid: {{prediction: [mu, eps]}}\nseeds: [0, 1, 2]\ntune: {{{tune}}}\n{more}"));
    let tune = |grid: &str, metric: &str, seeds: &str| format!("grid: {grid}, metric: {metric}, seeds: {seeds}");
    let rates = "{learning_rate: [0.1, 0.2]}";
    for (tune, more, expected) in [
        (tune("{}", "fid", "[5]"), "", "tune.grid: expected at least one axis"),
        (
            tune("{lerning_rate: [1]}", "fid", "[5]"),
            "",
            "tune.grid.lerning_rate: neither an axis nor a path of the configuration (did you mean learning_rate?)",
        ),
        (tune("{learning_rate: [0.1, -1]}", "fid", "[5]"), "", "tune.grid.learning_rate[1]: expected a positive number, got -1"),
        (tune("{prediction: [v, x0]}", "fid", "[5]"), "", "tune.grid.prediction: is an axis of grid too"),
        (
            tune("{sampling.count: [50, 100]}", "fid", "[5]"),
            "",
            "tune.grid.sampling.count: expected what makes a cell better, got sampling.count, with which it is scored unlike others",
        ),
        (
            tune("{sampling: [{sampler: ancestral, count: 50, batch: 50}]}", "fid", "[5]"),
            "",
            "tune.grid.sampling: expected what makes a cell better, got sampling, with which it is scored unlike others",
        ),
        (
            tune("{row: [{learning_rate: 0.1, evaluation.decoder: erf}]}", "fid", "[5]"),
            "",
            "tune.grid.row: expected what makes a cell better, got evaluation.decoder, with which it is scored unlike others",
        ),
        (
            tune("{diffusion.prediction: [v, x0]}", "fid", "[5]"),
            "",
            "tune.grid.diffusion.prediction[0]: grid.prediction[0] sets prediction too",
        ),
        (tune(rates, "fidd", "[5]"), "", "tune.metric: unknown name fidd (did you mean fid?)"),
        (
            tune(rates, "kl-divergence", "[5]"),
            "",
            "tune.metric: expected a score that every cell has, got kl-divergence: the cell (mu, learning_rate=0.1) has none",
        ),
        (
            tune(rates, "bits-per-dim-train", "[5]"),
            "set: {evaluation.train: 0}",
            "tune.metric: expected a score that every cell has, got bits-per-dim-train: the cell (mu, learning_rate=0.1) has none",
        ),
        (tune(rates, "fid", "[]"), "", "tune.seeds: expected at least one"),
        (tune(rates, "fid", "[5, 5]"), "", "tune.seeds: 5 stands twice"),
        (tune(rates, "fid", "[5, 1]"), "", "tune.seeds: expected others than the seeds that are reported (0-2), got 1"),
        (
            tune(rates, "fid", "[5]"),
            "claims: [{sentence: s, metric: fid, better: {prediction: mu}, than: {prediction: eps, learning_rate: 0.2}}]",
            "claims[0].than.learning_rate: is tried in every cell, and what is chosen is not known: leave it out",
        ),
        (
            tune("{row: [{training.optimiser.beta1: 0.1}, {dropout: 0.1}]}", "fid", "[5]"),
            "paper: {source: s, rows: [{cell: {prediction: mu, training.optimiser.beta1: 0.1}, says: {}}]}",
            "paper.rows[0].cell.training.optimiser.beta1: is tried in every cell, and what is chosen is not known: leave it out",
        ),
        (tune(rates, "fid", "[5]"), "claims: [{sentence: s, metric: fid, best: {prediction: v}}]", "claims[0].best: agrees with no cell"),
    ] {
        assert_eq!(tuned(&tune, more).unwrap_err(), format!("g.yaml: {expected}"), "{tune}");
    }
    // What is not known of a cell before the choice has to hold of every candidate.
    let study =
        "set: {data: mixture-2d}\nstudies: [{cell: {prediction: eps}, kinds: [{kind: score-field, samplers: [{kind: ddim, steps: 35}]}]}]";
    let error = tuned(&tune("{timesteps: [40, 30]}", "kl-divergence", "[5]"), study).unwrap_err();
    assert!(error.starts_with("g.yaml: studies[0].kinds[0].samplers[0]: "), "{error}");
    let many: Vec<usize> = (3..4000).collect();
    let error = tuned(&tune(rates, "fid", &format!("{many:?}")), "").unwrap_err();
    assert!(error.starts_with("g.yaml: tune.grid: 2 x 2 values times 3997 seeds are more than 10000 jobs"), "{error}");
}

/// Candidates are tried on seeds of their own, at the end alone, and the best of each cell is its cell in what follows, as the file has it.
#[test]
fn each_cell_gets_what_scores_best_in_it() {
    let text =
        "question: q\nset: {evaluation.at: [20]}\ngrid: {prediction: [mu, eps], row: [{dropout: 0.1}, {channels: 32}]}\nseeds: [0, 1, 2]
exclude: [{channels: 32, learning_rate: 0.3}]
tune: {grid: {learning_rate: [0.1, 0.2, 0.3], tried: [{training.optimiser.warmup_steps: 1}, {training.optimiser.warmup_steps: 2}]}, metric: inception-score, seeds: [7, 9]}
claims: [{sentence: s, metric: fid, better: {prediction: mu, dropout: 0.1}, than: {prediction: eps}}]\nmetrics: [fid]";
    let tuning = read(text).unwrap();
    assert_eq!((tuning.name.as_str(), tuning.cells.len(), tuning.file.seeds.as_slice()), ("g-b-tuning", 20, &[7, 9][..]));
    assert!(tuning.file.tune.is_none() && tuning.file.claims.is_empty() && tuning.choices.is_empty());
    let names: Vec<&str> = tuning.file.metrics.iter().map(|metric| metric.name()).collect();
    assert_eq!(names, ["inception-score", "fid"]);
    let tried: Vec<_> = asked(&tuning).iter().map(|asked| (asked.cell_index, asked.seed, asked.at)).collect();
    assert_eq!(tried, (0..20).flat_map(|cell| [(cell, 7, None), (cell, 9, None)]).collect::<Vec<_>>());
    // Places 0 to 5 are the candidates of the first cell, 6 to 9 of the second, which lacks a rate, and so on. More is better.
    let score = |cell: usize, seed: u64| match (cell, seed) {
        (4, 7) | (8, 9) | (10, _) => Some(9.0),
        (11..=15, 9) => None,
        (16..=19, _) => Some(1.0),
        _ => Some(2.0),
    };
    let chosen = tuning.chosen(|cell, seed| Ok::<_, ConfigError>(score(cell, seed))).unwrap().unwrap();
    assert_eq!((chosen.name.as_str(), chosen.file.seeds.as_slice(), chosen.file.claims.len()), ("g-b", &[0, 1, 2][..], 1));
    let labels: Vec<String> = chosen.cells.iter().map(|cell| cell.label()).collect();
    let label = |prediction: &str, row: &str, rate: f64, steps: usize| {
        format!("{prediction}, {row}, learning_rate={rate}, training.optimiser.warmup_steps={steps}")
    };
    let expected =
        [("mu", "dropout=0.1", 0.3, 1), ("mu", "channels=32", 0.2, 1), ("eps", "dropout=0.1", 0.1, 1), ("eps", "channels=32", 0.1, 1)];
    assert_eq!(labels, expected.map(|(prediction, row, rate, steps)| label(prediction, row, rate, steps)));
    for cell in &chosen.cells {
        let optimiser = &cell.config.training.optimiser;
        assert!(
            label("", "", optimiser.learning_rate, optimiser.warmup_steps as usize)[4..]
                == cell.label()[cell.label().find("learning").unwrap()..]
        );
        assert_eq!(cell.config.measured_at(), [20]);
    }
    let scores: Vec<Vec<Option<f64>>> = chosen.choices[2].candidates.iter().map(|candidate| candidate.scores.clone()).collect();
    let (best, lost) = (vec![Some(9.0), Some(9.0)], vec![Some(2.0), None]);
    assert_eq!(scores, [best, lost.clone(), lost.clone(), lost.clone(), lost.clone(), lost]);
    assert_eq!(
        chosen.choices.iter().map(|choice| (choice.candidates.len(), choice.chosen)).collect::<Vec<_>>(),
        [(6, 4), (4, 2), (6, 0), (4, 0)]
    );
    let moments = asked(&chosen).iter().filter(|asked| asked.at == Some(20)).count();
    assert_eq!((asked(&chosen).len(), moments), (24, 12));
    // What does not depend on it is known before; an error of a score is passed on; and nothing is chosen in an experiment without candidates.
    let first = tuning.with_first_candidates().unwrap().unwrap();
    assert!(
        first.cells.iter().all(|cell| cell.label().ends_with("learning_rate=0.1, training.optimiser.warmup_steps=1"))
            && first.name == "g-b"
    );
    let why = ConfigError::new("a", "b", "c");
    assert_eq!(tuning.chosen(|_, _| Err(why.clone())), Err(why));
    assert_eq!((chosen.with_first_candidates(), &first.aim), (Ok(None), &None));
    // A choice that was made before is known again, whatever else is said of the cells, and no other experiment is taken for one.
    let before = |change: &dyn Fn(&mut Experiment)| {
        let mut other = chosen.clone();
        change(&mut other);
        tuning.chosen_before(&other)
    };
    assert_eq!(before(&|_| {}).as_ref(), Some(&chosen));
    assert_eq!(before(&|other| other.file.question = "p".into()).as_ref(), Some(&chosen));
    assert_eq!(before(&|other| other.cells[0].config = other.cells[1].config.clone()), None);
    assert_eq!(before(&|other| other.file.tune.as_mut().unwrap().seeds = vec![7]), None);
    assert_eq!((tuning.chosen_before(&tuning), chosen.chosen_before(&chosen)), (None, None));
}

/// Candidates that differ in the average share a training; what is then run keeps no more than the one that was chosen, as if nothing had been
/// tuned.
#[test]
fn averages_that_were_not_chosen_are_not_kept() {
    let of = |grid: &str| read(&format!("question: q\n{grid}")).unwrap();
    let tuning = of("grid: {prediction: [mu, eps]}\ntune: {grid: {ema_decay: [0.5, 0.9]}, metric: fid, seeds: [7]}");
    let kept = |experiment: &Experiment| -> Vec<Vec<f64>> {
        experiment.cells.iter().map(|cell| cell.config.training.optimiser.kept().to_vec()).collect()
    };
    assert_eq!(kept(&tuning), vec![vec![0.5, 0.9]; 4]);
    let second = |cell: usize, _| Ok::<_, ConfigError>(Some([2.0, 1.0][cell % 2]));
    let chosen = tuning.chosen(second).unwrap().unwrap();
    assert_eq!(kept(&chosen), vec![vec![0.9]; 2]);
    let plain = of("set: {ema_decay: 0.9}\ngrid: {prediction: [mu, eps]}");
    assert!(chosen.cells.iter().zip(&plain.cells).all(|(chosen, plain)| chosen.config == plain.config));
    assert_eq!(tuning.chosen_before(&chosen), Some(chosen));
}
