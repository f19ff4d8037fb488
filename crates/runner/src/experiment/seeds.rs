//! Lists of seeds on a command line, as Slurm writes lists of numbers: `0-4,7`.

/// Most jobs that a grid may have, and so most of its seeds.
pub const MAX_JOBS: usize = 10_000;

/// The seeds of a list.
pub fn parsed(list: &str) -> Result<Vec<u64>, String> {
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("expected seeds as 0-4,7, got {list}"));
    let mut seeds: Vec<u64> = Vec::new();
    for part in list.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err(format!("expected the smaller seed first, got {part}"));
        }
        if last - first >= MAX_JOBS as u64 || seeds.len() >= MAX_JOBS {
            return Err(format!("expected at most {MAX_JOBS} seeds, got {list}"));
        }
        seeds.extend(first..=last);
    }
    let mut sorted = seeds.clone();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("expected each seed once, got {} twice", pair[0])),
        None => Ok(seeds),
    }
}

/// The shortest list of seeds in this order.
pub fn list(seeds: &[u64]) -> String {
    let runs = seeds.chunk_by(|a, b| a.checked_add(1) == Some(*b));
    let text = |run: &[u64]| match run {
        [one] => one.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    };
    runs.map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_read_as_they_are_meant() {
        assert_eq!(parsed("0-2, 7,5"), Ok(vec![0, 1, 2, 7, 5]));
        assert_eq!((list(&[0, 1, 2, 7, 5]), list(&[4]), list(&[1, 2])), ("0-2,7,5".into(), "4".into(), "1-2".into()));
        for (wrong, why) in [
            ("", "as 0-4,7"),
            ("1,,2", "as 0-4,7"),
            ("-1", "as 0-4,7"),
            ("a", "as 0-4,7"),
            ("3-1", "smaller seed first"),
            ("0,3,0", "got 0 twice"),
        ] {
            assert!(parsed(wrong).unwrap_err().contains(why), "{wrong}");
        }
        assert!(parsed("0-18446744073709551615").unwrap_err().contains("at most 10000 seeds"));
        assert!(
            parsed("18446744073709551615").is_ok()
                && parsed("0-9999").is_ok()
                && parsed("0-10000").is_err()
                && parsed("0-9999,10000").is_err()
        );
    }

    proptest! {
        #[test]
        fn a_list_is_read_as_it_is_written(seeds in prop::collection::hash_set(prop_oneof![0u64..20, any::<u64>()], 1..12)) {
            let seeds: Vec<u64> = seeds.into_iter().collect();
            prop_assert_eq!(parsed(&list(&seeds)), Ok(seeds));
        }
    }
}
