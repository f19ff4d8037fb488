//! Tells the program which commit it was built from, for the records.

use std::path::Path;
use std::process::Command;

fn main() {
    let log = "../../.git/logs/HEAD";
    if Path::new(log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    // Changes that are not committed count too.
    for sources in ["../core/src", "../kernels/src", "../model/src", "src"] {
        println!("cargo:rerun-if-changed={sources}");
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    let dirty = git(&["status", "--porcelain", "--", "crates", "Cargo.toml", "Cargo.lock"]).is_some_and(|s| !s.is_empty());
    println!("cargo:rustc-env=DDPM_COMMIT={commit}{}", if dirty { "+changes" } else { "" });
}
