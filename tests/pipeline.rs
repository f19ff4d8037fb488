//! The whole way on the smoke base: run, rerun, report; interruptions and threads change no bit.

mod support;

use ddpm_core::{BetaScale, Schedule, Setup};
use ddpm_model::train_state::TrainState;
use ddpm_runner::base::sealed;
use polars::prelude::*;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::*;

const GRID: &str = "experiments/grids/table2.yaml";

fn ablate(results: &Path, more: &[&str]) -> std::process::Output {
    let mut arguments = vec!["ablate", GRID, "--base", "fashion-smoke", "--results", results.to_str().unwrap()];
    arguments.extend(more);
    run(&arguments)
}

/// Of two seeds one is done: the table says so, and shows no ± that would be another seed's business. Whoever waits for a failed job is let go.
#[test]
fn a_part_of_the_seeds_is_told_as_a_part() {
    let dir = tempfile::tempdir().unwrap();
    let grid = |name: &str, seeds: &str| {
        let path = dir.path().join(name);
        fs::write(&path, format!("question: q\nbase: {}/experiments/bases/fashion-smoke.yaml\ngrid: {{prediction: [eps]}}\nseeds: {seeds}\nmetrics: [fid, bits-per-dim]\n", root().display())).unwrap();
        path
    };
    let results = dir.path().join("results");
    let on = |command: &[&str], grid: &Path| run(&[command, &[grid.to_str().unwrap(), "--results", results.to_str().unwrap()]].concat());
    let one = on(&["ablate"], &grid("one.yaml", "[0]"));
    assert!(one.status.success() && stdout(&one).contains(" ± "), "{}", stderr(&one));
    let two = grid("two.yaml", "[0, 1]");
    let table = stdout(&on(&["report"], &two));
    assert_eq!((table.matches("(1 of 2 seeds)").count(), table.matches(" ± ").count()), (2, 0), "{table}");
    let all = planned(&["plan", two.to_str().unwrap(), "--json", "--results", results.to_str().unwrap()]);
    let failed = all.into_iter().find(|job| job["seed"] == 1).unwrap();
    // A record that cannot be read is a failure, and nobody is at it.
    let run = results.join("runs").join(failed["id"].as_str().unwrap());
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("record.json"), "{}").unwrap();
    assert_eq!(on(&["status", "--watch"], &two).status.code(), Some(3));
}

/// Candidates are tried on seeds of their own and have a page; then each cell runs with the best of its own, whatever seeds are reported.
#[test]
fn each_cell_runs_with_the_best_of_what_was_tried_for_it() {
    let dir = results();
    let path = dir.path().join("g.yaml");
    let base = root().join("experiments/bases/fashion-smoke.yaml");
    let text = "set: {objective: vlb, steps: 6, training.optimiser.warmup_steps: 0, sampling.count: 12, evaluation.held_out: 2, evaluation.train: 0}
grid: {prediction: [mu, eps]}
tune: {grid: {learning_rate: [1.0e-5, 0.002, 1.0e+30]}, metric: bits-per-dim, seeds: [10, 11]}
claims: [{sentence: It is eps, metric: bits-per-dim, better: {prediction: eps}, than: {prediction: mu}}]
metrics: [bits-per-dim]";
    fs::write(&path, format!("question: q\nbase: {}\n{text}\nseeds: [0, 1]\n", base.display())).unwrap();
    let on = |command: &[&str]| run(&[command, &[path.to_str().unwrap(), "--results", dir.path().to_str().unwrap()]].concat());
    let plan = |more: &[&str]| -> Value { serde_json::from_str(&stdout(&on(&[&["plan", "--json"], more].concat()))).unwrap() };
    let before = plan(&[]);
    assert_eq!((&before["experiment"], &before["then"]["experiment"]), (&"g-fashion-smoke-tuning".into(), &"g-fashion-smoke".into()));
    assert_eq!((before["jobs"].as_array().unwrap().len(), &before["then"]["jobs"]), (12, &4.into()));
    assert!(before["then"]["left_s"].as_f64().unwrap() > 0.0);
    assert!(stdout(&on(&["plan"])).contains("Then g-fashion-smoke, 4 jobs with the"), "{}", stdout(&on(&["plan"])));
    assert!(
        stdout(&on(&["status"]))
            .ends_with("12 jobs: 12 to do\nthese are candidates; then g-fashion-smoke, with the settings that they choose\n")
    );
    assert_eq!(on(&["claims", "--require"]).status.code(), Some(3));
    let ran = on(&["ablate"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("g-fashion-smoke-tuning: 12 jobs, 0 done") && stderr(&ran).contains("g-fashion-smoke: 4 jobs, 0 done"));
    // The best mean of each cell's, by the records; of a rate that breaks every training there is none.
    let score = |job: &Value| -> Option<f64> {
        let text = fs::read_to_string(dir.path().join("runs").join(job["id"].as_str().unwrap()).join("record.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["metrics"]["bits-per-dim"]["value"].as_f64()
    };
    let candidates = before["jobs"].as_array().unwrap();
    let rate = |job: &Value| job["config"]["training"]["optimiser"]["learning_rate"].as_f64().unwrap();
    let best = |prediction: &str| {
        let mean = |of: f64| {
            let jobs = candidates.iter().filter(|job| job["axes"]["prediction"] == prediction && rate(job) == of);
            jobs.map(score).sum::<Option<f64>>().map_or(f64::INFINITY, |sum| sum / 2.0)
        };
        assert_eq!(mean(1e30), f64::INFINITY);
        [1e-5, 0.002].into_iter().min_by(|a, b| mean(*a).total_cmp(&mean(*b))).unwrap()
    };
    let after = plan(&[]);
    let jobs = after["jobs"].as_array().unwrap();
    assert_eq!((&after["experiment"], &after["then"], jobs.len()), (&"g-fashion-smoke".into(), &Value::Null, 4));
    for (job, (prediction, seed)) in jobs.iter().zip([("mu", 0), ("mu", 1), ("eps", 0), ("eps", 1)]) {
        assert_eq!((job["axes"]["prediction"].as_str().unwrap(), job["seed"].as_u64()), (prediction, Some(seed)));
        assert_eq!((rate(job), &job["state"]["state"]), (best(prediction), &"done".into()));
    }
    let page = fs::read_to_string(dir.path().join("g-fashion-smoke/README.md")).unwrap();
    let heading = "| cell | learning_rate=0.00001 | learning_rate=0.002 | learning_rate=1e+30 | chosen |";
    assert!(page.contains("## Chosen settings") && page.contains(heading) && page.matches("| diverged |").count() == 2, "{page}");
    assert!(page.contains(&format!("| learning_rate={} |", best("eps"))), "{page}");
    let tried = fs::read_to_string(dir.path().join("g-fashion-smoke-tuning/README.md")).unwrap();
    assert!(tried.contains("Which learning_rate for each cell, by bits/dim? For: q"), "{tried}");
    // Nothing more to do.
    let again = on(&["ablate"]);
    let told = stderr(&again);
    assert!(told.contains("-tuning: 12 jobs, 12 done") && told.contains("g-fashion-smoke: 4 jobs, 4 done"), "{told}");
    assert!(stdout(&again).ends_with(&stdout(&on(&["report"]))) && stdout(&on(&["claims"])).contains("It is eps"));
    assert!(stdout(&on(&["status"])).ends_with("4 jobs: 4 done\n"));
    // A cell is called by all that varies, or without what was chosen for it.
    let results = dir.path().to_str().unwrap();
    let full = format!("g-fashion-smoke:eps, learning_rate={}", best("eps"));
    let compared = run(&["compare", "g-fashion-smoke:eps", &full, "--results", results]);
    let names = format!("A  g-fashion-smoke: eps, learning_rate={0}\nB  g-fashion-smoke: eps, learning_rate={0}\n", best("eps"));
    assert!(stdout(&compared).starts_with(&names), "{}{}", stdout(&compared), stderr(&compared));
    // Other seeds are reported with what is chosen already.
    let others = plan(&["--seeds", "0,5"]);
    let states: Vec<&Value> = others["jobs"].as_array().unwrap().iter().map(|job| &job["state"]["state"]).collect();
    assert_eq!(
        (&others["experiment"], states),
        (&"g-fashion-smoke-seeds-0,5".into(), ["done", "missing", "done", "missing"].map(|s| s.into()).iter().collect::<Vec<&Value>>())
    );
    let overlap = on(&["plan", "--seeds", "10"]);
    assert!(overlap.status.code() == Some(4) && stderr(&overlap).contains("tune.seeds: expected others than"), "{}", stderr(&overlap));
    // Where a candidate is lost the choice that was made stays for who reads; who runs tries it again first.
    let record = |job: &Value| dir.path().join("runs").join(job["id"].as_str().unwrap()).join("record.json");
    fs::remove_file(record(&candidates[3])).unwrap();
    let read = on(&["report"]);
    assert!(stdout(&again).ends_with(&stdout(&read)) && stderr(&read).contains("those that were chosen before"), "{}", stderr(&read));
    assert!(stdout(&on(&["claims"])).contains("It is eps"));
    let lost = plan(&[]);
    assert_eq!((&lost["experiment"], &lost["then"]["jobs"]), (&"g-fashion-smoke-tuning".into(), &4.into()));
    let states: Vec<&Value> = lost["jobs"].as_array().unwrap().iter().map(|job| &job["state"]["state"]).collect();
    assert_eq!(states.iter().filter(|state| **state == "done").count(), 11);
    assert!(stdout(&on(&["status"])).contains(" 1 trained, "), "{}", stdout(&on(&["status"])));
    // A candidate without the score and without a reason of its own keeps anything from being chosen, which is said, and nothing else.
    let text = fs::read_to_string(record(&candidates[0])).unwrap();
    let mut blank: Value = serde_json::from_str(&text).unwrap();
    blank["metrics"].as_object_mut().unwrap().remove("bits-per-dim");
    blank["blanks"]["bits-per-dim"] = "it was too late".into();
    blank.as_object_mut().unwrap().shift_remove("blake3");
    assert!(on(&["ablate"]).status.success());
    sealed::write(&record(&candidates[0]), &blank).unwrap();
    let told = on(&["status"]);
    let said = "g-fashion-smoke: tune.metric: expected a score that every candidate has, got bits-per-dim: the candidate (mu, learning_rate=0.00001)";
    assert!(told.status.success() && stderr(&told).starts_with(said), "{}", stderr(&told));
    assert_eq!(on(&["ablate"]).status.code(), Some(4));
}

/// A claim that seeds support can be required; what is claimed can be changed without running anything.
#[test]
fn what_seeds_support_can_be_required() {
    let dir = tempfile::tempdir().unwrap();
    let (path, results) = (dir.path().join("g.yaml"), dir.path().join("results"));
    let base = root().join("experiments/bases/fashion-smoke.yaml");
    let on = |command: &[&str], claims: &str| {
        let grid = "set: {objective: vlb, steps: 5, sampling.count: 12, evaluation.held_out: 2, evaluation.train: 2}\ngrid: {prediction: [mu, eps]}";
        let text =
            format!("question: q\nbase: {}\n{grid}\nseeds: [0, 1, 2]\nmetrics: [bits-per-dim, inception-score]\n{claims}", base.display());
        fs::write(&path, text).unwrap();
        run(&[command, &[path.to_str().unwrap(), "--results", results.to_str().unwrap()]].concat())
    };
    let claim = |better: &str, than: &str| {
        format!(
            "  - {{sentence: It is {better}., source: nobody, metric: bits-per-dim, better: {{prediction: {better}}}, than: {{prediction: {than}}}}}\n"
        )
    };
    let (right, wrong) = (claim("eps", "mu"), claim("mu", "eps"));
    let none = on(&["claims", "--require"], &format!("claims:\n{right}"));
    assert!(
        none.status.code() == Some(3) && stdout(&none).contains("Open, since there is no bits/dim of eps (not run"),
        "{}",
        stdout(&none)
    );
    let ran = on(&["ablate"], &format!("claims:\n{right}"));
    assert!(ran.status.success() && stdout(&ran).contains("1 claim: 1 supported"), "{}{}", stdout(&ran), stderr(&ran));
    let required = on(&["claims", "--require"], &format!("claims:\n{right}"));
    assert!(required.status.success() && stdout(&required).contains("Supported: It is eps (nobody). bits/dim "), "{}", stdout(&required));
    let both = on(&["claims", "--require", "--json"], &format!("claims:\n{right}{wrong}"));
    assert_eq!(
        (both.status.code(), stderr(&both).contains("claims that the seeds do not support: 1 of 2")),
        (Some(3), true),
        "{}",
        stderr(&both)
    );
    let found: Value = serde_json::from_str(&stdout(&both)).unwrap();
    assert_eq!((&found[0]["verdict"], &found[1]["verdict"], &found[1]["seeds"]), (&"supported".into(), &"contradicted".into(), &3.into()));
    assert_eq!(found[0]["difference"].as_f64().unwrap(), -found[1]["difference"].as_f64().unwrap());
    let silent = on(&["claims", "--require"], "");
    assert!(silent.status.success() && stdout(&silent).is_empty() && stderr(&silent).contains("makes no claims"), "{}", stderr(&silent));
}

#[test]
fn six_cells_become_a_table_and_pictures_and_a_second_run_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let first = ablate(dir.path(), &["--jobs", "2"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let table = stdout(&first);
    assert!(table.lines().all(|l| l.chars().count() <= 80 || l.ends_with("index.html")), "{table}");
    for row in ["mu", "eps", "fixed-large", "learned", "simple", "vlb"] {
        assert!(table.contains(row), "{table}");
    }
    let report = dir.path().join("table2-fashion-smoke");
    // The verdicts stand before the table, and as a table.
    let page = fs::read_to_string(report.join("README.md")).unwrap();
    let (verdicts, head) = (page.find("\n7 claims: ").unwrap(), page.find("\n| prediction |").unwrap());
    assert!(verdicts < head && page.contains("they are of these trainings"), "{page}");
    let claims = fs::read_to_string(report.join("claims.csv")).unwrap();
    assert!(claims.lines().count() == 8 && claims.contains(",\"Ho et al. 2020, Section 4.2\",fid,"), "{claims}");
    for name in
        ["samples", "progressive", "metrics", "training-loss", "rate-distortion", "loss-per-t", "bound-terms", "weights", "schedules"]
    {
        let picture = image::open(report.join(format!("figures/{name}.png"))).unwrap().to_rgb8();
        // Something is drawn: many colours, not a blank sheet.
        let colours: std::collections::HashSet<_> = picture.pixels().map(|p| p.0).collect();
        assert!(colours.len() > 10, "{name} has {} colours", colours.len());
    }
    // Every row whole: the cell, its own numbers, and the paper's numbers of this cell and of no other.
    let page = fs::read_to_string(report.join("README.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| mu |") || line.starts_with("| eps |")).collect();
    let paper = ["7.28 ± 0.10 | 23.69 |", "8.06 ± 0.09 | 13.22 |", "– | – |", "– | – |", "7.67 ± 0.13 | 13.51 |", "9.46 ± 0.11 | 3.17 |"];
    for ((row, job), paper) in rows.iter().zip(jobs(GRID, &[])).zip(paper) {
        let (diffusion, record) = (&job["config"]["diffusion"], numbers(dir.path(), &job).0);
        let word = |v: &Value| v.as_str().unwrap_or_else(|| v["kind"].as_str().unwrap()).to_string();
        let number = |metric: &str, digits: usize| {
            let measured = &record["metrics"][metric];
            format!("{:.digits$} ± {:.digits$}", measured["value"].as_f64().unwrap(), measured["std_err"].as_f64().unwrap())
        };
        let cells = [&diffusion["prediction"], &diffusion["objective"], &diffusion["variance"]].map(word).join(" | ");
        let numbers =
            [("inception-score", 2), ("fid", 2), ("bits-per-dim", 3), ("bits-per-dim-train", 3)].map(|(m, d)| number(m, d)).join(" | ");
        let name = if paper.starts_with("9.46") {
            " L_simple |"
        } else if page.contains("L_simple") {
            "  |"
        } else {
            ""
        };
        assert_eq!(*row, format!("| {cells} | {numbers} | {paper}{name}"), "{page}");
    }
    assert_eq!(rows.len(), 6, "{page}");
    assert!(page.contains("fashion-classifier"), "{page}");

    // The tables say what the records say.
    let metrics = CsvReadOptions::default().try_into_reader_with_file_path(Some(report.join("metrics.csv"))).unwrap().finish().unwrap();
    assert_eq!(metrics.height(), 6 * 10);
    let parquet = ParquetReader::new(fs::File::open(report.join("terms.parquet")).unwrap()).finish().unwrap();
    // Both splits' terms at each of 40 steps.
    assert_eq!(parquet.height(), 6 * 2 * 40);
    for (i, job) in jobs(GRID, &[]).iter().enumerate() {
        let (record, training) = numbers(dir.path(), job);
        let bits = record["metrics"]["bits-per-dim"]["value"].as_f64().unwrap();
        let bound = &record["bounds"]["bits-per-dim"]["bound"];
        let parts: f64 = ["prior", "variance_mismatch", "mean_error", "decoder"].iter().map(|k| bound[k].as_f64().unwrap()).sum();
        assert!((bits - parts).abs() < 1e-9 * bits.abs(), "{bits} {parts}");
        let in_table = metrics.column("value").unwrap().f64().unwrap().get(10 * i + 7).unwrap();
        assert_eq!(in_table, bits);
        assert_eq!(training["steps"], 40);
        assert_eq!(training["curve"].as_array().unwrap().len(), 40);
    }

    // All is as it was written, and what the store can do without changes nothing.
    let store = |what: &[&str]| run(&[&["store"], what, &["--results", dir.path().to_str().unwrap()]].concat());
    let verified = store(&["verify"]);
    assert!(verified.status.success() && stdout(&verified).ends_with(", 0 findings\n"), "{}", stdout(&verified));
    let listed = store(&["gc", "--samples"]);
    assert!(stdout(&listed).contains("samples/") && stdout(&listed).contains("--remove does it"), "{}", stdout(&listed));
    assert!(dir.path().join("samples").read_dir().unwrap().next().is_some());
    assert!(store(&["gc", "--samples", "--remove"]).status.success());
    assert!(dir.path().join("samples").read_dir().unwrap().next().is_none());

    let started = Instant::now();
    let second = ablate(dir.path(), &[]);
    assert_eq!((second.status.code(), stdout(&second)), (Some(0), table));
    assert!(stderr(&second).contains("6 jobs, 6 done, 0 to do"));
    assert!(started.elapsed() < Duration::from_secs(30));

    // Table 1's rows are there already.
    let table1 = run(&["ablate", "experiments/grids/table1.yaml", "--base", "fashion-smoke", "--results", dir.path().to_str().unwrap()]);
    assert!(stderr(&table1).contains("2 jobs, 2 done, 0 to do"), "{}", stderr(&table1));

    // A checkpoint can be sampled from and evaluated.
    let job = &jobs(GRID, &[])[5];
    let checkpoint = dir.path().join("training").join(job["training_id"].as_str().unwrap()).join("checkpoint.safetensors");
    let out = dir.path().join("s.png");
    let sampled = run(&[
        "sample",
        checkpoint.to_str().unwrap(),
        "--count",
        "4",
        "--set",
        "sampler={kind: ddim, steps: 5}",
        "-o",
        out.to_str().unwrap(),
    ]);
    assert!(sampled.status.success(), "{}", stderr(&sampled));
    assert_eq!(image::open(&out).unwrap().width(), 2 * 57 + 1);
    let evaluated = run(&["eval", checkpoint.to_str().unwrap(), "--images", "20", "--json"]);
    let evaluated: Value = serde_json::from_str(&stdout(&evaluated)).unwrap();
    let record = numbers(dir.path(), job).0;
    assert_eq!(evaluated["bits_per_dim"]["value"], record["metrics"]["bits-per-dim"]["value"]);
    let train = run(&["eval", checkpoint.to_str().unwrap(), "--train", "--json"]);
    let train: Value = serde_json::from_str(&stdout(&train)).unwrap();
    assert_eq!(train["bits_per_dim"]["value"], record["metrics"]["bits-per-dim-train"]["value"]);
    assert_ne!(train["bits_per_dim"]["value"], evaluated["bits_per_dim"]["value"]);
    // In words every number stands under its own name.
    let words = stdout(&run(&["eval", checkpoint.to_str().unwrap(), "--images", "20"]));
    let (bound, under) = (&evaluated["bound"], &evaluated["under"]);
    for (name, value) in [
        ("prior L_T", &bound["prior"]),
        ("variance mismatch", &bound["variance_mismatch"]),
        ("mean error", &bound["mean_error"]),
        ("decoder L_0", &bound["decoder"]),
        ("fixed-small", &under["fixed_small"]),
        ("fixed-large", &under["fixed_large"]),
        ("the best", &under["optimal"]),
    ] {
        let line = words.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{name}: {words}"));
        assert!(line.ends_with(&format!(" {:.6}", value.as_f64().unwrap())), "{line}, {value}");
    }
}

/// What is exported is the average, or the weights as trained where those are asked for; and every number of it can be brought back.
#[test]
fn an_export_is_the_average() {
    let dir = results();
    let small = ["network.block_size=1", "network.multipliers=[1]", "network.attention=[]", "steps=4", "sampling.count=10", "timesteps=25"];
    let kept = ["ema_decay=0.9", "training.optimiser.ema_kept=[0.5, 0.9]"];
    let job = &jobs(GRID, &[&small[..], &kept, &["evaluation.held_out=2", "evaluation.train=2"]].concat())[5];
    assert!(start(dir.path(), job, 2).wait().unwrap().success());
    let checkpoint = dir.path().join("training").join(job["training_id"].as_str().unwrap()).join("checkpoint.safetensors");
    let config: ddpm_runner::experiment::Config = serde_json::from_value(job["config"].clone()).unwrap();
    let unet = config.unet(ddpm_model::network::ImageShape { height: 28, width: 28, channels: 1 });
    let place = unet.parameters().iter().take_while(|p| p.name != "out.norm.gamma").map(|p| p.len()).sum::<usize>();
    let states =
        |path: &Path, decays: &[f64]| ddpm_model::checkpoint::read_state(&fs::read(path).unwrap(), unet.parameters(), decays).unwrap();
    let trained = states(&checkpoint, &[0.5, 0.9]);
    let of = |decay: f64| &trained.average(decay).unwrap()[place..place + 16];
    assert!(of(0.0) != of(0.5) && of(0.5) != of(0.9) && of(0.0) != of(0.9));
    for (flags, decay) in [(&[][..], 0.9), (&["--raw"], 0.0), (&["--set", "ema_decay=0.5"], 0.5), (&["--set", "ema_decay=0"], 0.0)] {
        let weights = trained.average(decay).unwrap().to_vec();
        let out = dir.path().join(format!("exported{}", flags.concat()));
        let exported = run(&[&["export", "diffusers", checkpoint.to_str().unwrap(), out.to_str().unwrap()], flags].concat());
        assert!(exported.status.success(), "{}", stderr(&exported));
        let tensors = ddpm_model::tensor::load(out.join("diffusion_pytorch_model.safetensors"), &ddpm_model::tensor::Device::Cpu).unwrap();
        assert_eq!(tensors["conv_norm_out.weight"].to_vec1::<f32>().unwrap(), weights[place..place + 16], "{flags:?}");
        let back = dir.path().join("back.safetensors");
        let words = ["import", "diffusers", out.to_str().unwrap(), "-o", back.to_str().unwrap(), "--base", "fashion-smoke"];
        let imported = run(&words);
        assert!(imported.status.success(), "{}", stderr(&imported));
        // What comes from elsewhere has the averages of the base that it is read with.
        assert_eq!(states(&back, &[0.9]), TrainState::new(weights.clone(), &[0.9]));
        let described = ddpm_model::checkpoint::description(&fs::read(&back).unwrap()).unwrap().unwrap();
        let described: ddpm_runner::store::CheckpointMeta = serde_json::from_str(&described).unwrap();
        // Their configurations give a schedule's numbers, not for how many steps they were made.
        let (schedule, stretch) = (config.diffusion.schedule.clone(), 1000.0 / config.diffusion.timesteps as f64);
        let Schedule::Linear { beta_start, beta_end } = schedule else { panic!("{schedule:?}") };
        let schedule = Schedule::Linear { beta_start: beta_start * stretch, beta_end: beta_end * stretch };
        let diffusion = Setup { schedule, beta_scale: BetaScale::AsGiven, ..config.diffusion.clone() };
        assert_eq!((&described.config.network, &described.config.diffusion), (&config.network, &diffusion));
        assert_eq!((described.step, described.data), (0, None));
    }
}

fn start(results: &Path, job: &Value, threads: usize) -> Child {
    start_ranks(results, job, threads, 1)
}

fn start_ranks(results: &Path, job: &Value, threads: usize, ranks: usize) -> Child {
    let mut child = ddpm()
        .args(["run", "-", "--checkpoint-every", "0", "--results", results.to_str().unwrap(), "--ranks", &ranks.to_string()])
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(job_text(job).as_bytes()).unwrap();
    child
}

/// `kill -9` in mid-training, several times, and other numbers of threads: the same bits as an undisturbed run.
#[test]
fn neither_kills_nor_threads_change_a_bit() {
    // Dropout, flips, two shards and a learned variance: every random stream is used. Three averages, and two snapshots on the way.
    let sets = [
        "training.optimiser.ema_kept=[0.5, 0.9, 0.99]",
        "evaluation.at=[20, 45]",
        "training.optimiser.clip_shards=2",
        "training.decay=linear",
        "steps=60",
        "evaluation.held_out=4",
        "evaluation.train=4",
        "sampling.count=10",
    ];
    let (ends, moments): (Vec<Value>, Vec<Value>) = jobs(GRID, &sets).into_iter().partition(|job| job["at"].is_null());
    let (job, along) = (&ends[3], &moments[2 * 3]);
    assert_eq!((&along["training_id"], &along["at"]), (&job["training_id"], &Value::from(20)));
    let undisturbed = results();
    assert!(start(undisturbed.path(), job, 2).wait().unwrap().success());
    let expected = numbers(undisturbed.path(), job);
    assert!(start(undisturbed.path(), along, 2).wait().unwrap().success());
    let expected_along = numbers(undisturbed.path(), along);

    let single = results();
    assert!(start(single.path(), job, 1).wait().unwrap().success());
    assert_eq!(numbers(single.path(), job), expected);

    // Two processes, each with one of the two shards; a third would have none.
    let shared = results();
    assert!(start_ranks(shared.path(), job, 1, 2).wait().unwrap().success());
    assert_eq!(numbers(shared.path(), job), expected);
    // Made anew by both, as far as it goes.
    fs::remove_file(shared.path().join("training").join(job["training_id"].as_str().unwrap()).join("at-20.safetensors")).unwrap();
    let retraced = start_ranks(shared.path(), along, 1, 2).wait_with_output().unwrap();
    assert!(retraced.status.success() && stderr(&retraced).is_empty(), "{}", stderr(&retraced));
    assert_eq!(numbers(shared.path(), along), expected_along);
    let refused = start_ranks(shared.path(), job, 1, 3).wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(4));
    assert!(stderr(&refused).contains("training.optimiser.clip_shards: expected a multiple of the 3 ranks, got 2"), "{}", stderr(&refused));

    // A group that loses its leader, and then a member, and goes on alone.
    let split = results();
    let training = split.path().join("training").join(job["training_id"].as_str().unwrap());
    for leader in [true, false] {
        let mut child = start_ranks(split.path(), job, 1, 2);
        await_progress(&training, step_of(&training) + 3);
        if leader {
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            for member in children(child.id()) {
                std::process::Command::new("kill").args(["-9", &member.to_string()]).status().unwrap();
            }
            let output = child.wait_with_output().unwrap();
            assert!(stderr(&output).contains("rank 1 does not answer"), "{}", stderr(&output));
        }
    }
    assert!(step_of(&training) < 60);
    assert!(start(split.path(), job, 2).wait().unwrap().success());
    assert_eq!(numbers(split.path(), job), expected);

    let killed = results();
    let training = killed.path().join("training").join(job["training_id"].as_str().unwrap());
    for _ in 0..3 {
        let mut child = start(killed.path(), job, 2);
        await_progress(&training, step_of(&training) + 3);
        assert!(
            child.try_wait().unwrap().is_none() && !training.join("training.json").exists(),
            "the training was over before it could be killed"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(step_of(&training) < 60);
    assert!(start(killed.path(), job, 2).wait().unwrap().success());
    assert_eq!(numbers(killed.path(), job), expected);

    // The parent of all jobs killed: its job's process ends with it, and the next ablate finishes the same numbers.
    let orphaned = results();
    let training = orphaned.path().join("training").join(job["training_id"].as_str().unwrap());
    let mut arguments =
        vec!["ablate", GRID, "--base", "fashion-smoke", "--checkpoint-every", "0", "--results", orphaned.path().to_str().unwrap()];
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    let mut parent = ddpm().args(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    await_progress(&training, 3);
    parent.kill().unwrap();
    parent.wait().unwrap();
    let again = run(&arguments);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(numbers(orphaned.path(), job), expected);
}

/// The step of a training's checkpoint, 0 where there is none.
fn step_of(training: &Path) -> u64 {
    let Ok(bytes) = fs::read(training.join("checkpoint.safetensors")) else { return 0 };
    let described: Value = serde_json::from_str(&ddpm_model::checkpoint::description(&bytes).unwrap().unwrap()).unwrap();
    described["step"].as_u64().unwrap()
}

fn await_progress(training: &Path, step: u64) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while step_of(training) < step {
        assert!(Instant::now() < deadline, "no checkpoint at step {step}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Two processes at the same job: one does it, the other waits and finds it done.
#[test]
fn a_job_is_done_once() {
    let dir = results();
    let job = &jobs(GRID, &[])[5];
    let (mut first, mut second) = (start(dir.path(), job, 1), start(dir.path(), job, 1));
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
    let third = start(dir.path(), job, 1).wait().unwrap();
    assert!(third.success());
    // Whoever came second, or third, found it done: it was begun and ended once.
    let history = fs::read_to_string(dir.path().join("runs").join(job["id"].as_str().unwrap()).join("history.jsonl")).unwrap();
    assert_eq!((history.matches("\"begun\"").count(), history.matches("\"ended\"").count()), (1, 1), "{history}");
}

/// A rate that no network survives: the job ends early, the table has a dash with its reason, and that is a result (exit 0).
#[test]
fn divergence_is_a_result() {
    let dir = results();
    let sets =
        ["--set", "learning_rate=1.0e+30", "--set", "training.optimiser.clip_norm=1.0e+30", "--set", "training.optimiser.warmup_steps=0"];
    let output = ablate(dir.path(), &sets);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("– [1]") && stdout(&output).contains("training diverged at step"), "{}", stdout(&output));
}

/// A job whose process dies leaves a record that says so, the others go on, and the exit code is 3.
#[test]
fn a_crash_costs_one_job() {
    let dir = results();
    let job = &jobs(GRID, &[])[0];
    let training = dir.path().join("training").join(job["training_id"].as_str().unwrap());
    fs::create_dir_all(&training).unwrap();
    fs::write(training.join("checkpoint.safetensors"), b"not a checkpoint").unwrap();
    let output = ablate(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("1 jobs are not done:") && stderr(&output).contains("cannot be resumed from"), "{}", stderr(&output));
    fs::remove_file(training.join("checkpoint.safetensors")).unwrap();
    let again = ablate(dir.path(), &[]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert!(stderr(&again).contains("6 jobs, 5 done, 1 to do"));
}
