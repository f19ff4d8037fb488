//! Tables, JSON and plain text as places with what stands there, and where two versions differ.

use serde_json::Value;

/// Every number and word of a file with the place where it stands; the place names the cell and the metric that it belongs to.
fn places(file: &str, text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    if file.ends_with(".csv") {
        let mut rows = csv(text).into_iter();
        let headings = rows.next().unwrap();
        for (i, row) in rows.enumerate() {
            assert_eq!(row.len(), headings.len(), "{file}, row {i}");
            let named = |name: &str| headings.iter().position(|h| h == name).map_or("", |at| &row[at]);
            let of = format!("{file}, row {i}, cell {}, {}", named("cell"), named("metric"));
            all.extend(headings.iter().zip(row).map(|(heading, cell)| (format!("{of}: {heading}"), cell)));
        }
    } else if file.ends_with(".json") {
        leaves(&serde_json::from_str(text).unwrap(), file, &mut all);
    } else {
        all.extend(text.lines().enumerate().map(|(i, line)| (format!("{file}, line {i}"), line.to_string())));
    }
    all
}

/// Rows of cells; cells with commas or quotes stand in quotes.
pub fn csv(text: &str) -> Vec<Vec<String>> {
    let row = |line: &str| {
        let (mut cells, mut quoted) = (vec![String::new()], false);
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                c => cells.last_mut().unwrap().push(c),
            }
        }
        cells
    };
    text.lines().map(row).collect()
}

fn leaves(value: &Value, at: &str, all: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| leaves(value, &format!("{at} {key}"), all)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| leaves(value, &format!("{at} {i}"), all)),
        leaf => all.push((at.to_string(), leaf.to_string())),
    }
}

/// Where two versions of a file differ by more than `tolerance` of the place allows, relative and beside that absolute.
pub fn differences(file: &str, expected: &str, found: &str, tolerance: &dyn Fn(&str) -> f64) -> Vec<String> {
    let (expected, found) = (places(file, expected), places(file, found));
    let mut all = Vec::new();
    if expected.len() != found.len() {
        all.push(format!("{file}: expected {} numbers and words, found {}", expected.len(), found.len()));
    }
    for ((place, a), (other, b)) in expected.iter().zip(&found) {
        let near = |a: f64, b: f64| (a - b).abs() <= tolerance(place) * (1.0 + a.abs());
        let alike = a == b || matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if near(a, b));
        if place != other || !alike {
            all.push(format!("{place}: expected {a}, found {b}"));
        }
    }
    all
}
