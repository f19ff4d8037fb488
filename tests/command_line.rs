//! What is printed where, to how many digits, and with which exit code.

mod support;

use serde_json::Value;
use support::*;

/// Every schedule, against numbers that another program made from the authors' formulas.
#[test]
fn schedules_are_printed_to_the_last_digit() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("golden/schedules.json")).unwrap();
    let columns = [
        "beta",
        "alpha",
        "alpha_bar",
        "snr",
        "posterior_variance",
        "posterior_mean_coef_x0",
        "posterior_mean_coef_xt",
        "log_sigma2_small",
        "log_sigma2_large",
    ];
    for kind in ddpm_core::Schedule::all().map(|schedule| schedule.kind()) {
        let output = run(&["schedule", "--kind", kind, "--timesteps", "1000", "--format", "csv"]);
        let text = stdout(&output);
        let mut lines = text.lines();
        assert_eq!(lines.next().unwrap(), format!("t,{}", columns.join(",")));
        let rows: Vec<Vec<&str>> = lines.map(|l| l.split(',').collect()).collect();
        assert_eq!(rows.len(), 1000);
        for (t, row) in rows.iter().enumerate() {
            assert_eq!(row[0], (t + 1).to_string());
            // 17 significant digits.
            assert!(
                row[1..].iter().all(|v| v.trim_start_matches('-').split('e').next().unwrap().len() == 18 || v.contains("inf")),
                "{row:?}"
            );
        }
        for (t, expected) in golden[kind].as_object().unwrap() {
            for (name, expected) in columns.iter().zip(expected.as_array().unwrap()) {
                let place = columns.iter().position(|c| c == name).unwrap();
                let got: f64 = rows[t.parse::<usize>().unwrap() - 1][place + 1].parse().unwrap();
                let expected = expected.as_f64().unwrap();
                assert!((got - expected).abs() <= 1e-10 * expected.abs(), "{kind} t = {t} {name}: {got} {expected}");
            }
        }
    }
}

/// With another T the two scales differ: as given, and as for a thousand steps.
#[test]
fn a_schedule_is_scaled_where_that_is_asked() {
    let last = |flags: &[&str]| {
        let output = run(&[&["schedule", "--kind", "linear", "--timesteps", "100", "--format", "csv"], flags].concat());
        let text = stdout(&output);
        text.lines().last().unwrap().split(',').nth(1).unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(last(&[]), 0.02);
    assert!((last(&["--per-1000-steps"]) - 0.2).abs() < 1e-12);
}

#[test]
fn a_bad_configuration_ends_with_4_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let results = dir.path().join("results");
    for command in ["ablate", "plan", "status", "report"] {
        let output = run(&[command, "experiments/grids/table2.yaml", "--set", "learning_rat=1", "--results", results.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(4), "{command}");
        assert!(
            stderr(&output).contains("--set learning_rat=1") && stderr(&output).contains("did you mean learning_rate?"),
            "{}",
            stderr(&output)
        );
        assert!(stdout(&output).is_empty() && !results.exists(), "{command}");
    }
    let missing = run(&["plan", "no-such-grid.yaml"]);
    assert_eq!(missing.status.code(), Some(4));
    assert!(stderr(&missing).contains("no-such-grid.yaml: cannot be read"));
    assert_eq!(run(&["schedule", "--kind", "linear", "--timesteps", "1"]).status.code(), Some(4));
    assert_eq!(run(&["schedule", "--kind", "lineal"]).status.code(), Some(2));
}

/// Numbers that nobody means, and names that do not exist: refused where they were given, with what would do.
#[test]
fn slips_are_told_with_what_was_expected() {
    let told = |flags: &[&str], expected: &[&str]| {
        let output = run(&[&["status", "experiments/grids/table2.yaml", "--results", NOWHERE], flags].concat());
        assert_eq!(output.status.code(), Some(4), "{flags:?}: {}", stderr(&output));
        expected.iter().for_each(|words| assert!(stderr(&output).contains(words), "{flags:?}: {}", stderr(&output)));
    };
    for inner in ["0", "1000000000", "18446744073709551615"] {
        let sampler = format!("sampler={{kind: langevin, step_size: 0.1, inner: {inner}}}");
        told(&["--set", &sampler], &["inner: expected at least 1, and no more than a million steps in all"]);
    }
    // 32 times this is 32 where numbers wrap around.
    told(
        &["--set", "network.multipliers=[1, 576460752303423489]"],
        &["multipliers: expected at most 16384 channels", "576460752303423489"],
    );
    told(&["--set", "training.batch=9001"], &["--set training.batch=9001: training.batch: expected at most the 9000 images"]);
    // What other programs call it.
    let other = run(&["status", "experiments/grids/samplers.yaml", "--set", "prediction=epsilon", "--results", NOWHERE]);
    assert!(stderr(&other).contains("diffusion.prediction: unknown name epsilon (did you mean eps?)"), "{}", stderr(&other));
    told(&["--set", "training.optimiser={lr: 1.0e-3}"], &["training.optimiser.lr: unknown key (did you mean learning_rate?)"]);
    told(&["--set", "training.batch_size=4"], &["training.batch_size: unknown key (did you mean batch?)"]);
    told(&["--set", "network.ch_mult=[1, 2]"], &["network.ch_mult: unknown key (did you mean multipliers?)"]);
    told(&["--base", "nope"], &["base nope: expected a file, or a name in", "cifar10-paper, ", "fashion-cpu, "]);
    let nowhere = run(&["store", "verify", "--results", NOWHERE]);
    assert_eq!(nowhere.status.code(), Some(5));
    assert!(stderr(&nowhere).contains("expected the folder of results"), "{}", stderr(&nowhere));
}

/// By names, from anywhere in the repository; a name that is none is answered with the nearest.
#[test]
fn grids_and_bases_go_by_their_names() {
    let inside = |dir: &str, arguments: &[&str]| ddpm().current_dir(root().join(dir)).args(arguments).output().unwrap();
    let files =
        run(&["plan", "experiments/grids/table2.yaml", "--base", "experiments/bases/fashion-smoke.yaml", "--json", "--results", NOWHERE]);
    let expected: Value = serde_json::from_str(&stdout(&files)).unwrap();
    let ids = |plan: &Value| plan["jobs"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect::<Vec<_>>();
    for dir in [".", "crates/runner/src", "experiments/grids"] {
        let output = inside(dir, &["plan", "table2", "fashion-smoke", "--json", "--results", NOWHERE]);
        let plan: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{dir}: {}", stderr(&output)));
        assert_eq!(ids(&plan), ids(&expected), "{dir}");
    }
    // The grid that is meant where none is named; other seeds than its own.
    let output = run(&["plan", "--base", "fashion-smoke", "--seeds", "3,5-6", "--json", "--results", NOWHERE]);
    let plan: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&plan["experiment"], plan["jobs"].as_array().unwrap().len()), (&"table2-fashion-smoke-seeds-3,5-6".into(), 18));
    assert!(plan["jobs"].as_array().unwrap().iter().all(|job| [3, 5, 6].map(Value::from).contains(&job["seed"])));
    let own: Value =
        serde_json::from_str(&stdout(&run(&["plan", "table2", "fashion-smoke", "--seeds", "0", "--json", "--results", NOWHERE]))).unwrap();
    assert_eq!((&own["experiment"], ids(&own)), (&"table2-fashion-smoke".into(), ids(&expected)));
    for (arguments, code, expected) in [
        (&["plan", "tabel2"][..], 4, "error: grid tabel2: expected a file, or a name in experiments/grids (did you mean table2?)"),
        (&["plan", "table2", "fashion-smok"], 4, "(did you mean fashion-smoke?)"),
        (&["plan", "nothing-like-it"], 4, "(known: anatomy, averages, celebahq, clipping, cosine, langevin, lsun, "),
        (&["plan", "table2", "fashion-smoke", "--base", "fashion-cpu"], 2, "cannot be used with"),
        (&["plan", "table2", "--seeds", "5-3"], 2, "expected the smaller seed first, got 5-3"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
    let outside = tempfile::tempdir().unwrap();
    let output = ddpm().current_dir(outside.path()).args(["plan", "table2"]).output().unwrap();
    assert!(output.status.code() == Some(4) && stderr(&output).contains("neither here nor in a folder above"), "{}", stderr(&output));
    // All that there are, each with what it is.
    let listings = [run(&["grids"]), inside("crates", &["bases"])];
    // What cannot be read is named on the other stream.
    assert!(listings.iter().all(|listing| listing.status.success() && listing.stderr.is_empty()), "{listings:?}");
    let [grids, bases] = listings.map(|listing| stdout(&listing));
    assert!(
        grids.starts_with("anatomy: ") && grids.contains("\ntable2: Which parameterisation, objective and reverse variance?"),
        "{grids}"
    );
    assert!(bases.contains("\nfashion-smoke: fashion-mnist, T = 40, 16 channels [1 1], 40 steps of 16 images\n"), "{bases}");
    assert!(grids.lines().chain(bases.lines()).all(|line| line.chars().count() <= 80), "{grids}{bases}");
    let listed: Value = serde_json::from_str(&stdout(&run(&["grids", "--json"]))).unwrap();
    let names = std::fs::read_dir(root().join("experiments/grids")).unwrap().count();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (names, &"anatomy".into()));
}

#[test]
fn missing_data_end_with_5_and_name_the_file() {
    let output = run(&["plan", "experiments/grids/table2.yaml", "--base", "cifar10-paper", "--set", "data.path=/nowhere"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("/nowhere/data_batch_1.bin: cannot be read"), "{}", stderr(&output));
    assert_eq!(run(&["sample", "no-such-checkpoint"]).status.code(), Some(5));
}

#[test]
fn the_plan_lists_six_jobs_with_their_whole_configurations() {
    let output = run(&["plan", "experiments/grids/table2.yaml", "--base", "fashion-cpu", "--json", "--results", NOWHERE]);
    let plan: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let jobs = plan["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 6);
    let choices: Vec<String> =
        jobs.iter().map(|j| ["prediction", "variance"].map(|k| j["config"]["diffusion"][k].as_str().unwrap()).join(" ")).collect();
    assert_eq!(choices, ["mu learned", "mu fixed-large", "mu fixed-large", "eps learned", "eps fixed-large", "eps fixed-large"]);
    for job in jobs {
        assert_eq!(job["config"]["training"]["optimiser"]["epsilon"], 1e-8, "defaults are written out");
        // Three passes of two operations for each multiplication, for every image of every step.
        let config = &job["config"]["training"];
        let images = config["steps"].as_f64().unwrap() * config["batch"].as_f64().unwrap();
        let shape = ddpm_model::network::ImageShape { height: 28, width: 28, channels: 1 };
        let whole: ddpm_runner::experiment::Config = serde_json::from_value(job["config"].clone()).unwrap();
        assert_eq!(job["cost"]["train_flops"].as_f64().unwrap(), 6.0 * whole.unet(shape).macs() as f64 * images);
        let (speed, cost) = (&job["speed_flops"], &job["cost"]);
        let of = |v: &serde_json::Value, key: &str| v[key].as_f64().unwrap();
        let forward = (of(cost, "sample_flops") + of(cost, "evaluate_flops")) / of(speed, "forward");
        let seconds = of(cost, "train_flops") / of(speed, "train") + forward;
        assert!((job["estimated_s"].as_f64().unwrap() - seconds).abs() < 0.05 * seconds, "{job}");
        assert_eq!(job["state"]["state"], "missing");
    }
    let text = stdout(&run(&["plan", "experiments/grids/section4.yaml", "--results", NOWHERE]));
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
}

#[test]
fn a_plan_counts_what_jobs_share_once() {
    let jobs = jobs("experiments/grids/section4.yaml", &[]);
    let number = |job: &serde_json::Value, which: &str, what: &str| job[which][what].as_f64().unwrap();
    for (part, id) in [("train_flops", "training_id"), ("sample_flops", "sampling_id")] {
        // Of all jobs with one training, or one set of samples, the first has its cost left and the others nothing.
        let mut seen = std::collections::HashSet::new();
        for job in jobs.iter().filter(|job| number(job, "cost", part) > 0.0) {
            let left = if seen.insert(job[id].as_str().unwrap()) { number(job, "cost", part) } else { 0.0 };
            assert_eq!(number(job, "left", part), left, "{part} of {}", job["id"]);
        }
        assert_eq!(seen.len(), 6, "{part}");
    }
    let of = |kind: &str| jobs.iter().find(|job| job["study"]["kind"] == kind).unwrap();
    assert_eq!(number(of("shared-latents"), "cost", "sample_flops"), 0.0);
    // Eight images from T, 3T/4, T/2 and T/4, and one up to there: 4 + 7 (1 + 3/4 + 1/2 + 1/4) = 21.5 whole walks, of `count` for all samples.
    let walks = number(of("shared-latents"), "cost", "evaluate_flops") / number(of("reverse-time"), "cost", "sample_flops");
    let count = of("reverse-time")["config"]["sampling"]["count"].as_f64().unwrap();
    assert!((walks * count - 21.5).abs() < 0.5, "{walks}");
}

#[test]
fn data_and_doctor_say_what_is_there() {
    let data = stdout(&run(&["data", "fashion-mnist"]));
    assert!(data.contains("9000 training images, 1000 held out") && data.contains("ankle boot"), "{data}");
    let doctor = stdout(&run(&["doctor"]));
    assert!(doctor.contains("portable") && doctor.contains("accuracy"), "{doctor}");
    let limited = stdout(&ddpm().arg("doctor").env("DDPM_ISA", "portable").output().unwrap());
    assert!(limited.contains("kernels     portable in use") && limited.contains("convolutions: winograd"), "{limited}");
}

/// Who asks for kernels that there are none of gets no others.
#[test]
fn kernels_that_no_one_knows_are_refused() {
    let schedule = ["schedule", "--kind", "linear", "--timesteps", "2"];
    for (variable, wrong, known) in
        [("DDPM_ISA", "portible", "one of portable, avx2"), ("DDPM_CONV", "winogrod", "one of direct, winograd")]
    {
        let with = |value: &str, command: &[&str]| ddpm().args(command).env(variable, value).output().unwrap();
        let refused = with(wrong, &schedule);
        assert_eq!(refused.status.code(), Some(4));
        assert!(stderr(&refused).contains(&format!("{variable}: expected {known}")), "{}", stderr(&refused));
        assert!(stderr(&refused).contains(&format!("got \"{wrong}\"")), "{}", stderr(&refused));
        assert_eq!(with("", &schedule).status.code(), Some(0));
        let doctor = with(wrong, &["doctor"]);
        let said = format!("got \"{wrong}\"; other commands do not run");
        assert!(doctor.status.success() && stdout(&doctor).contains(&said), "{}", stdout(&doctor));
    }
    let direct = stdout(&ddpm().arg("doctor").env("DDPM_CONV", "direct").output().unwrap());
    assert!(direct.contains("convolutions: direct, as DDPM_CONV asks"), "{direct}");
}

/// An element of an array does its own line of the plan, and no other.
/// What `bench` says is what it measured: the paper's network has the paper's size, a step is three forward passes, and speeds are made of
/// the times beside them.
#[test]
fn a_benchmark_is_of_what_it_says() {
    let small = ["--channels", "8", "--mult", "1,2", "--blocks", "1", "--attention", "4", "--groups", "4", "--side", "8", "--colours", "1"];
    let bench = |words: &[&str]| {
        let done = run(&[&["bench"], words, &["--json"]].concat());
        assert!(done.status.success(), "{}", stderr(&done));
        let said: serde_json::Value = serde_json::from_str(&stdout(&done)).unwrap();
        let of = |key: &str| said[key].as_f64().unwrap_or_else(|| panic!("{key}: {said}"));
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
        assert!(close(of("img_per_s") * of("s_median"), of("batch")) && of("s_min") <= of("s_median"), "{said}");
        assert!(close(of("flop_per_s"), of("flops_per_image") * of("img_per_s")), "{said}");
        assert!(close(of("executed_flop_per_s"), of("executed_flops_per_image") * of("img_per_s")), "{said}");
        assert!(close(of("share_of_peak") * of("peak_flop_per_s"), of("executed_flop_per_s")), "{said}");
        // A processor of this century, and a process that has begun.
        assert!((1e9..1e15).contains(&of("peak_flop_per_s")) && (1.0..1e6).contains(&of("peak_mib")), "{said}");
        said
    };
    // Section 4: 35.7 million parameters for CIFAR-10. What the layers multiply is counted in the model's own tests.
    let paper = bench(&["forward", "--batch", "1", "--steps", "1", "--warmup", "0"]);
    assert_eq!(
        (&paper["parameters"], &paper["batch"], &paper["steps"], &paper["work"]),
        (&35_746_307.into(), &1.into(), &1.into(), &"forward".into())
    );
    assert!((paper["flops_per_image"].as_f64().unwrap() / (2.0 * 6.222e9) - 1.0).abs() < 1e-3, "{paper}");
    let started = std::time::Instant::now();
    let step = bench(&[&["train-step", "--batch", "3", "--steps", "4", "--warmup", "1", "--breakdown"], &small[..]].concat());
    let took = started.elapsed().as_secs_f64();
    let forward = bench(&[&["forward", "--batch", "3", "--steps", "2", "--breakdown", "--precision", "bf16"], &small[..]].concat());
    assert_eq!(step["flops_per_image"].as_f64().unwrap(), 3.0 * forward["flops_per_image"].as_f64().unwrap());
    assert_eq!((&step["precision"], &forward["precision"], &step["objective"]["kind"]), (&"f32".into(), &"bf16".into(), &"simple".into()));
    let parts: Vec<(String, f64)> = serde_json::from_value(step["breakdown"].clone()).unwrap();
    for name in ["noise and noisy images", "clipping, Adam and average"] {
        assert_eq!(parts.iter().filter(|part| part.0 == name).count(), 1, "{parts:?}");
    }
    assert!(
        parts.len() > 4 && parts.iter().all(|part| part.1 > 0.0) && 4.0 * parts.iter().map(|part| part.1).sum::<f64>() < took,
        "{parts:?}"
    );
    let bound = bench(&[&["train-step", "--batch", "1", "--steps", "1", "--warmup", "0", "--bound"], &small[..]].concat());
    assert_eq!((&bound["objective"]["kind"], &bound["variance"]), (&"vlb".into(), &"learned".into()));
    // The same in words.
    let done = run(&[&["bench", "train-step", "--batch", "3", "--steps", "2", "--breakdown"], &small[..]].concat());
    let text = stdout(&done);
    let numbers = |start: &str| -> Vec<f64> {
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"));
        line.split(|c: char| !(c.is_ascii_digit() || c == '.')).filter_map(|word| word.parse().ok()).collect()
    };
    let (median, speed, shares) = (numbers("median"), numbers("speed"), text.lines().filter(|line| line.ends_with('%')).count());
    // As far as the digits that are printed say it: 0.1 ms, 0.1 images a second, whole GFLOP/s and percents.
    let rate = 3.0 / median[0].max(1e-4);
    assert!((median[1] - rate).abs() <= 0.1 + rate * 6e-5 / median[0].max(1e-4) * 2.0, "{text}");
    assert!(median[2] <= median[0] && median[3] == 2.0, "{text}");
    // The share is of what is executed, which is said where it is not all.
    let [.., executed, percent, peak] = speed[..] else { panic!("{text}") };
    let share = executed / peak;
    assert!((share - percent / 100.0).abs() <= 0.6 * (1.0 + share) / peak + 0.006 && shares > 4, "{text}");
    // Few of them, on a busy machine, may round to the same.
    assert!(speed.len() == 4 && (executed < speed[0] || executed == speed[0] && speed[0] < 5.0), "{text}");
    for (words, code, part) in [
        (&["--batch", "0"][..], 4, "--batch: expected at least 1, got 0"),
        (&["--algorithms"], 4, "expected a GPU for --algorithms, got cpu"),
        (&["--attention", "5"], 4, "attention"),
        (&["--device", "cuda:9999"], 5, "cuda:9999"),
    ] {
        let done = run(&[&["bench", "forward"], words].concat());
        assert!(done.status.code() == Some(code) && stderr(&done).contains(part), "{words:?}: {}", stderr(&done));
    }
}

/// Images alone, in memory or prepared, and the steps that wait for them.
#[test]
fn a_benchmark_reads_images() {
    let cache = tempfile::tempdir().unwrap();
    let images = cache.path().join("images");
    std::fs::create_dir(&images).unwrap();
    for i in 0..40u8 {
        image::GrayImage::from_pixel(28, 28, image::Luma([i])).save(images.join(format!("{i}.png"))).unwrap();
    }
    let base = cache.path().join("base.yaml");
    let smoke = std::fs::read_to_string(root().join("experiments/bases/fashion-smoke.yaml")).unwrap();
    let line = smoke.lines().find(|line| line.starts_with("data:")).unwrap();
    std::fs::write(&base, smoke.replace(line, &format!("data: {{kind: folder, path: {}, held_out: 8}}", text(&images)))).unwrap();
    let bench = |words: &[&str]| -> serde_json::Value {
        let done = run(&[&["bench"], words, &["--base", text(&base), "--json", "--batch", "4", "--warmup", "1", "--steps", "3"]].concat());
        assert!(done.status.success(), "{}", stderr(&done));
        serde_json::from_slice(&done.stdout).unwrap()
    };
    let at = cache.path().join("cache");
    for (words, form) in [(&["images"][..], "memory"), (&["images", "--cache", text(&at)], "bytes")] {
        let said = bench(words);
        let of = |key: &str| said[key].as_f64().unwrap();
        assert_eq!((&said["form"], &said["batch"], &said["batches"]), (&form.into(), &4.into(), &3.into()));
        assert!(of("img_per_s") > 0.0 && of("bytes_per_s") == of("img_per_s") * 784.0, "{said}");
        assert_eq!(of("img_per_s_per_thread") * of("threads"), of("img_per_s"));
    }
    let step = bench(&["train-step", "--images"]);
    let (waited, all) = (step["waited_s"].as_f64().unwrap(), step["s_median"].as_f64().unwrap());
    assert!(waited > 0.0 && waited < all, "{step}");
    assert!(bench(&["train-step"]).get("waited_s").is_none());
    let said = run(&["bench", "images", "--base", text(&base), "--steps", "2"]);
    assert!(stdout(&said).contains("images: 28x28x1, memory, batch "), "{}", stdout(&said));
    for (words, part) in [
        (&["images"][..], "expected --base, whose images are read"),
        (&["forward", "--images", "--base", text(&base)], "expected train-step on the processor for --images"),
        (&["images", "--plan", "--base", text(&base)], "expected train-step or forward"),
    ] {
        let done = run(&[&["bench"], words].concat());
        assert!(done.status.code() == Some(4) && stderr(&done).contains(part), "{words:?}: {}", stderr(&done));
    }
}

/// Both schemas are JSON, with the words that the types are documented with.
#[test]
fn schemas_say_what_keys_mean() {
    for (of, words) in [("grid", "What is asked, in a sentence"), ("base", "The paper: 800,000 on CIFAR-10")] {
        let text = stdout(&run(&["schema", of]));
        let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(schema["properties"].as_object().unwrap().len() >= 6 && text.contains(words), "{of}");
    }
}

#[test]
fn an_element_does_its_own_line() {
    let dir = results();
    let sets = ["steps=1", "sampling.count=10", "evaluation.held_out=1", "evaluation.train=1", "sampler={kind: ddim, steps: 2}"];
    let jobs = &jobs("experiments/grids/table1.yaml", &sets);
    let plan = dir.path().join("plan.jsonl");
    std::fs::write(&plan, jobs.iter().map(|job| format!("[{}]\n", job_text(job))).collect::<String>()).unwrap();
    let work = |element: &str| run(&["work", plan.to_str().unwrap(), element, "--results", dir.path().to_str().unwrap()]);
    let done = work("1");
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let there = |job: &serde_json::Value| dir.path().join("runs").join(job["id"].as_str().unwrap()).join("record.json").exists();
    assert_eq!((there(&jobs[0]), there(&jobs[1])), (false, true));
    assert!(stderr(&work("2")).contains("expected an element below 2, got 2"));
}

/// A value that cannot be one is told as that, and a picture's name as what it would not be.
#[test]
fn wrong_values_are_named() {
    for (arguments, words) in [
        (&["sample", "x.safetensors", "--seed", "-1"][..], "invalid value '-1' for '--seed"),
        (&["eval", "x.safetensors", "--images", "-5"], "invalid value '-5' for '--images"),
        (&["sample", "x.safetensors", "-o", "s.jpg"], "expected a name that ends in .png"),
        (&["data", "fashion-mnist", "-o", "s"], "expected a name that ends in .png"),
    ] {
        let output = run(arguments);
        assert!(output.status.code() == Some(2) && stderr(&output).contains(words), "{arguments:?}: {}", stderr(&output));
    }
}
