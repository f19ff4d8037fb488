//! Charts of lines, as data: pictures are drawn of them, and the HTML page draws them itself.

use super::entry::Entry;
use crate::store::Outcome;

/// A chart of lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Its file, without an extension.
    pub name: String,
    pub title: String,
    /// What is seen, in a sentence.
    pub caption: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    /// A height that the lines are compared with, and what it is.
    pub level: Option<(f64, String)>,
}

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub label: String,
    pub log: bool,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The cells that it is of, mostly one; it has the first one's colour.
    pub cells: Vec<usize>,
    pub label: String,
    /// In rising order of x; of several seeds their mean.
    pub points: Vec<(f64, f64)>,
    /// The lowest and the highest of several seeds at each point; empty where there is one.
    pub band: Vec<(f64, f64)>,
}

impl Axis {
    pub fn linear(label: &str) -> Axis {
        Axis { label: label.into(), log: false }
    }

    pub fn log(label: &str) -> Axis {
        Axis { label: label.into(), log: true }
    }
}

impl Line {
    /// Of one curve.
    pub fn single(cells: Vec<usize>, label: String, points: Vec<(f64, f64)>) -> Line {
        Line { cells, label, points, band: Vec::new() }
    }

    /// Without the points that `keep` refuses.
    fn retain(&mut self, keep: impl Fn(f64, f64) -> bool) {
        let kept: Vec<bool> = self.points.iter().map(|(x, y)| keep(*x, *y)).collect();
        let at = |i: &usize| kept[*i];
        self.points = (0..kept.len()).filter(at).map(|i| self.points[i]).collect();
        if !self.band.is_empty() {
            self.band = (0..kept.len()).filter(at).map(|i| self.band[i]).collect();
        }
    }
}

impl Chart {
    /// The chart with what has a place on its axes; none where nothing has.
    pub fn shown(mut self) -> Option<Chart> {
        let (x_log, y_log) = (self.x.log, self.y.log);
        let fits = |x: f64, y: f64| x.is_finite() && y.is_finite() && (!x_log || x > 0.0) && (!y_log || y > 0.0);
        for line in &mut self.lines {
            line.retain(fits);
            // A seed that has no place there leaves the mean's.
            for ((x, y), (low, high)) in line.points.iter().zip(&mut line.band) {
                *low = if fits(*x, *low) { *low } else { *y };
                *high = if fits(*x, *high) { *high } else { *y };
            }
        }
        self.lines.retain(|line| !line.points.is_empty());
        if self.lines.iter().any(|line| !line.band.is_empty()) {
            self.caption += " A line is the mean over seeds, its band reaches from the lowest to the highest.";
        }
        (!self.lines.is_empty()).then_some(self)
    }
}

/// A line for each cell, of a study for each study: the mean over its seeds, and between which they lie. Seeds whose training diverged are no part of
/// it where others' did not, and the label says so: their curves end where they diverged.
pub fn lines<'a>(entries: impl IntoIterator<Item = &'a Entry<'a>>, points: impl Fn(&Entry) -> Vec<(f64, f64)>) -> Vec<Line> {
    let mut groups: Vec<Vec<&Entry>> = Vec::new();
    for entry in entries {
        let of = |group: &&mut Vec<&Entry>| (group[0].cell_index, &group[0].job.study) == (entry.cell_index, &entry.job.study);
        match groups.iter_mut().find(of) {
            Some(group) => group.push(entry),
            None => groups.push(vec![entry]),
        }
    }
    let line = |group: Vec<&Entry>| {
        let whole: Vec<&Entry> = group.iter().copied().filter(|entry| !matches!(entry.record.outcome, Outcome::Diverged { .. })).collect();
        let mut label = group[0].cell.label();
        if !whole.is_empty() && whole.len() < group.len() {
            label += &format!(" ({} of {} seeds)", whole.len(), group.len());
        }
        let shown = if whole.is_empty() { &group } else { &whole };
        let (points, band) = over_seeds(shown.iter().map(|entry| points(entry)).collect());
        Line { cells: vec![group[0].cell_index], label, points, band }
    };
    groups.into_iter().map(line).collect()
}

type Points = Vec<(f64, f64)>;

/// The mean of some curves where each has a point, and their lowest and highest; curves without any point are no part of it.
fn over_seeds(mut curves: Vec<Points>) -> (Points, Points) {
    curves.retain(|curve| !curve.is_empty());
    curves.iter_mut().for_each(|curve| curve.sort_by(|a, b| a.0.total_cmp(&b.0)));
    let Some((first, others)) = curves.split_first() else { return (Vec::new(), Vec::new()) };
    if others.is_empty() {
        return (first.clone(), Vec::new());
    }
    let mut places = vec![0; others.len()];
    let (mut points, mut band) = (Vec::new(), Vec::new());
    for (x, y) in first {
        let mut values = vec![*y];
        for (curve, place) in others.iter().zip(&mut places) {
            *place += curve[*place..].iter().take_while(|point| point.0 < *x).count();
            values.extend(curve.get(*place).filter(|point| point.0 == *x).map(|point| point.1));
        }
        if values.len() == curves.len() {
            points.push((*x, values.iter().sum::<f64>() / values.len() as f64));
            band.push(values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v))));
        }
    }
    (points, band)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    use crate::base::data::few;
    use crate::experiment::{Cell, Job, Study, tiny};
    use crate::store::Record;
    use serde_json::json;

    /// A chart of these lines.
    pub fn chart(lines: Vec<Line>, log: (bool, bool)) -> Chart {
        let axis = |label: &str, log| Axis { label: label.into(), log };
        let (x, y) = (axis("x", log.0), axis("y", log.1));
        Chart { name: "c".into(), title: "t".into(), caption: "what".into(), x, y, lines, level: None }
    }

    /// What has no place on an axis is left out, and only that; the band goes with its points.
    #[test]
    fn charts_show_what_can_be_shown() {
        let good = [(1.0, 2.0), (10.0, 3.0), (100.0, 20.0)];
        let nowhere = [(f64::NAN, 2.0), (3.0, f64::NAN), (f64::INFINITY, 2.0), (3.0, f64::NEG_INFINITY)];
        let of = |points: &[(f64, f64)], log| {
            let band = points.iter().map(|(_, y)| (y - 5.0, y + 1.0)).collect();
            let line = Line { cells: vec![0], label: "a".into(), points: points.to_vec(), band };
            chart(vec![line, Line::single(vec![1], "b".into(), vec![(f64::NAN, 1.0)])], log).shown().map(|shown| shown.lines)
        };
        for log in [(false, false), (false, true), (true, false), (true, true)] {
            let shown = of(&good, log).unwrap();
            assert_eq!((shown.len(), &shown[0].points[..]), (1, &good[..]));
            // A logarithmic axis has no place for 2 - 5.
            let lowest: Vec<f64> = shown[0].band.iter().map(|(low, _)| *low).collect();
            assert_eq!(lowest, if log.1 { [2.0, 3.0, 15.0] } else { [-3.0, -2.0, 15.0] });
            assert_eq!(of(&[&nowhere[..], &good[..]].concat(), log).unwrap()[0].band, shown[0].band);
            assert_eq!(of(&nowhere, log), None);
            for (point, has_place) in [((-1.0, 2.0), !log.0), ((0.0, 2.0), !log.0), ((2.0, 0.0), !log.1), ((2.0, -1.0), !log.1)] {
                assert_eq!(of(&[&[point], &good[..]].concat(), log).unwrap()[0].points.len() == 4, has_place, "{point:?} {log:?}");
            }
        }
    }

    /// A line for each cell and for each study of it; a seed that diverged is left out where others did not, and that is said.
    #[test]
    fn lines_are_of_cells_and_of_studies() {
        let data = few("d", 20, 3);
        let cell = Cell { axes: vec![("cell".into(), json!("a"))], config: tiny(&data, &[]).config };
        let job = |seed, study| Job::new(cell.config.clone(), seed, study, &data.info.digest, "none");
        let along = |stops| Some(Study::ReverseTime { stops });
        let diverged = || Outcome::Diverged { reason: "r".into() };
        let jobs =
            [(0, job(0, None), None), (0, job(1, None), None), (0, job(2, None), Some(diverged())), (1, job(2, None), Some(diverged()))];
        let studies = [(0, job(0, along(2)), None), (0, job(0, along(3)), None)];
        let found = |all: &[(usize, Job, Option<Outcome>)]| {
            let of = |(cell_index, job, outcome)| {
                let record = Record::of(job, "d", Option::clone(outcome).unwrap_or(Outcome::Finished {}));
                Entry { cell: &cell, cell_index, job, record, training: None }
            };
            let entries: Vec<Entry> = all.iter().map(|(cell_index, job, outcome)| of((*cell_index, job, outcome))).collect();
            lines(&entries, |entry| vec![(1.0, entry.record.seed as f64)])
        };
        let whole = Line { cells: vec![0], label: "a (2 of 3 seeds)".into(), points: vec![(1.0, 0.5)], band: vec![(0.0, 1.0)] };
        assert_eq!(found(&jobs), [whole, Line::single(vec![1], "a".into(), vec![(1.0, 2.0)])]);
        assert_eq!(found(&studies).len(), 2);
    }

    /// Means where all seeds have a point, whatever their order; a seed without any is none.
    #[test]
    fn seeds_become_a_mean_and_a_band() {
        let one = vec![(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)];
        assert_eq!(over_seeds(vec![one.clone()]), (one.clone(), vec![]));
        assert_eq!(over_seeds(vec![Vec::new(), one.clone()]), (one.clone(), vec![]));
        assert_eq!(over_seeds(vec![Vec::new()]), (vec![], vec![]));
        let other = vec![(3.0, 1.0), (2.0, 1.0), (0.5, 9.0)];
        let third = vec![(2.0, 10.0), (3.0, 2.0), (4.0, 0.0)];
        let (points, band) = over_seeds(vec![one, other, third]);
        assert_eq!((points, band), (vec![(2.0, 5.0), (3.0, 3.0)], vec![(1.0, 10.0), (1.0, 6.0)]));
    }
}
