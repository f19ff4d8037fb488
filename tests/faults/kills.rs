//! Processes that are killed or asked to stop.

use crate::*;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Kills at random moments until the grid is done, again and again.
pub fn kills(effort: Effort) -> Found {
    let (wanted, mut chance) = (effort.of(100, 6), Chance::by_the_clock());
    let (mut kills, mut grids) = ([0; 3], 0);
    while kills.iter().sum::<usize>() < wanted {
        let (dir, mut seen) = (results(), BTreeMap::new());
        loop {
            let mut parent = start(dir.path());
            let moment = Duration::from_millis(chance.below(2500) as u64);
            let (whom, started) = (chance.below(3), Instant::now());
            while started.elapsed() < moment && parent.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if parent.try_wait().unwrap().is_none() && kills.iter().sum::<usize>() < wanted {
                let jobs = children(parent.id());
                if whom != 1 {
                    jobs.iter().take(if whom == 0 { 1 } else { 2 }).for_each(|pid| kill("-9", *pid));
                }
                if whom != 0 {
                    parent.kill().unwrap();
                }
                // A job killed between two others may not be there: then nothing was killed.
                if whom != 0 || !jobs.is_empty() {
                    kills[whom] += 1;
                }
            }
            let over = parent.wait().unwrap().success();
            let (before, now) = (std::mem::take(&mut seen), records(dir.path()));
            assert!(before.iter().all(|(run, file)| now.get(run) == Some(file)), "a job done was lost or done again: {before:?}, {now:?}");
            seen = now;
            if over {
                break;
            }
        }
        // Once more, undisturbed, for the table.
        expect(&output(ablate(dir.path(), &[])), 0);
        assert_eq!(records(dir.path()), seen, "done jobs are done again");
        whole(dir.path());
        grids += 1;
    }
    let [job, parent, both] = kills;
    Found::Seen(format!("{job} + {parent} + {both} kills over {grids} grids: no finished job lost or repeated, tables equal byte for byte"))
}

/// One request: the running jobs leave checkpoints, and the exit code says so. Two: it ends at once. Either way it can go on.
pub fn stops(effort: Effort) -> Found {
    let (rounds, mut chance) = (effort.of(10, 1), Chance::by_the_clock());
    let (mut once, mut twice, mut interrupted) = (0, 0, 0);
    for _ in 0..rounds {
        let dir = results();
        for requests in [1, 2] {
            let mut parent = start(dir.path());
            std::thread::sleep(Duration::from_millis(600 + chance.below(600) as u64));
            for _ in 0..requests {
                kill("-INT", parent.id());
                std::thread::sleep(Duration::from_millis(20));
            }
            let code = parent.wait().unwrap().code();
            match (code, requests) {
                (Some(130), 1) => once += 1,
                (Some(130), _) => twice += 1,
                (code, _) => assert_eq!(code, Some(0), "neither stopped nor done"),
            }
        }
        interrupted += folders(&dir.path().join("runs")).iter().filter(|run| history(run).contains(&"interrupted".into())).count();
        expect(&output(ablate(dir.path(), &[])), 0);
        whole(dir.path());
    }
    // A request may come when no job runs, but not always.
    assert!(rounds < 5 || interrupted > 0, "a request leaves its mark in the jobs' histories");
    Found::Seen(format!(
        "{once} stopped at the first, {twice} at the second request (exit 130), {interrupted} jobs in their midst; then tables equal byte for byte"
    ))
}

fn start(results: &Path) -> Child {
    ablate(results, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

pub fn kill(signal: &str, pid: u32) {
    let _ = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status();
}
