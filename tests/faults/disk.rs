//! A disk that is full.

use crate::*;

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(options: &str, at: &Path) -> bool {
    let arguments = ["-t", "tmpfs", "-o", options, "tmpfs", at.to_str().unwrap()];
    Command::new("mount").args(arguments).output().is_ok_and(|o| o.status.success())
}

/// Results on a small memory disk: the error names a file on it, nothing there is torn, and with more space the same command ends well.
pub fn full(effort: Effort) -> Found {
    let sizes: &[usize] = if effort.full { &[150, 250, 400, 700, 1000, 1500, 2200, 3000] } else { &[700] };
    let mut refused = 0;
    for kib in sizes {
        let dir = tempfile::tempdir().unwrap();
        if !mount(&format!("size={kib}k"), dir.path()) {
            return Found::NotHere("mounting needs root".into());
        }
        let mounted = Mounted(dir.path().into());
        let results = dir.path().join("results");
        let first = output(ablate(&results, &[]));
        if first.status.code() != Some(0) {
            expect(&first, 5);
            let said = stderr(&first);
            assert!(said.contains("No space left") && said.contains(results.to_str().unwrap()), "{said}");
            refused += 1;
        }
        let verified = run(&["store", "verify", "--results", results.to_str().unwrap()]);
        expect(&verified, 0);
        let more = Command::new("mount").args(["-o", "remount,size=100m"]).arg(dir.path()).status().unwrap();
        assert!(more.success());
        expect(&output(ablate(&results, &[])), 0);
        for (name, bytes) in tables(&results) {
            assert!(bytes == undisturbed()[&name], "{name} differs");
        }
        drop(mounted);
    }
    assert!(refused > 0, "no disk was too small");
    images();
    Found::Seen(format!(
        "{refused} of {} disks too small: exit 5 naming the file, nothing torn; with space, tables equal byte for byte; images likewise",
        sizes.len()
    ))
}

/// Images are prepared on a disk that has no room for their pixels, nor at first for their files: what there is is gone on from.
fn images() {
    let (from, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let picture = |i: u32| image::GrayImage::from_fn(16, 16, |x, y| image::Luma([byte(i, y, x, 0)]));
    (0..1500).for_each(|i| picture(i).save(from.path().join(format!("{i:04}.bmp"))).unwrap());
    assert!(mount("size=1000k", dir.path()));
    let mounted = Mounted(dir.path().into());
    let [folder, cache] = [from.path().to_path_buf(), dir.path().join("cache")].map(|path| path.display().to_string());
    let prepare = || run(&["data", "folder", &folder, "--cache", &cache]);
    let first = prepare();
    expect(&first, 5);
    assert!(stderr(&first).contains("No space left") && stderr(&first).contains(&cache), "{}", stderr(&first));
    assert!(stderr(&first).contains("as compressed"), "{}", stderr(&first));
    let unfinished = stdout(&run(&["data", "verify", &cache]));
    assert!(unfinished.contains("unfinished: 512 of 1500 images"), "{unfinished}");
    assert!(Command::new("mount").args(["-o", "remount,size=100m"]).arg(dir.path()).status().unwrap().success());
    let second = prepare();
    expect(&second, 0);
    let elsewhere = run(&["data", "folder", &folder]);
    let digest = |output: &Output| stdout(output).lines().find(|line| line.contains("digest")).map(String::from);
    assert_eq!(digest(&second), digest(&elsewhere));
    drop(mounted);
}
