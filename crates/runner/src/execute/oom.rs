//! Whether the kernel killed a process for lack of memory: to its parent that looks like any other `SIGKILL`.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel counts the processes that it killed for lack of memory in this process's control group, to which its jobs belong too.
#[derive(Debug)]
pub struct OomKills {
    file: Option<PathBuf>,
}

impl OomKills {
    /// Of this process; where there are no control groups, nothing is counted.
    pub fn here() -> OomKills {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        OomKills { file: files(&groups, Path::new("/sys/fs/cgroup")).into_iter().find(|file| counted(file).is_some()) }
    }

    /// How many there have been, where that is counted.
    pub fn count(&self) -> Option<u64> {
        counted(self.file.as_ref()?)
    }
}

/// Files that may hold the count, by what `/proc/self/cgroup` says: of the second version of control groups, and of the first. In a container
/// the group's own path may not be visible; then it is what the mount begins with.
fn files(groups: &str, mount: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let Some((controllers, path)) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':')) else { continue };
        let path = path.trim_start_matches('/');
        let (roots, file) = match controllers {
            "" => (vec![mount.to_path_buf(), mount.join("unified")], "memory.events"),
            _ if controllers.split(',').any(|controller| controller == "memory") => (vec![mount.join("memory")], "memory.oom_control"),
            _ => continue,
        };
        found.extend(roots.iter().flat_map(|root| [root.join(path).join(file), root.join(file)]));
    }
    found
}

/// The number behind `oom_kill` in a file.
fn counted(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Lets the kernel choose a job before the process that waits for it: a job that is killed costs itself alone.
pub fn prefer(pid: u32) {
    // Where this cannot be said, the kernel chooses by size, which mostly is the same.
    let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), "200");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both versions of control groups, with the group's path and without, and the number among its neighbours.
    #[test]
    fn the_count_is_found_where_the_kernel_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            fs::write(dir.path().join(path), text).unwrap();
        };
        let count = |groups: &str| files(groups, dir.path()).iter().find_map(|file| counted(file));
        let first = "5:cpuset:/\n4:memory,x:/jobs/7\n0::/\n";
        assert_eq!(count(first), None);
        put("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
        assert_eq!(count(first), Some(3));
        put("memory/jobs/7/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
        assert_eq!(count(first), Some(4));
        let second = "0::/user.slice/a.scope\n";
        assert_eq!(count(second), None);
        put("user.slice/a.scope/memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n");
        assert_eq!(count(second), Some(1));
        assert_eq!((count(""), count("nonsense\n4:memory\n")), (None, None));
    }
}
