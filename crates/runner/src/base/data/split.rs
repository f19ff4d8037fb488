//! Which images are held out: never trained on.

use anyhow::{Context, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which images are held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HeldOut {
    /// So many: from each class in proportion, the last ones.
    Last(usize),
    /// Those that a rule names.
    By(Rule),
}

/// How images are chosen that are held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// About this share: those whose name has a BLAKE3 digest, read as a number below 1, that is below it. Which they are does not depend on
    /// what other images there are.
    Fraction(#[schemars(range(min = 0.0, max = 1.0))] f64),
    /// Those whose names stand in a file, one to a line.
    Listed(PathBuf),
    /// All of another file or folder of the same kind; those of this one are all trained on.
    Path(PathBuf),
}

impl HeldOut {
    /// None.
    pub const NONE: HeldOut = HeldOut::Last(0);

    /// The file that names them.
    pub fn list(&self) -> Option<&Path> {
        match self {
            HeldOut::By(Rule::Listed(file)) => Some(file),
            _ => None,
        }
    }

    /// The other file or folder that they are in.
    pub fn elsewhere(&self) -> Option<&Path> {
        match self {
            HeldOut::By(Rule::Path(path)) => Some(path),
            _ => None,
        }
    }
}

/// Decides about one image after another.
pub(super) enum Split {
    Last(usize),
    Fraction(f64),
    /// The names in a file, and those that have not been seen.
    Listed {
        file: PathBuf,
        names: BTreeSet<String>,
        unseen: BTreeSet<String>,
    },
}

impl Split {
    /// Reads what there is to read.
    pub(super) fn of(held_out: &HeldOut) -> Result<Split> {
        match held_out {
            HeldOut::Last(n) => Ok(Split::Last(*n)),
            HeldOut::By(Rule::Path(_)) => Ok(Split::Last(0)),
            HeldOut::By(Rule::Fraction(share)) => {
                ensure!((0.0..=1.0).contains(share), "expected a fraction of 0 to 1 to hold out, got {share}");
                Ok(Split::Fraction(*share))
            }
            HeldOut::By(Rule::Listed(file)) => {
                let text = fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))?;
                let names: BTreeSet<String> = text.lines().map(|line| line.trim().to_string()).filter(|line| !line.is_empty()).collect();
                ensure!(!names.is_empty(), "{}: expected names of images, one to a line, found none", file.display());
                Ok(Split::Listed { file: file.clone(), unseen: names.clone(), names })
            }
        }
    }

    /// Whether the image of this name is held out, as far as its name decides it.
    pub(super) fn holds(&mut self, name: &str) -> bool {
        match self {
            Split::Last(_) => false,
            Split::Fraction(share) => digest(name) < *share,
            Split::Listed { names, unseen, .. } => {
                unseen.remove(name);
                names.contains(name)
            }
        }
    }

    /// Which of all images are held out, by what [`Split::holds`] said of each, and their classes.
    pub(super) fn end(self, held: Vec<bool>, labels: &[usize], origin: &str) -> Result<Vec<bool>> {
        let n = held.len();
        let held = match self {
            Split::Last(few) => {
                ensure!(n > few, "{origin}: expected more images than the {few} to hold out, found {n}");
                last(labels, few)
            }
            Split::Fraction(_) => held,
            Split::Listed { file, unseen, .. } => {
                if let Some(name) = unseen.first() {
                    bail!("{}: {} of its names are of no image in {origin}, such as {name}", file.display(), unseen.len());
                }
                held
            }
        };
        ensure!(held.contains(&false), "{origin}: expected images to train on, but all {n} are held out");
        Ok(held)
    }
}

/// A name's digest as a number in [0, 1).
fn digest(name: &str) -> f64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..8]);
    // The 53 highest bits: exact.
    (u64::from_be_bytes(first) >> 11) as f64 / (1u64 << 53) as f64
}

/// Which of the images with these labels are the last: of each class its share of `held_out`. Where shares are not whole, the classes with the
/// largest fractions give one more.
fn last(labels: &[usize], held_out: usize) -> Vec<bool> {
    let n = labels.len();
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    labels.iter().for_each(|label| *sizes.entry(*label).or_default() += 1);
    let mut shares: BTreeMap<usize, usize> = sizes.iter().map(|(class, size)| (*class, size * held_out / n)).collect();
    let mut order: Vec<usize> = sizes.keys().copied().collect();
    order.sort_by_key(|class| std::cmp::Reverse(sizes[class] * held_out % n));
    let rest = held_out - shares.values().sum::<usize>();
    order[..rest].iter().for_each(|class| *shares.entry(*class).or_default() += 1);
    let mut held = vec![false; n];
    for i in (0..n).rev() {
        let share = shares.entry(labels[i]).or_default();
        held[i] = *share > 0;
        *share = share.saturating_sub(1);
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// As many as asked, from each class its share to within one, and of one class the last.
        #[test]
        fn classes_are_held_out_in_proportion(sizes in prop::collection::vec(1usize..30, 1..8), share in 0.0..1.0f64) {
            let labels: Vec<usize> = sizes.iter().enumerate().flat_map(|(class, size)| vec![class; *size]).collect();
            let n = labels.len();
            let held_out = (share * n as f64) as usize;
            let held = last(&labels, held_out);
            prop_assert_eq!(held.iter().filter(|h| **h).count(), held_out);
            let mut first = 0;
            for size in &sizes {
                let of_class = &held[first..first + size];
                let count = of_class.iter().filter(|h| **h).count();
                prop_assert!((count as f64 - (size * held_out) as f64 / n as f64).abs() < 1.0);
                prop_assert!(of_class[size - count..].iter().all(|h| *h));
                first += size;
            }
        }
    }

    proptest! {
        /// Each image by its own name: about the share that is asked for, all of a smaller share's among those of a larger one's, and the same
        /// ones whatever else there is.
        #[test]
        fn names_decide_each_for_itself(shares in (0.0..1.0f64, 0.0..1.0f64), salt in any::<u32>()) {
            let names: Vec<String> = (0..2000).map(|i| format!("{salt}/{i}.png")).collect();
            let held = |share: f64, names: &[String]| {
                let mut split = Split::of(&HeldOut::By(Rule::Fraction(share))).unwrap();
                names.iter().map(|name| split.holds(name)).collect::<Vec<bool>>()
            };
            let (few, many) = (held(shares.0.min(shares.1), &names), held(shares.0.max(shares.1), &names));
            prop_assert!(few.iter().zip(&many).all(|(few, many)| !few || *many));
            for (share, held) in [(shares.0.min(shares.1), &few), (shares.0.max(shares.1), &many)] {
                let count = held.iter().filter(|held| **held).count() as f64;
                // Six standard deviations.
                prop_assert!((count - 2000.0 * share).abs() <= 6.0 * (2000.0 * share * (1.0 - share)).sqrt() + 1.0, "{} of {}", count, share);
            }
            prop_assert_eq!(&held(shares.0, &names[1000..]), &held(shares.0, &names)[1000..]);
        }
    }

    /// Known from Python: `int.from_bytes(blake3.blake3(b"cat/003.png").digest()[:8], "big") / 2**64`.
    #[test]
    fn digests_are_what_another_program_says() {
        assert!((digest("cat/003.png") - 0.12729366163524786).abs() < 1e-15);
        assert!(digest("") >= 0.0 && digest("") < 1.0);
    }

    #[test]
    fn listed_names_are_held_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.txt");
        let split = |text: &str, names: &[&str]| {
            fs::write(&file, text).unwrap();
            let mut split = Split::of(&HeldOut::By(Rule::Listed(file.clone())))?;
            let held = names.iter().map(|name| split.holds(name)).collect();
            split.end(held, &vec![0; names.len()], "x")
        };
        assert_eq!(split("b\r\n\n  c \n", &["a", "b", "c", "d"]).unwrap(), [false, true, true, false]);
        let error = |text: &str| format!("{:#}", split(text, &["a", "b"]).unwrap_err());
        assert!(error("b\nd\nc\n").contains("test.txt: 2 of its names are of no image in x, such as c"), "{}", error("b\nd\nc\n"));
        assert!(error(" \n").contains("test.txt: expected names of images"));
        assert!(error("a\nb").contains("x: expected images to train on, but all 2 are held out"));
    }
}
