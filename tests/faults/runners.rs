//! Several runners on one store.

use crate::*;
use std::process::Stdio;

/// Two `ddpm ablate` started together, again and again: every job once, both end well, the same tables.
pub fn two(effort: Effort) -> Found {
    let rounds = effort.of(20, 2);
    for _ in 0..rounds {
        let dir = results();
        let start = || ablate(dir.path(), &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let both = [start(), start()];
        for runner in both {
            expect(&runner.wait_with_output().unwrap(), 0);
        }
        whole(dir.path());
    }
    Found::Seen(format!("{rounds} pairs: every job once, tables equal byte for byte"))
}
