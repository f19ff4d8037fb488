//! Images on their way from a source to where they are kept: decoded on all cores, of one shape, split.

use super::decode::KINDS;
use super::entries::{Beside, Entry, First, Fit, See, Unfit};
use super::images::Images;
use super::split::{HeldOut, Split};
use crate::base::stop;
use anyhow::{Result, bail, ensure};
use ddpm_model::network::ImageShape;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// How many images are decoded together: enough for every core, few beside a set.
pub const CHUNK: usize = 512;

/// Most classes: labels are bytes.
const CLASSES: usize = 256;

/// What became of an image of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// It is one of the set.
    Kept = 0,
    /// It could not be read.
    Unreadable = 1,
    /// Its shape is not the set's.
    Unequal = 2,
}

/// An image that has been decoded, with its pixels where it is kept.
pub struct Seen {
    /// As the source has it.
    pub entry: Entry,
    /// What becomes of it.
    pub fate: Fate,
    /// `[H, W, C]`.
    pub pixels: Vec<u8>,
}

/// Where images are kept.
pub trait Sink: Send {
    /// What became of the source's first images at an earlier time: they are here.
    fn known(&self) -> (&[Fate], Option<First>);
    /// Takes those that follow, in the source's order.
    fn take(&mut self, seen: Vec<Seen>, first: Option<&First>) -> Result<()>;
}

/// In memory.
pub struct Memory {
    /// All pixels so far.
    pub pixels: Vec<u8>,
    /// Most bytes of them.
    pub most: u64,
}

impl Sink for Memory {
    fn known(&self) -> (&[Fate], Option<First>) {
        (&[], None)
    }

    fn take(&mut self, seen: Vec<Seen>, _: Option<&First>) -> Result<()> {
        seen.iter().for_each(|seen| self.pixels.extend_from_slice(&seen.pixels));
        if self.pixels.len() as u64 > self.most { Err(TooLarge.into()) } else { Ok(()) }
    }
}

/// A set is larger than what may be held in memory.
#[derive(Debug)]
pub struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is too large to be held in memory")
    }
}

impl std::error::Error for TooLarge {}

/// All that is known of a set's images but their pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sorted {
    /// Whether each is held out.
    pub held: Vec<bool>,
    /// Each one's class; empty where there are none.
    pub labels: Vec<u8>,
    /// What a person is told.
    pub about: About,
}

/// A set's classes, and what is not one of its images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The classes' names, where there are any.
    pub classes: Vec<String>,
    /// Whether the source knows these names; else they are numbers.
    pub named: bool,
    /// What is not among the images, for a person.
    pub left_out: Vec<String>,
}

impl Sorted {
    /// Of the images that are held out, or of the others: their places, and their classes.
    pub fn part(&self, held: bool) -> (Vec<u32>, Vec<u8>) {
        let rows: Vec<u32> = (0..self.held.len()).filter(|i| self.held[*i] == held).map(|i| i as u32).collect();
        let labels = if self.labels.is_empty() { Vec::new() } else { rows.iter().map(|row| self.labels[*row as usize]).collect() };
        (rows, labels)
    }
}

/// A source's images, split.
#[derive(Debug)]
pub struct Gathered {
    /// Images to train on.
    pub train: Images,
    /// Images never trained on.
    pub held_out: Images,
    /// What else is known.
    pub about: About,
}

impl Gathered {
    /// With the images of another set held out; `here` and `there` are where both were found.
    pub fn hold_out(&mut self, others: Gathered, here: &Path, there: &Path) -> Result<()> {
        let (shape, other) = (self.train.shape, others.train.shape);
        ensure!(other == shape, "{}: expected {shape}, as {} has, got {other}", there.display(), here.display());
        let (mine, its) = (&mut self.about, others.about);
        if mine.named || its.named || mine.classes.is_empty() != its.classes.is_empty() {
            let words = |classes: &[String]| if classes.is_empty() { "none".into() } else { classes.join(", ") };
            let (expected, got) = (words(&mine.classes), words(&its.classes));
            ensure!(expected == got, "{}: expected the classes of {}, {expected}, got {got}", there.display(), here.display());
        } else if its.classes.len() > mine.classes.len() {
            mine.classes = its.classes;
        }
        self.held_out = others.train;
        mine.left_out.extend(its.left_out);
        Ok(())
    }
}

/// Shows a source's images.
pub type Show<'a> = dyn Fn(&mut See) -> Result<Beside> + 'a;

/// The images that `show` shows, in memory; none where they are more than `most` bytes.
pub fn in_memory(origin: &str, fit: Fit, held_out: &HeldOut, most: u64, show: &Show) -> Result<Option<Gathered>> {
    let mut memory = Memory { pixels: Vec::new(), most };
    let (sorted, (shape, _)) = match gather(origin, fit, held_out, &mut memory, show) {
        Err(error) if error.is::<TooLarge>() => return Ok(None),
        gathered => gathered?,
    };
    // In place: there may be no room for a copy.
    let (mut pixels, len, mut apart, mut trained) = (memory.pixels, shape.len(), Vec::new(), 0);
    for (i, held) in sorted.held.iter().enumerate() {
        if *held {
            apart.extend_from_slice(&pixels[i * len..(i + 1) * len]);
        } else {
            pixels.copy_within(i * len..(i + 1) * len, trained * len);
            trained += 1;
        }
    }
    pixels.truncate(trained * len);
    let images = |pixels, held| Images::new(shape, pixels, sorted.part(held).1);
    Ok(Some(Gathered { train: images(pixels, false), held_out: images(apart, true), about: sorted.about.clone() }))
}

/// Decodes all images that `show` shows, into `sink`, and sorts them. Errors of the set as a whole begin with `origin`.
pub fn gather(origin: &str, fit: Fit, held_out: &HeldOut, sink: &mut dyn Sink, show: &Show) -> Result<(Sorted, First)> {
    let (known, first) = sink.known();
    let known = known.to_vec();
    let split = Split::of(held_out)?;
    let (labels, held, unread, decoded) = Default::default();
    let mut decoder = Decoder { fit, split, first, sink, decoded, labels, held, unread };
    let (mut chunk, mut known) = (Vec::with_capacity(CHUNK), known.into_iter());
    let shown = show(&mut |entry| {
        if let Some(fate) = known.next() {
            decoder.settle(&entry, fate);
            return stop::check();
        }
        chunk.push(entry);
        if chunk.len() == CHUNK { decoder.decode(&mut chunk) } else { Ok(()) }
    });
    let shown = shown.and_then(|beside| decoder.decode(&mut chunk).map(|()| beside));
    // What is decoded is taken, whatever came behind it.
    let taken = decoder.sink.take(std::mem::take(&mut decoder.decoded), decoder.first.as_ref());
    let beside = shown?;
    taken?;
    let Decoder { split, first, labels, held, unread, .. } = decoder;
    let mut left_out: Vec<String> = beside.left_out.into_iter().chain(unread).map(|(what, n)| format!("{n} {what}")).collect();
    let Some(first) = first else {
        let beside = if left_out.is_empty() { String::new() } else { format!(" (there are: {})", left_out.join(", ")) };
        bail!("{origin}: expected {KINDS} images, found none{beside}");
    };
    let n = labels.len();
    ensure!(u32::try_from(n).is_ok(), "{origin}: expected at most {} images, got {n}", u32::MAX);
    // Where an image has no class, none is kept.
    let without = labels.iter().filter(|label| label.is_none()).count();
    if (1..n).contains(&without) {
        left_out.push(format!("the classes, which {without} of {n} images do not have"));
    }
    let numbers = labels.into_iter().collect::<Option<Vec<usize>>>();
    let count = numbers.as_ref().and_then(|labels| labels.iter().max()).map_or(0, |last| last.saturating_add(1));
    let known = beside.classes.len();
    ensure!(
        known == 0 || count <= known,
        "{origin}: expected classes below {known}, the number of their names, got {}",
        count.wrapping_sub(1)
    );
    let held = split.end(held, &numbers.clone().unwrap_or_else(|| vec![0; n]), origin)?;
    let kept = numbers.filter(|_| count <= CLASSES);
    if count > CLASSES {
        left_out.push(format!("the names of {count} classes, of which at most {CLASSES} are kept"));
    }
    let named = !beside.classes.is_empty();
    let classes = match &kept {
        Some(_) if !named => (0..count).map(|class| class.to_string()).collect(),
        Some(_) => beside.classes,
        None => Vec::new(),
    };
    let labels = kept.unwrap_or_default().into_iter().map(|label| label as u8).collect();
    Ok((Sorted { held, labels, about: About { classes, named, left_out } }, first))
}

/// Images on their way.
struct Decoder<'a> {
    fit: Fit,
    split: Split,
    first: Option<First>,
    sink: &'a mut dyn Sink,
    /// What the sink has not taken yet: it does while the next ones are decoded.
    decoded: Vec<Seen>,
    /// Of the images that are kept.
    labels: Vec<Option<usize>>,
    held: Vec<bool>,
    /// How many images are left out, and why.
    unread: BTreeMap<String, usize>,
}

impl Decoder<'_> {
    fn decode(&mut self, chunk: &mut Vec<Entry>) -> Result<()> {
        stop::check()?;
        let (sink, fit, before, first) = (&mut *self.sink, self.fit, std::mem::take(&mut self.decoded), self.first.as_ref());
        let decode = || chunk.par_iter().map(|entry| fit.picture(entry)).collect::<Vec<Result<(ImageShape, Vec<u8>)>>>();
        let (taken, decoded) = rayon::join(|| sink.take(before, first), decode);
        taken?;
        for (entry, decoded) in chunk.drain(..).zip(decoded) {
            let (fate, pixels) = match decoded {
                Err(error) if self.fit.unfit == Unfit::Refuse => return Err(error.context(entry.place)),
                Err(_) => (Fate::Unreadable, Vec::new()),
                Ok((shape, pixels)) => {
                    let (expected, whose) = self.first.get_or_insert_with(|| (shape, entry.place.clone()));
                    match shape == *expected {
                        true => (Fate::Kept, pixels),
                        false if self.fit.unfit == Unfit::LeaveOut => (Fate::Unequal, Vec::new()),
                        false => bail!("{}: expected {expected}, as {whose} has, got {shape}", entry.place),
                    }
                }
            };
            self.settle(&entry, fate);
            self.decoded.push(Seen { entry, fate, pixels });
        }
        Ok(())
    }

    fn settle(&mut self, entry: &Entry, fate: Fate) {
        // Of those that are left out too: a list may name them.
        let held = self.split.holds(&entry.name);
        let why = match (fate, &self.first) {
            (Fate::Unreadable, _) => "that cannot be read".into(),
            (Fate::Unequal, Some((expected, _))) => format!("of a shape other than {expected}"),
            (Fate::Unequal, None) | (Fate::Kept, _) => {
                self.labels.push(entry.class);
                self.held.push(held);
                return;
            }
        };
        *self.unread.entry(why).or_default() += 1;
    }
}
