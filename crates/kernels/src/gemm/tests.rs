//! The product in every format, on every instruction set and on the emulated matrix unit, against sums in f64.

use super::moves::{BLOCK, COLUMNS};
use super::pack::{Matrix, OperandSplit};
use super::*;
use crate::random::{Random, Stream};
use crate::simd::Isa;
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Case {
    rows: usize,
    columns: usize,
    /// Words of each segment.
    segments: Vec<usize>,
    /// Elements between the words of a row.
    spread: usize,
    /// Where rows of `a` begin.
    layout: Layout,
    bias: bool,
    accumulate: bool,
    seed: u64,
}

/// Where rows begin.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// At uneven distances.
    Uneven,
    /// In lines of so many rows, with as many places that are nobody's after each: windows of an image.
    Lines(usize, usize),
    /// All in one place.
    Same,
    /// From the last to the first.
    Backwards,
}

fn layouts() -> impl Strategy<Value = Layout> {
    let lines = (1usize..40, 0usize..20).prop_map(|(rows, gap)| Layout::Lines(rows, gap));
    prop_oneof![1 => Just(Layout::Uneven), 3 => lines, 1 => Just(Layout::Same), 1 => Just(Layout::Backwards)]
}

impl Layout {
    /// Where row `row` of `rows` begins.
    fn begin(self, row: usize, rows: usize, random: &Random) -> usize {
        4 * match self {
            Layout::Uneven => row + usize::from(random.word(9, row as u64) & 1 == 1),
            Layout::Lines(n, gap) => row / n * (n + gap) + row % n,
            Layout::Same => 3,
            Layout::Backwards => rows - row,
        }
    }
}

fn cases(words: impl Strategy<Value = usize>) -> impl Strategy<Value = Case> {
    let sizes = (1usize..100, 1usize..80, prop::collection::vec(words, 1..4));
    (sizes, 0usize..4, layouts(), any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |((rows, columns, segments), spread, layout, bias, accumulate, seed)| Case {
            rows,
            columns,
            segments,
            spread,
            layout,
            bias,
            accumulate,
            seed,
        },
    )
}

/// Factors and places of a case; rows of `a` overlap, segments leave gaps, and `a` ends with the last row.
struct Made<F: Format> {
    a: Vec<F::Element>,
    b: Vec<F::Element>,
    places: Vec<RowOffsets>,
    segments: Vec<Segment>,
    rows: usize,
    bias: Vec<F::Number>,
    before: Vec<F::Number>,
    exact: Vec<f64>,
}

const GAP: usize = 3;

fn made<F: Format>(case: &Case) -> Made<F> {
    use crate::simd::Real;
    let random = Random::new(case.seed, Stream::Evaluation);
    let numbers =
        |step: u64, n: usize| -> Vec<F::Number> { (0..n).map(|i| F::Number::of(2.0 * random.uniform(step, i as u64) - 1.0)).collect() };
    let k: usize = case.segments.iter().sum();
    let step = F::PER_WORD + case.spread;
    let reach = (k + GAP * (case.segments.len() - 1) - 1) * step + F::PER_WORD;
    let froms: Vec<usize> = (0..case.rows).map(|row| case.layout.begin(row, case.rows, &random)).collect();
    let a: Vec<F::Element> = numbers(0, reach + froms.iter().max().unwrap()).into_iter().map(F::round).collect();
    let matrix = numbers(1, k * F::PER_WORD * case.columns);
    let mut b = vec![F::Element::default(); panels_len::<F>(k, case.columns)];
    Matrix { data: &matrix, stride: case.columns, transposed: false }.panels::<F>(k * F::PER_WORD, case.columns, OperandSplit::One, &mut b);
    let (mut from, mut row, mut segments) = (0, 0, Vec::new());
    for words in &case.segments {
        segments.push(Segment { from, row, words: *words });
        from += (words + GAP) * step;
        row += words;
    }
    let places: Vec<RowOffsets> =
        froms.iter().enumerate().map(|(i, from)| RowOffsets { from: *from, to: i * case.columns, bias: i * case.columns }).collect();
    let (bias, before) = (numbers(2, case.rows * case.columns), numbers(3, case.rows * case.columns));
    let exact = (0..case.rows * case.columns)
        .map(|at| {
            let (i, n) = (at / case.columns, at % case.columns);
            let mut sum = 0.0;
            for s in &segments {
                for e in 0..s.words * F::PER_WORD {
                    let factor = F::widen(F::round(matrix[(s.row * F::PER_WORD + e) * case.columns + n]));
                    sum += F::widen(a[froms[i] + s.from + e / F::PER_WORD * step + e % F::PER_WORD]).wide() * factor.wide();
                }
            }
            sum + if case.bias { bias[at].wide() } else { 0.0 } + if case.accumulate { before[at].wide() } else { 0.0 }
        })
        .collect();
    Made { a, b, places, segments, rows: k, bias, before, exact }
}

/// Runs a case with `run` on a poisoned result and gives the largest error.
fn error<F: Format>(case: &Case, run: impl Fn(Products<F>)) -> f64 {
    use crate::simd::Real;
    let made = made::<F>(case);
    let mut out: Vec<F::Number> = if case.accumulate { made.before.clone() } else { vec![F::Number::of(f64::NAN); made.before.len()] };
    run(Products {
        a: &made.a,
        places: &made.places,
        segments: &made.segments,
        step: F::PER_WORD + case.spread,
        b: &made.b,
        rows: made.rows,
        columns: case.columns,
        bias: case.bias.then_some(&made.bias[..]),
        accumulate: case.accumulate,
        out: &mut out,
    });
    // A NaN must not vanish in a maximum.
    out.iter().zip(&made.exact).map(|(o, e)| (o.wide() - e).abs()).fold(0.0, |m, v| if v <= m { m } else { v })
}

fn here() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

/// Including NaNs whose rounding would carry into the sign bit, and those whose upper half is that of an infinity.
#[test]
fn what_is_not_a_number_stays_so_in_bf16() {
    for bits in [0x7fff_8000, 0x7fff_ffff, 0xffff_8000, 0x7f80_0001, 0xff80_0001u32] {
        assert!(Bf16::widen(Bf16::round(f32::from_bits(bits))).is_nan(), "{bits:x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn every_instruction_set_multiplies_f32(case in cases(1usize..70)) {
        for isa in here() {
            let error = error::<F32>(&case, |p| multiply_with(isa, p));
            prop_assert!(error < 1e-4, "{}: {error}", isa.name());
        }
    }

    #[test]
    fn every_instruction_set_multiplies_f64(case in cases(1usize..70)) {
        for isa in here() {
            let error = error::<F64>(&case, |p| multiply_with(isa, p));
            prop_assert!(error < 1e-12, "{}: {error}", isa.name());
        }
    }

    #[test]
    fn every_instruction_set_multiplies_bf16(case in cases(1usize..70)) {
        for isa in here() {
            let error = error::<Bf16>(&case, |p| multiply_with(isa, p));
            prop_assert!(error < 1e-4, "{}: {error}", isa.name());
        }
    }

    #[test]
    fn tiles_multiply_bf16(case in cases((1usize..4).prop_map(|n| 16 * n))) {
        let case = Case { spread: 0, ..case };
        // Safety: the emulated unit exists everywhere.
        let emulated = error::<Bf16>(&case, |p| unsafe { tiles::run::<tiles::emulated::EmulatedTiles>(p) });
        prop_assert!(emulated < 1e-4, "{emulated}");
        for isa in here() {
            let error = error::<Bf16>(&case, |p| multiply_with(isa, p));
            prop_assert!(error < 1e-4, "{}: {error}", isa.name());
        }
    }

    /// Rounded, paired and transposed as many at a time as there are: the same as one at a time.
    #[test]
    fn lines_of_bf16_are_moved_as_their_elements(bits in prop::collection::vec(any::<u32>(), 0..100), seed: u64) {
        let numbers: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        for (rest, one) in [(false, Bf16::round as fn(f32) -> u16), (true, Bf16::rest)] {
            let mut found = vec![0x7777; numbers.len() + 1];
            Bf16::elements(rest, &numbers, &mut found);
            let exact: Vec<u16> = numbers.iter().map(|v| one(*v)).chain([0x7777]).collect();
            // A NaN's bits are whatever the subtraction makes of them.
            let nan = |e: u16| if Bf16::widen(e).is_nan() { u16::MAX } else { e };
            let [found, exact] = [found, exact].map(|all| all.into_iter().map(nan).collect::<Vec<_>>());
            prop_assert_eq!(found, exact);
        }
        let random = Random::new(seed, Stream::Evaluation);
        let word = |i: usize, j: usize| random.word(i as u64, j as u64) as u16;
        let block: [[u16; BLOCK]; BLOCK] = std::array::from_fn(|i| std::array::from_fn(|j| word(i, j)));
        let mut pairs = [[0; 2]; BLOCK];
        Bf16::pairs(&block[0], &block[1], &mut pairs);
        prop_assert_eq!(pairs, std::array::from_fn(|j| [block[0][j], block[1][j]]));
        let lines = block.map(|line| *line.first_chunk::<COLUMNS>().unwrap());
        prop_assert_eq!(Bf16::columns(&lines), std::array::from_fn(|j| std::array::from_fn(|i| lines[i][j])));
        let stride = 2 * BLOCK + 6;
        let mut rows = vec![0x7777; (COLUMNS - 1) * stride + 2 * BLOCK];
        Bf16::transposed(&block, COLUMNS, BLOCK, stride, &mut rows);
        for (at, found) in rows.iter().enumerate() {
            let (word, column) = (at / stride, at % stride);
            prop_assert_eq!(*found, if column < 2 * BLOCK { block[column / 2][2 * word + column % 2] } else { 0x7777 });
        }
    }

    #[test]
    fn bf16_is_the_nearest(bits: u32) {
        let v = f32::from_bits(bits);
        let rounded = Bf16::widen(Bf16::round(v));
        if v.is_nan() {
            prop_assert!(rounded.is_nan());
        } else if v.abs() < 3.38e38 {
            // Both neighbours of the result are at least as far away.
            for other in [Bf16::round(v).wrapping_add(1), Bf16::round(v).wrapping_sub(1)].map(Bf16::widen).into_iter().filter(|o| o.is_finite()) {
                prop_assert!((rounded as f64 - v as f64).abs() <= (other as f64 - v as f64).abs());
            }
            prop_assert!((v as f64 - rounded as f64 - Bf16::widen(Bf16::rest(v)) as f64).abs() <= 2f64.powi(-16) * (v as f64).abs() + 1e-40);
        }
    }
}

/// Sums that are taken in several parts have their bias, and what was there before, once.
#[test]
fn long_sums_begin_once() {
    fn holds(name: &str, error: f64) {
        assert!(error < 1e-3, "{name}: {error}");
    }
    for accumulate in [false, true] {
        let case =
            Case { rows: 21, columns: 40, segments: vec![800; 3], spread: 0, layout: Layout::Lines(7, 2), bias: true, accumulate, seed: 4 };
        for isa in here() {
            holds(isa.name(), error::<F32>(&case, |p| multiply_with(isa, p)));
            holds(isa.name(), error::<Bf16>(&case, |p| multiply_with(isa, p)));
        }
        // Safety: the emulated unit exists everywhere.
        holds("emulated", error::<Bf16>(&case, |p| unsafe { tiles::run::<tiles::emulated::EmulatedTiles>(p) }));
    }
}

#[test]
#[should_panic(expected = "rows reach")]
fn rows_that_leave_the_factor_are_refused() {
    let (a, b, mut out) = (vec![0f32; 9], vec![0f32; panels_len::<F32>(10, 4)], vec![0f32; 4]);
    let segments = [Segment { from: 0, row: 0, words: 10 }];
    let places = [RowOffsets::default()];
    multiply(Products::<F32> {
        a: &a,
        places: &places,
        segments: &segments,
        step: 1,
        b: &b,
        rows: 10,
        columns: 4,
        bias: None,
        accumulate: false,
        out: &mut out,
    });
}

/// Transposed or not, every number is in its place, and rows are padded to whole words.
#[test]
fn rows_of_a_matrix_are_its_rows() {
    let (rows, columns, stride) = (40, 71, 77);
    let number = |row: usize, column: usize| (row * 100 + column) as f32 / 64.0;
    for transposed in [false, true] {
        let data: Vec<f32> = (0..rows.max(columns) * stride)
            .map(|i| if transposed { number(i % stride, i / stride) } else { number(i / stride, i % stride) })
            .collect();
        let m = Matrix { data: &data, stride, transposed };
        let mut plain = vec![f32::NAN; rows * columns];
        m.rows::<F32>(rows, columns, OperandSplit::One, &mut plain);
        let len = columns.next_multiple_of(Bf16::PER_WORD);
        let mut split = vec![0xFFFF; 2 * rows * len];
        m.rows::<Bf16>(rows, columns, OperandSplit::Two, &mut split);
        for row in 0..rows {
            for column in 0..columns {
                let (exact, at) = (number(row, column), row * len + column);
                assert_eq!(plain[row * columns + column], exact);
                assert_eq!((split[at], split[rows * len + at]), (Bf16::round(exact), Bf16::rest(exact)));
            }
            assert_eq!(split[row * len + columns], 0);
        }
    }
}
