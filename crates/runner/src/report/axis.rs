//! Where an axis begins and ends, and which of its numbers are written.

/// The ends of an axis on which all values have a place.
pub fn range(log: bool, values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    match log {
        true => (low / 1.15, high * 1.15),
        false => {
            let margin = if high > low { 0.03 * (high - low) } else { 0.5 };
            (low - margin, high + margin)
        }
    }
}

/// Numbers of a logarithmic axis: those that are written, and those that have a line. Over many decades powers of ten are written, over few some
/// between them; where there is no round number, five from end to end.
pub fn log_lines((low, top): (f64, f64)) -> (Vec<f64>, Vec<f64>) {
    let decades = libm::log10(top / low);
    let first = libm::floor(libm::log10(low)) as i32;
    let number = |(digit, power): (i32, i32)| -> f64 { format!("{digit}e{power}").parse().unwrap_or(f64::NAN) };
    let all: Vec<(i32, i32)> = (first..=first + decades as i32 + 2).flat_map(|power| (1..10).map(move |digit| (digit, power))).collect();
    let within: Vec<(i32, i32)> = all.into_iter().filter(|place| (low..=top).contains(&number(*place))).collect();
    let digits: &[i32] = match decades {
        d if d < 1.2 => &[1, 2, 3, 5, 7],
        d if d < 3.0 => &[1, 2, 5],
        _ => &[1],
    };
    // Not more than there is room for.
    let every = (decades / 7.0) as i32 + 1;
    let is_written = |(digit, power): &&(i32, i32)| digits.contains(digit) && power.rem_euclid(every) == 0;
    let written: Vec<f64> = within.iter().filter(is_written).map(|place| number(*place)).collect();
    let lines: Vec<f64> = within.into_iter().map(number).collect();
    match (written.len(), lines.len()) {
        (2.., _) => (written, lines),
        (_, 2..) => (lines.clone(), lines),
        _ => {
            let even: Vec<f64> = (0..5).map(|i| low + (top - low) * i as f64 / 4.0).collect();
            (even.clone(), even)
        }
    }
}

/// A number for an axis: short, and exact for the round numbers that axes have.
pub fn tick(v: f64) -> String {
    match v.abs() {
        0.0 => "0".into(),
        a if !(1e-3..1e5).contains(&a) => format!("{v:.0e}"),
        a if a < 1.0 => format!("{v:.3}").trim_end_matches('0').trim_end_matches('.').to_string(),
        a if a < 100.0 => format!("{v:.2}").trim_end_matches('0').trim_end_matches('.').to_string(),
        _ => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn ticks_are_short_and_exact() {
        let numbers = [0.0, 1e-4, 1e-3, 0.25, 1.0, 12.5, 99.75, 100.0, 1250.0, 1e5, -0.125, -2e6];
        let said = ["0", "1e-4", "0.001", "0.25", "1", "12.5", "99.75", "100", "1250", "1e5", "-0.125", "-2e6"];
        assert_eq!(numbers.map(tick), said);
        // Two digits after the point from 1 on.
        assert_eq!([0.1234, 1.2345].map(tick), ["0.123", "1.23"]);
    }

    #[test]
    fn few_decades_have_numbers_between_powers_of_ten() {
        assert_eq!(log_lines((8.7, 115.0)).0, [10.0, 20.0, 30.0, 50.0, 70.0, 100.0]);
        assert_eq!(log_lines((17.4, 57.5)).0, [20.0, 30.0, 50.0]);
        assert_eq!(log_lines((9e-6, 2.0)).0, [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0]);
        assert_eq!(log_lines((0.9, 150.0)).0, [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(log_lines((2.0, 2.5)).0, [2.0, 2.125, 2.25, 2.375, 2.5]);
    }

    proptest! {
        /// On every axis two numbers are written at least, and few; they and all lines are on it, in rising order.
        #[test]
        fn every_logarithmic_axis_has_numbers(power in -12.0..8.0f64, decades in 0.01..20.0f64) {
            let low = libm::exp10(power);
            let top = low * libm::exp10(decades);
            let (written, lines) = log_lines((low, top));
            prop_assert!((2..=10).contains(&written.len()), "{written:?}");
            prop_assert!(lines.len() < 200 && lines.is_sorted() && written.iter().all(|value| lines.contains(value)));
            prop_assert!(lines.iter().all(|value| (low..=top * (1.0 + 1e-12)).contains(value)));
        }

        /// Everything is within the ends, whatever it is.
        #[test]
        fn an_axis_holds_its_values(values in prop::collection::vec(1e-6..1e6f64, 1..9), log in any::<bool>()) {
            let (low, top) = range(log, values.iter().copied());
            prop_assert!(low < top && values.iter().all(|v| low <= *v && *v <= top));
        }
    }
}
