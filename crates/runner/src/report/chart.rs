//! Charts of lines, as data: pictures are drawn of them, and the HTML page draws them itself.

use super::entry::{Entry, part};
use crate::store::Outcome;

/// Points, by x and y.
pub type Points = Vec<(f64, f64)>;

/// A chart of lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// By which the page knows it.
    pub name: String,
    pub title: String,
    /// What is seen, in a sentence.
    pub caption: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    /// A height that the lines are compared with, and what it is.
    pub level: Option<(f64, String)>,
    /// Points that someone published, and where.
    pub published: Option<(String, Points)>,
    /// What leads from a cell's point to another's.
    pub threads: Vec<Line>,
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
    pub points: Points,
    /// The lowest and the highest of several seeds at each point; empty where there is one.
    pub band: Points,
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
    pub fn single(cells: Vec<usize>, label: String, points: Points) -> Line {
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

/// What is said where there are several seeds.
const SEEDS: &str = "Where there is a band, it reaches from the lowest seed to the highest, around their mean.";

impl Chart {
    /// Of lines alone.
    pub fn new(name: &str, title: &str, caption: &str, (x, y): (Axis, Axis), lines: Vec<Line>) -> Chart {
        let (name, title, caption) = (name.into(), title.into(), caption.into());
        Chart { name, title, caption, x, y, lines, level: None, published: None, threads: Vec::new() }
    }

    /// Whether several seeds are behind it.
    fn has_bands(&self) -> bool {
        self.lines.iter().any(|line| !line.band.is_empty())
    }

    /// What is seen, and how seeds are.
    pub fn about(&self) -> String {
        if self.has_bands() { format!("{} {SEEDS}", self.caption) } else { self.caption.clone() }
    }

    /// The chart with what has a place on its axes; none where nothing has.
    pub fn shown(mut self) -> Option<Chart> {
        let (x_log, y_log) = (self.x.log, self.y.log);
        let fits = |x: f64, y: f64| x.is_finite() && y.is_finite() && (!x_log || x > 0.0) && (!y_log || y > 0.0);
        for line in &mut self.lines {
            line.retain(fits);
            // Where the lowest or the highest seed has no place, the band ends at the mean.
            for ((x, y), (low, high)) in line.points.iter().zip(&mut line.band) {
                *low = if fits(*x, *low) { *low } else { *y };
                *high = if fits(*x, *high) { *high } else { *y };
            }
        }
        self.lines.retain(|line| !line.points.is_empty());
        let threads = self.threads.iter_mut().map(|thread| &mut thread.points);
        threads.chain(self.published.iter_mut().map(|published| &mut published.1)).for_each(|points| points.retain(|(x, y)| fits(*x, *y)));
        self.published = self.published.filter(|published| !published.1.is_empty());
        (!self.lines.is_empty()).then_some(self)
    }
}

/// What is seen in charts beside each other.
pub fn captions(charts: &[Chart]) -> String {
    let seeds = charts.iter().any(Chart::has_bands).then(|| SEEDS.to_string());
    let mut said: Vec<String> = Vec::new();
    for caption in charts.iter().map(|chart| chart.caption.clone()).chain(seeds) {
        if !said.contains(&caption) {
            said.push(caption);
        }
    }
    said.join(" ")
}

/// A line for each cell, or where jobs are studies, for each cell's study: the mean over seeds, and the lowest and the highest of them.
/// Seeds whose training diverged are left out where others' did not, since their curves end there; so are seeds without any point. The
/// label says so.
pub fn lines<'a>(entries: impl IntoIterator<Item = &'a Entry<'a>>, points: impl Fn(&Entry) -> Points) -> Vec<Line> {
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
        let shown = if whole.is_empty() { &group } else { &whole };
        let mut curves: Vec<Points> = shown.iter().map(|entry| points(entry)).collect();
        curves.retain(|curve| !curve.is_empty());
        let mut label = group[0].cell.label();
        if !curves.is_empty() {
            label += &part(curves.len(), group.len());
        }
        let (points, band) = over_seeds(curves);
        Line { cells: vec![group[0].cell_index], label, points, band }
    };
    groups.into_iter().map(line).collect()
}

/// The mean of some curves where each has a point, and their lowest and highest.
pub fn over_seeds(mut curves: Vec<Points>) -> (Points, Points) {
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
        Chart::new("c", "t", "what", (axis("x", log.0), axis("y", log.1)), lines)
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

    /// What was published has a place, or is left out, as the lines are; a sentence that two charts share is said once, and how seeds are at
    /// the end.
    #[test]
    fn charts_beside_each_other_are_told_of_once() {
        let line = |band| Line { band, ..Line::single(vec![0], "a".into(), vec![(1.0, 2.0)]) };
        let published = |points: &[(f64, f64)]| Chart {
            published: Some(("theirs".into(), points.to_vec())),
            ..chart(vec![line(vec![])], (true, true))
        };
        assert_eq!(published(&[(2.0, 0.0), (3.0, 1.0)]).shown().unwrap().published, Some(("theirs".into(), vec![(3.0, 1.0)])));
        assert_eq!(published(&[(2.0, 0.0)]).shown().unwrap().published, None);
        let (plain, seeds) = (chart(vec![line(vec![])], (false, false)), chart(vec![line(vec![(1.0, 3.0)])], (false, false)));
        let other = Chart { caption: "other.".into(), ..plain.clone() };
        let plain = Chart { caption: "what.".into(), ..plain };
        assert_eq!(captions(&[plain.clone(), other.clone(), plain.clone()]), "what. other.");
        assert_eq!((plain.about(), other.about()), ("what.".into(), "other.".into()));
        assert_eq!(captions(&[seeds.clone(), other]), format!("what other. {SEEDS}"));
        assert_eq!(seeds.about(), format!("what {SEEDS}"));
    }

    /// Means where all seeds have a point, whatever their order.
    #[test]
    fn seeds_become_a_mean_and_a_band() {
        let one = vec![(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)];
        assert_eq!(over_seeds(vec![one.clone()]), (one.clone(), vec![]));
        assert_eq!(over_seeds(vec![]), (vec![], vec![]));
        let other = vec![(3.0, 1.0), (2.0, 1.0), (0.5, 9.0)];
        let third = vec![(2.0, 10.0), (3.0, 2.0), (4.0, 0.0)];
        let (points, band) = over_seeds(vec![one, other, third]);
        assert_eq!((points, band), (vec![(2.0, 5.0), (3.0, 3.0)], vec![(1.0, 10.0), (1.0, 6.0)]));
    }
}
