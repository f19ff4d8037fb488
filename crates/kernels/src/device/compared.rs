//! Two devices side by side: every operation runs on both from the same memory, and what they wrote is compared. The first operation that
//! differs is named, so that a wrong kernel is found without looking for it through a whole network.

use super::launch::ElementType;
use super::{Device, Op, Span};
use candle_core::{Result, bail};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What was seen of the operations of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// How often it ran.
    pub runs: usize,
    /// The largest error, as a multiple of what is allowed: at most 1.
    pub worst: f64,
    /// What is wrong with the first run that differs, where one does.
    pub wrong: Option<String>,
}

/// What was seen so far, by the operation's name.
pub type Comparisons = Rc<RefCell<BTreeMap<String, Comparison>>>;

/// A device that is compared with a trusted one. What is read from it is the trusted one's.
pub struct Compared {
    tested: Box<dyn Device>,
    trusted: Box<dyn Device>,
    /// What both have in their memory.
    memory: Vec<u8>,
    /// Each operation as a program of its own, on both.
    programs: Vec<(Vec<Op>, Vec<[usize; 2]>)>,
    findings: Comparisons,
}

impl Compared {
    /// What is found stays readable through the second part of the result while a network owns the first.
    pub fn new(tested: Box<dyn Device>, trusted: Box<dyn Device>) -> (Compared, Comparisons) {
        let findings = Comparisons::default();
        (Compared { tested, trusted, memory: Vec::new(), programs: Vec::new(), findings: findings.clone() }, findings)
    }

    /// Runs an operation on both. Returns the largest error as a multiple of the tolerance and, if something is wrong, what it is.
    fn both(&mut self, op: &Op, programs: [usize; 2]) -> Result<(f64, Option<String>)> {
        let all = Span { at: 0, bytes: self.memory.len() };
        let (mut wanted, mut found) = (vec![0u8; all.bytes], vec![0u8; all.bytes]);
        self.tested.run(programs[0])?;
        self.tested.download(all, &mut found)?;
        self.trusted.run(programs[1])?;
        self.trusted.download(all, &mut wanted)?;
        let (mut worst, mut wrong) = (0f64, None);
        let targets = op.targets();
        for (span, element) in &targets {
            let part = |bytes: &[u8]| numbers(&bytes[span.at..span.at + span.bytes], *element);
            match difference(&part(&self.memory), &part(&wanted), &part(&found), allowed(op, *element)) {
                Ok(error) => worst = worst.max(error),
                Err(why) => wrong = wrong.or(Some(why)),
            }
        }
        for (who, bytes) in [("", &found), ("the trusted device: ", &wanted)] {
            if let Some(at) = outside(&targets, &self.memory, bytes) {
                wrong = wrong.or(Some(format!("{who}byte {at} was overwritten, outside of what it may write")));
            }
        }
        if let Some(at) = self.undeclared(op, programs[1], &wanted)? {
            wrong = wrong.or(Some(format!("the trusted device: byte {at} depends on what lies outside of what it may read")));
        }
        if worst > 1.0 {
            wrong = wrong.or(Some(format!("{worst:.3} times the error that is allowed")));
        }
        // The next operation begins alike on both.
        if wrong.is_some() {
            self.tested.upload(all, &wanted)?;
        } else {
            for (span, _) in &targets {
                self.tested.upload(*span, &wanted[span.at..span.at + span.bytes])?;
            }
        }
        self.memory = wanted;
        Ok((worst, wrong))
    }

    /// The first byte of the targets that changes when all memory that the operation does not declare is NaN.
    fn undeclared(&mut self, op: &Op, program: usize, wanted: &[u8]) -> Result<Option<usize>> {
        let all = Span { at: 0, bytes: self.memory.len() };
        let (mut memory, mut found) = (vec![0xff; all.bytes], vec![0; all.bytes]);
        for span in op.places() {
            let named = span.at..span.at + span.bytes;
            memory[named.clone()].copy_from_slice(&self.memory[named]);
        }
        self.trusted.upload(all, &memory)?;
        self.trusted.run(program)?;
        self.trusted.download(all, &mut found)?;
        self.trusted.upload(all, wanted)?;
        let targets = op.targets();
        Ok(targets.iter().flat_map(|(span, _)| span.at..span.at + span.bytes).find(|at| found[*at] != wanted[*at]))
    }
}

/// The first byte outside of `targets` that is another one now.
fn outside(targets: &[(Span, ElementType)], before: &[u8], now: &[u8]) -> Option<usize> {
    let mut spans: Vec<Span> = targets.iter().map(|target| target.0).collect();
    spans.sort_by_key(|span| span.at);
    let end = Span { at: before.len(), bytes: 0 };
    let mut from = 0;
    for span in spans.into_iter().chain([end]) {
        let between = from..span.at.max(from);
        if before[between.clone()] != now[between.clone()] {
            return between.into_iter().find(|at| before[*at] != now[*at]);
        }
        from = from.max(span.at + span.bytes);
    }
    None
}

/// Numbers of a place in f64, which holds all of them but large u64.
fn numbers(bytes: &[u8], element: ElementType) -> Vec<f64> {
    let word = |b: &[u8]| b.iter().rev().fold(0u64, |all, byte| (all << 8) | *byte as u64);
    let number = |b: &[u8]| match element {
        ElementType::F32 => f32::from_bits(word(b) as u32) as f64,
        ElementType::Bf16 => f32::from_bits((word(b) as u32) << 16) as f64,
        ElementType::F64 => f64::from_bits(word(b)),
        ElementType::U64 | ElementType::U32 | ElementType::Byte => word(b) as f64,
    };
    bytes.chunks_exact(element.size()).map(number).collect()
}

/// Errors allowed, as a share of the number itself and of the largest number that the operation wrote. Sums are taken in another order,
/// bf16 is rounded from sums that differ in their last digit, and TF32 keeps 10 bits of every factor.
fn allowed(op: &Op, element: ElementType) -> (f64, f64) {
    let tf32 = match op {
        Op::Launch(_) => false,
        Op::Product(product) => product.tf32,
        Op::Convolution(convolution) => convolution.tf32,
    };
    match element {
        ElementType::Bf16 => (1.0 / 128.0, 1e-4),
        ElementType::F32 if tf32 => (5e-3, 5e-3),
        ElementType::F32 => (1e-4, 1e-4),
        ElementType::F64 => (1e-6, 1e-6),
        ElementType::U64 | ElementType::U32 | ElementType::Byte => (0.0, 0.0),
    }
}

/// The largest error as a multiple of what is allowed; the error says which number cannot be compared.
fn difference(before: &[f64], wanted: &[f64], found: &[f64], (share, of_largest): (f64, f64)) -> std::result::Result<f64, String> {
    let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
    // Memory that was not written may hold anything.
    let written = before.iter().zip(wanted).filter(|(before, wanted)| !same(**before, **wanted));
    let largest = written.map(|(_, wanted)| wanted.abs()).filter(|v| v.is_finite()).fold(0.0, f64::max);
    let mut worst = 0f64;
    for (i, (wanted, found)) in wanted.iter().zip(found).enumerate() {
        if same(*wanted, *found) {
            continue;
        }
        let bound = share * wanted.abs() + of_largest * largest;
        let error = (wanted - found).abs() / bound;
        if !error.is_finite() || bound == 0.0 {
            return Err(format!("number {i}: expected {wanted}, got {found}"));
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

impl Device for Compared {
    fn name(&self) -> String {
        format!("{} beside {}", self.tested.name(), self.trusted.name())
    }

    fn bytes(&self) -> usize {
        self.tested.bytes()
    }

    fn reserve(&mut self, bytes: usize) -> Result<()> {
        // Whole words, as the devices have them.
        self.memory = vec![0; bytes.next_multiple_of(8)];
        self.programs.clear();
        self.tested.reserve(self.memory.len())?;
        self.trusted.reserve(self.memory.len())
    }

    fn upload(&mut self, to: Span, bytes: &[u8]) -> Result<()> {
        self.memory[to.at..to.at + bytes.len()].copy_from_slice(bytes);
        self.tested.upload(to, bytes)?;
        self.trusted.upload(to, bytes)
    }

    fn download(&mut self, from: Span, bytes: &mut [u8]) -> Result<()> {
        self.trusted.download(from, bytes)
    }

    fn load(&mut self, program: Vec<Op>) -> Result<usize> {
        let mut parts = Vec::new();
        for op in &program {
            parts.push([self.tested.load(vec![op.clone()])?, self.trusted.load(vec![op.clone()])?]);
        }
        self.programs.push((program, parts));
        // Choosing algorithms may have overwritten what programs write.
        self.tested.upload(Span { at: 0, bytes: self.memory.len() }, &self.memory)?;
        Ok(self.programs.len() - 1)
    }

    fn program(&self, program: usize) -> &[Op] {
        &self.programs[program].0
    }

    /// The whole program, whatever differs: each operation begins with what the trusted device has. The error names the first that differs.
    fn run(&mut self, program: usize) -> Result<()> {
        let (ops, parts) = self.programs[program].clone();
        let mut first = None;
        for (i, (op, part)) in ops.iter().zip(parts).enumerate() {
            let name = op.name();
            let place = format!("operation {i} of {}, {name} of {}", ops.len(), op.size());
            let (worst, wrong) = self.both(op, part).map_err(|e| candle_core::Error::Msg(format!("{place}: {e}")))?;
            let mut findings = self.findings.borrow_mut();
            let seen = findings.entry(name).or_default();
            seen.runs += 1;
            seen.worst = seen.worst.max(worst);
            if let Some(wrong) = wrong {
                let told = format!("{place}: {wrong}");
                first.get_or_insert(told.clone());
                seen.wrong.get_or_insert(told);
            }
        }
        match first {
            Some(told) => bail!("{told}"),
            None => Ok(()),
        }
    }

    fn time(&mut self, program: usize) -> Result<Vec<f64>> {
        self.run(program)?;
        Ok(vec![0.0; self.programs[program].0.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_measured_by_what_was_written() {
        // A number that nobody wrote does not make a difference small.
        let before = [1e30, 0.0, 0.0];
        let difference = |found: &[f64], element| {
            let op = Op::Launch(super::super::launch::Launch::each("any", 1, vec![]));
            difference(&before, &[1e30, 1.0, -2.0], found, allowed(&op, element))
        };
        assert_eq!(difference(&[1e30, 1.0, -2.0], ElementType::F32), Ok(0.0));
        assert!(difference(&[1e30, 1.001, -2.0], ElementType::F32).unwrap() > 1.0);
        assert!(difference(&[1e30, 1.0001, -2.0], ElementType::F32).unwrap() < 1.0);
        assert!(difference(&[1e30, 1.005, -2.0], ElementType::Bf16).unwrap() < 1.0);
        assert!(difference(&[1e30, 1.02, -2.0], ElementType::Bf16).unwrap() > 1.0);
        assert!(difference(&[1e30, f64::NAN, -2.0], ElementType::F32).unwrap_err().contains("number 1: expected 1, got NaN"));
        assert!(difference(&[1e30, 1.0, -3.0], ElementType::U32).is_err());
    }

    #[test]
    fn what_lies_outside_of_the_targets_is_found() {
        let span = |at, bytes| (Span { at, bytes }, ElementType::Byte);
        let targets = [span(6, 2), span(1, 3), span(2, 1)];
        let before = [0u8; 10];
        for at in 0..10 {
            let mut now = before;
            now[at] = 1;
            let inside = (1..4).contains(&at) || (6..8).contains(&at);
            assert_eq!(outside(&targets, &before, &now), (!inside).then_some(at));
        }
    }

    #[test]
    fn numbers_are_read_by_their_kind() {
        assert_eq!(numbers(&1.5f32.to_le_bytes(), ElementType::F32), [1.5]);
        assert_eq!(numbers(&[0xc0, 0x3f], ElementType::Bf16), [1.5]);
        assert_eq!(numbers(&(-2.25f64).to_le_bytes(), ElementType::F64), [-2.25]);
        assert_eq!(numbers(&[1, 2, 0, 0, 7, 0, 0, 0], ElementType::U32), [513.0, 7.0]);
        assert_eq!(numbers(&[9, 8], ElementType::Byte), [9.0, 8.0]);
    }

    /// Reads must be declared: this is how it is known what other operations may overwrite in the meantime.
    #[cfg(feature = "emulation")]
    #[test]
    fn what_is_read_and_not_named_is_found() {
        use super::super::emulated::Emulated;
        use super::super::launch::Argument;
        use super::super::{Type, arena::Arena, maps};
        let map = maps::Map { kind: Type::F32, batch: 2, h: 3, w: 4, c: 8 };
        let mut arena = Arena::default();
        let [x, y] = [map.numbers(), 4 * map.numbers()].map(|n| arena.take(4 * n));
        let told = |op: Op| {
            let (mut compared, findings) = Compared::new(Box::<Emulated>::default(), Box::<Emulated>::default());
            compared.reserve(arena.bytes()).unwrap();
            compared.upload(x, &[0x3f; 4].repeat(map.numbers())).unwrap();
            let program = compared.load(vec![op]).unwrap();
            let both = [compared.run(program), compared.run(program)]
                .map(|told| told.map_err(|e| e.to_string().lines().take(1).collect::<String>()));
            assert_eq!(both[0], both[1]);
            (both[0].clone(), findings.borrow()["upsample_f32"].clone())
        };
        let op = maps::upsample(map, x, y);
        assert_eq!(told(op.clone()), (Ok(()), Comparison { runs: 2, worst: 0.0, wrong: None }));
        let Op::Launch(mut launch) = op else { panic!("a kernel of its own") };
        let Argument::MemoryArg(place) = &mut launch.arguments[0] else { panic!("what it reads") };
        place.span.bytes -= 4;
        let (told, seen) = told(Op::Launch(launch));
        let told = told.unwrap_err();
        // The last channel of the last pixel of the second image is first seen two rows and two columns before that image's end.
        let number = ((6 + 4) * 8 + 6) * 8 + 7;
        assert!(told.contains(&format!("byte {} depends on what lies outside", y.at + 4 * number)), "{told}");
        assert_eq!((seen.runs, seen.wrong), (2, Some(told)));
    }
}
