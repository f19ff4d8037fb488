//! What a network's parts do, as pictures and in words: what skip connections carry, which half needs to know t, and when frequencies appear.

use super::canvas::Picture;
use super::heat::{Heat, Heats, Shade};
use crate::metrics::spectrum;
use crate::store::{Anatomy, SkipErrors, Spectra, ToldErrors, Way};
use anyhow::Result;

/// The pictures of what a study found.
pub fn pictures(found: &Anatomy) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    if !found.skips.is_empty() {
        pictures.push(Picture { name: "skips", caption: said_of_skips(found), png: Heats { tables: &skips(found), columns: 2 }.png()? });
    }
    if !found.told.is_empty() && found.steps.len() > 1 {
        pictures.push(Picture { name: "told-t", caption: said_of_told(found), png: Heats { tables: &told_t(found), columns: 3 }.png()? });
    }
    if let Some(of) = &found.spectra {
        pictures.push(Picture {
            name: "spectra",
            caption: said_of_spectra(of, &found.bands),
            png: Heats { tables: &spectra(found, of), columns: 2 }.png()?,
        });
    }
    Ok(pictures)
}

fn names<T: ToString>(of: &[T]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

fn bands(found: &Anatomy) -> Vec<String> {
    (0..found.bands.len()).map(|band| spectrum::name(&found.bands, band)).collect()
}

/// What a change adds to the error: of each band, at each step.
fn added(found: &Anatomy, changed: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let at = |band: usize, step: usize| changed[step][band] - found.intact[step][band];
    (0..found.bands.len()).map(|band| (0..found.steps.len()).map(|step| at(band, step)).collect()).collect()
}

/// The two changes of each connection.
fn changes(found: &Anatomy) -> impl Iterator<Item = (&SkipErrors, [Vec<Vec<f64>>; 2])> {
    found.skips.iter().map(|skip| (skip, [added(found, &skip.zeros), added(found, &skip.next_image)]))
}

fn skips(found: &Anatomy) -> Vec<Heat> {
    let all = changes(found).flat_map(|(_, tables)| tables).flatten().flatten();
    let most = all.fold(f64::MIN_POSITIVE, f64::max);
    let tables = |(skip, tables): (&SkipErrors, [Vec<Vec<f64>>; 2])| {
        let titles = ["zeros", "another image's"];
        let heat = |(title, rows): (&str, Vec<Vec<f64>>)| Heat {
            title: format!("{} to {}, {}x{}: {title}", skip.from, skip.to, skip.height, skip.width),
            across: ("t".into(), names(&found.steps)),
            down: ("cycles".into(), bands(found)),
            rows,
            shade: Shade::Added(most),
            texts: None,
        };
        titles.into_iter().zip(tables).map(heat).collect::<Vec<_>>()
    };
    changes(found).flat_map(tables).collect()
}

/// Errors as factors of that at the true step.
fn factors(errors: &[Vec<f64>]) -> Vec<Vec<f64>> {
    errors.iter().enumerate().map(|(step, row)| row.iter().map(|error| error / row[step]).collect()).collect()
}

fn told_t(found: &Anatomy) -> Vec<Heat> {
    let steps = names(&found.steps);
    let heat = |told: &ToldErrors| Heat {
        title: match told.way {
            Way::Down => "error, t told to the way down".into(),
            Way::Up => "error, t told to the way up".into(),
            Way::Both => "error, t told to all".into(),
        },
        across: ("t told".into(), steps.clone()),
        down: ("true t".into(), steps.clone()),
        rows: factors(&told.errors),
        shade: Shade::Factor,
        texts: None,
    };
    let blocks: Vec<String> = found.shifts.iter().map(|shift| shift.block.clone()).collect();
    let course = |title: &str, rows: Vec<Vec<f64>>, shade| Heat {
        title: title.into(),
        across: ("t".into(), steps.clone()),
        down: ("block".into(), blocks.clone()),
        rows,
        shade,
        texts: None,
    };
    let sizes = found.shifts.iter().map(|shift| shift.size.clone()).collect();
    let directions = found.shifts.iter().map(|shift| shift.direction.clone()).collect();
    let courses =
        [course("time shift / features, RMS", sizes, Shade::Share), course("cosine to the features' mean", directions, Shade::Signed)];
    found.told.iter().map(heat).chain(courses).collect()
}

/// Power by the steps of the reverse process: of each band, at each step.
fn by_band(of: &[Vec<f64>], each: impl Fn(usize, f64) -> f64) -> Vec<Vec<f64>> {
    let n = of.first().map_or(0, Vec::len);
    (0..n).map(|band| of.iter().map(|at| each(band, at[band])).collect()).collect()
}

fn spectra(found: &Anatomy, spectra: &Spectra) -> Vec<Heat> {
    let Spectra { steps, data, x0, eps } = spectra;
    let heat = |title: &str, rows| Heat {
        title: title.into(),
        across: ("t".into(), names(steps)),
        down: ("cycles".into(), bands(found)),
        rows,
        shade: Shade::Share,
        texts: None,
    };
    vec![
        heat("power of x̂₀ / of real images", by_band(x0, |band, power| ratio(power, data[band]))),
        heat("power of ε̂ (white noise: 1)", by_band(eps, |_, power| power)),
    ]
}

/// `a / b`; of nothing nothing.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// Three decimals, or of what is below a thousandth two digits.
fn digits(v: f64) -> String {
    if v.abs() < 0.001 { format!("{v:.1e}") } else { format!("{v:.3}") }
}

/// A band in a sentence.
fn cycles(edges: &[f64], band: usize) -> String {
    match (band, edges.get(band + 1)) {
        (0, _) => "in the image's mean".into(),
        (_, Some(next)) => format!("at {} to {next} cycles", edges[band]),
        (_, None) => format!("at {} cycles or more", edges[band]),
    }
}

fn said_of_skips(found: &Anatomy) -> String {
    let mean = |table: &[Vec<f64>]| table.iter().flatten().sum::<f64>() / found.steps.len() as f64;
    let kinds = ["zeros", "another image's features"];
    let said = kinds.into_iter().enumerate().filter_map(|(kind, carried)| {
        let costs = changes(found).map(|(skip, mut tables)| (skip, std::mem::take(&mut tables[kind])));
        let (skip, table) = costs.max_by(|a, b| mean(&a.1).total_cmp(&mean(&b.1)))?;
        let cost = mean(&table);
        if cost <= 0.0 {
            return Some(format!("No connection is missed where it carries {carried}."));
        }
        // Of bands whose error grew.
        let grown: Vec<f64> = table.iter().map(|row| row.iter().sum::<f64>().max(0.0)).collect();
        let (band, most) = grown.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let share = 100.0 * most / grown.iter().sum::<f64>();
        let SkipErrors { from, to, height, width, .. } = skip;
        Some(format!(
            "Carrying {carried} costs most in the connection from {from} to {to} ({height}x{width}): {} more error, averaged over t, {share:.0}% of it {}.",
            digits(cost),
            cycles(&found.bands, band),
        ))
    });
    let begin = format!(
        "What each skip connection carries: what is added to the mean squared error of ε where it carries zeros or another image's features, by t \
         and by cycles along the longer side of an image ({} {} images; {} with nothing changed).",
        found.images,
        found.split,
        digits(mean(&found.intact)),
    );
    [begin].into_iter().chain(said).collect::<Vec<_>>().join(" ")
}

fn said_of_told(found: &Anatomy) -> String {
    // The geometric mean of what a wrong t multiplies the error by.
    let factor = |way: Way| {
        let errors = &found.told.iter().find(|told| told.way == way)?.errors;
        let factors = factors(errors);
        let wrong = factors.iter().enumerate().flat_map(|(i, row)| row.iter().enumerate().filter(move |(j, _)| *j != i));
        let logs: Vec<f64> = wrong.map(|(_, factor)| libm::log(*factor)).collect();
        Some(libm::exp(logs.iter().sum::<f64>() / logs.len() as f64))
    };
    let mean = match (factor(Way::Both), factor(Way::Down), factor(Way::Up)) {
        (Some(both), Some(down), Some(up)) => {
            let [all, one, other] = [both, down, up].map(|factor| format!("{factor:.2}"));
            let more = if down > up { "down" } else { "up" };
            let verdict = if one == other { String::new() } else { format!(": the way {more} needs it more") };
            format!(
                "{all} where all of the network is told it, {one} where the way down and the middle are, and {other} where the way up is{verdict}"
            )
        }
        (both, ..) => format!("{:.2}; the first layer alone is told t", both.unwrap_or(f64::NAN)),
    };
    let all = found.shifts.iter().flat_map(|shift| shift.size.iter().zip(&found.steps).map(move |(size, t)| (&shift.block, t, size)));
    let largest = all.max_by(|a, b| a.2.total_cmp(b.2)).map_or_else(String::new, |(block, t, size)| {
        format!(
            " Relative to the features that it is added to, the time shift is largest in {block} at t = {t}: {} of their root mean square.",
            digits(*size)
        )
    });
    format!(
        "Which half needs to know t: the error of ε where a wrong t is told, as a multiple of the error where the true one is. Its geometric mean \
         over all wrong t is {mean}.{largest}"
    )
}

fn said_of_spectra(spectra: &Spectra, edges: &[f64]) -> String {
    // From where on a band keeps within a factor of two of the data's power.
    let settled = |band: usize| {
        let is_off = |at: &Vec<f64>| !(0.5..=2.0).contains(&ratio(at[band], spectra.data[band]));
        let first = spectra.x0.iter().rposition(is_off).map_or(0, |last| last + 1);
        let t = spectra.steps.get(first)?;
        Some(format!("{} from t = {t} on", cycles(edges, band)))
    };
    let order: Vec<String> = (1..edges.len()).filter_map(settled).collect();
    let order = match order.is_empty() {
        true => "x̂₀ ends within a factor of two of real images' power in no band.".to_string(),
        false => format!("x̂₀ keeps within a factor of two of real images' power {}.", order.join(", ")),
    };
    let all = spectra.eps.iter().zip(&spectra.steps).flat_map(|(at, t)| at.iter().enumerate().map(move |(band, power)| (band, t, power)));
    let least = all.min_by(|a, b| a.2.total_cmp(b.2)).filter(|least| *least.2 < 1.0);
    let white = least.map_or_else(String::new, |(band, t, power)| {
        format!(" ε̂ falls furthest below white noise {}, at t = {t}: {} of its power.", cycles(edges, band), digits(*power))
    });
    // Of one pixel there is the mean alone.
    let order = if edges.len() > 1 { order } else { String::new() };
    format!("When frequencies appear along the reverse process, in cycles along the longer side of an image: {order}{white}")
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::store::ShiftCourse;

    fn table(rows: [[f64; 2]; 2]) -> Vec<Vec<f64>> {
        rows.map(Vec::from).to_vec()
    }

    /// Two steps, two bands, two connections: by hand.
    fn found() -> Anatomy {
        let skip = |from: &str, zeros, next| SkipErrors {
            from: from.into(),
            to: format!("up of {from}"),
            height: 14,
            width: 7,
            zeros: table(zeros),
            next_image: table(next),
        };
        let told = |way, errors| ToldErrors { way, errors: table(errors) };
        Anatomy {
            images: 5,
            split: "held-out".into(),
            steps: vec![1, 9],
            bands: vec![0.0, 1.0],
            intact: table([[0.1, 0.3], [0.0, 0.2]]),
            skips: vec![
                skip("a", [[0.1, 0.3], [0.0, 0.2]], [[0.5, 0.3], [0.2, 0.4]]),
                skip("b", [[0.2, 0.7], [0.1, 0.4]], [[0.1, 0.3], [0.0, 0.2]]),
            ],
            told: vec![
                told(Way::Down, [[0.4, 3.6], [1.8, 0.2]]),
                told(Way::Up, [[0.4, 0.8], [0.4, 0.2]]),
                told(Way::Both, [[0.4, 4.0], [2.0, 0.2]]),
            ],
            shifts: vec![ShiftCourse { block: "down.0.0".into(), size: vec![0.25, 0.5], direction: vec![-0.5, 0.5] }],
            spectra: Some(Spectra {
                steps: vec![9, 1],
                data: vec![4.0, 2.0],
                x0: table([[4.0, 0.5], [4.0, 1.0]]),
                eps: table([[1.0, 0.95], [0.5, 0.9]]),
            }),
        }
    }

    /// The second connection's zeros add 0.5 and 0.3, of which 0.4 and 0.2 above the mean; the first one's other images 0.4 at each step.
    #[test]
    fn sentences_are_made_of_the_numbers() {
        let found = found();
        let said = said_of_skips(&found);
        for part in [
            "(5 held-out images; 0.300 with nothing changed).",
            "Carrying zeros costs most in the connection from b to up of b (14x7): 0.400 more error, averaged over t, 75% of it at 1 cycles or more.",
            "Carrying another image's features costs most in the connection from a to up of a (14x7): 0.400 more error, averaged over t, 75% of it in the image's mean.",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        // Factors 10 and 10; 9 and 9; 2 and 2.
        let said = said_of_told(&found);
        for part in [
            "is 10.00 where all of the network is told it, 9.00 where the way down and the middle are, and 2.00 where the way up is: the way down needs it more.",
            "largest in down.0.0 at t = 9: 0.500 of their root mean square.",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let said = said_of_spectra(found.spectra.as_ref().unwrap(), &found.bands);
        assert!(said.contains("real images' power at 1 cycles or more from t = 1 on. ε̂ falls furthest below white noise in the image's mean, at t = 1: 0.500 of its power."), "{said}");
    }

    /// Nothing is said of what is not there, or is not so.
    #[test]
    fn sentences_say_no_more_than_is_so() {
        // What costs nothing, or even helps.
        let mut same = found();
        same.skips[1].zeros = same.intact.clone();
        same.skips[1].zeros[0][0] -= 0.05;
        same.skips.remove(0);
        let said = said_of_skips(&same);
        assert!(
            said.ends_with(
                "No connection is missed where it carries zeros. No connection is missed where it carries another image's features."
            ),
            "{said}"
        );
        // Both halves alike; the first layer alone.
        let mut alike = found();
        alike.told[0].errors = alike.told[1].errors.clone();
        assert!(said_of_told(&alike).contains("and 2.00 where the way up is. Relative"), "{}", said_of_told(&alike));
        alike.told.drain(..2);
        assert!(said_of_told(&alike).contains("is 10.00; the first layer alone is told t."), "{}", said_of_told(&alike));
        // Power that is right, then far too high, then right; and that ends too low; and of images without any.
        let spectra = |x0, data: [f64; 2], eps| Spectra { steps: vec![9, 1], data: data.into(), x0: table(x0), eps: table(eps) };
        let of = |x0, data, eps| said_of_spectra(&spectra(x0, data, eps), &[0.0, 1.0]);
        let white = [[1.0, 1.0], [1.0, 1.5]];
        assert!(of([[1.0, 9.0], [1.0, 1.5]], [1.0, 1.0], white).ends_with("real images' power at 1 cycles or more from t = 1 on."));
        assert!(of([[1.0, 1.0], [1.0, 1.5]], [1.0, 1.0], white).ends_with("real images' power at 1 cycles or more from t = 9 on."));
        assert!(of([[1.0, 1.0], [1.0, 0.4]], [1.0, 1.0], white).ends_with("real images' power in no band."));
        assert!(of([[1.0, 1.0], [1.0, 1.0]], [1.0, 0.0], white).ends_with("real images' power in no band."));
    }

    #[test]
    fn tables_hold_what_was_found() {
        let found = found();
        let heats = skips(&found);
        let titles: Vec<&str> = heats.iter().map(|heat| &heat.title[..]).collect();
        let [a, b] = ["a to up of a, 14x7", "b to up of b, 14x7"];
        assert_eq!(
            titles,
            [format!("{a}: zeros"), format!("{a}: another image's"), format!("{b}: zeros"), format!("{b}: another image's")]
        );
        // Bands in rows, steps in columns.
        let close = |a: &[Vec<f64>], b: [[f64; 2]; 2]| a.concat().iter().zip(b.concat()).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(&heats[2].rows, [[0.1, 0.1], [0.4, 0.2]]) && close(&heats[1].rows, [[0.4, 0.2], [0.0, 0.2]]), "{heats:?}");
        assert!(matches!(heats[0].shade, Shade::Added(most) if (most - 0.4).abs() < 1e-12));
        let told = told_t(&found);
        assert!(close(&told[0].rows, [[1.0, 9.0], [9.0, 1.0]]) && close(&told[1].rows, [[1.0, 2.0], [2.0, 1.0]]), "{told:?}");
        assert_eq!((&told[3].rows, &told[4].rows), (&vec![vec![0.25, 0.5]], &vec![vec![-0.5, 0.5]]));
        let spectra = spectra(&found, found.spectra.as_ref().unwrap());
        assert!(close(&spectra[0].rows, [[1.0, 1.0], [0.25, 0.5]]) && close(&spectra[1].rows, [[1.0, 0.5], [0.95, 0.9]]), "{spectra:?}");
        let drawn = |found: &Anatomy| pictures(found).unwrap().iter().map(|picture| picture.name).collect::<Vec<_>>();
        assert_eq!(drawn(&found), ["skips", "told-t", "spectra"]);
        assert!(drawn(&Anatomy { skips: vec![], told: vec![], spectra: None, ..found.clone() }).is_empty());
        // Of one step there is no wrong t.
        assert_eq!(drawn(&Anatomy { steps: vec![1], skips: vec![], ..found }), ["spectra"]);
    }
}
