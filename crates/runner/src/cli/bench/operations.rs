//! A device's program by kind of operation: how many, how much they move and compute, and how long they took where they were run.

use ddpm_kernels::device::Op;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Rows of single sizes that a table has at most.
const LARGEST: usize = 12;

/// Operations of one name and size.
#[derive(Clone, Debug, Serialize)]
pub struct OperationTime {
    pub name: String,
    pub size: String,
    pub count: usize,
    /// Every number that is read or written, moved once.
    pub bytes: f64,
    /// Of products and convolutions.
    pub flops: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s: Option<f64>,
}

impl OperationTime {
    fn add(&mut self, other: &OperationTime) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.flops += other.flops;
        self.s = self.s.zip(other.s).map(|(a, b)| a + b);
    }

    /// What the longest rows come first by.
    fn weight(&self) -> f64 {
        self.s.unwrap_or(self.bytes)
    }
}

/// A program's operations by name and size, with the seconds of each where they are known.
pub fn parts(ops: &[Op], seconds: Option<&[f64]>) -> Vec<OperationTime> {
    let one = |(i, op): (usize, &Op)| {
        let cost = op.cost();
        let s = seconds.map(|seconds| seconds[i]);
        OperationTime { name: op.name(), size: op.size(), count: 1, bytes: cost.bytes, flops: cost.flops, s }
    };
    together(ops.iter().enumerate().map(one), |part| (part.name.clone(), part.size.clone()))
}

/// Parts of one key as one, the longest first.
fn together<K: Ord>(parts: impl Iterator<Item = OperationTime>, key: impl Fn(&OperationTime) -> K) -> Vec<OperationTime> {
    let mut by_key: BTreeMap<K, OperationTime> = BTreeMap::new();
    for part in parts {
        match by_key.get_mut(&key(&part)) {
            Some(all) => all.add(&part),
            None => drop(by_key.insert(key(&part), part)),
        }
    }
    let mut all: Vec<OperationTime> = by_key.into_values().collect();
    all.sort_by(|a, b| b.weight().total_cmp(&a.weight()));
    all
}

fn row(text: &mut String, name: &str, part: &OperationTime) {
    let _ = write!(text, "{name:<32} {:>5} {:>9.1} {:>9.2}", part.count, part.bytes / 1e6, part.flops / 1e9);
    if let Some(s) = part.s {
        let tflops = if part.flops > 0.0 { format!("{:.1}", part.flops / s / 1e12) } else { String::new() };
        let _ = write!(text, " {:>8.3} {:>5.0} {tflops:>6}", s * 1e3, part.bytes / s / 1e9);
    }
    text.push('\n');
}

/// By name, and where they were timed the single sizes that take longest: text of at most 80 columns.
pub fn table(parts: &[OperationTime]) -> String {
    let by_name = together(parts.iter().cloned(), |part| part.name.clone());
    let timed = parts.iter().all(|part| part.s.is_some());
    let mut text = format!("{:<32} {:>5} {:>9} {:>9}", "operation", "count", "MB", "GFLOP");
    text += if timed { "       ms  GB/s TFLOPs\n" } else { "\n" };
    by_name.iter().for_each(|part| row(&mut text, &part.name, part));
    let sum = together(parts.iter().cloned(), |_| ());
    sum.iter().for_each(|sum| row(&mut text, "all", sum));
    if timed {
        text += "longest\n";
        for part in parts.iter().take(LARGEST) {
            let _ = writeln!(text, "{} of {}", part.name, part.size);
            row(&mut text, "", part);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, size: &str, bytes: f64, s: Option<f64>) -> OperationTime {
        OperationTime { name: name.into(), size: size.into(), count: 1, bytes, flops: 2e9, s }
    }

    #[test]
    fn tables_add_up_and_fit_a_terminal() {
        let long = "convolution_weight_gradient_bf16";
        let size = "512 x 256 x 256 x 512 to 512, 3x3 / 1";
        let parts =
            [part(long, size, 5e9, Some(0.5)), part("clip", "1 numbers", 1e9, Some(0.25)), part("clip", "2 numbers", 2e9, Some(0.25))];
        let text = table(&parts);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let words = |head: &str| -> Vec<&str> { text.lines().find(|l| l.starts_with(head)).unwrap().split_whitespace().skip(1).collect() };
        assert_eq!(words("clip "), ["2", "3000.0", "4.00", "500.000", "6", "0.0"]);
        assert_eq!(words("all "), ["3", "8000.0", "6.00", "1000.000", "8", "0.0"]);
        let plan = table(&[part(long, size, 5e9, None)]);
        assert!(!plan.contains("ms") && !plan.contains("longest"), "{plan}");
    }
}
