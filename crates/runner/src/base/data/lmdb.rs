//! LSUN's LMDB: an image file under each key of the unnamed database (<https://github.com/fyu/lsun>).
//!
//! LMDB's own library maps the file and trusts what it finds there: a file that is damaged or cut short ends the process, and no argument can
//! be given that a user's file is neither. The format has been one and the same since 2011 (`mdb.c` of LMDB 0.9: pages of a B+ tree), and
//! reading it takes less than saying why; here every number of the file is checked before it is used.

use super::entries::{Beside, Content, Entry, See};
use anyhow::{Context, Result, bail, ensure};
use ddpm_model::interop::foreign;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How the file ends, in its folder.
pub const ENDINGS: [&str; 1] = ["data.mdb"];

const MAGIC: u32 = 0xbeef_c0de;
const VERSION: u32 = 1;
/// Bytes before a page's table of nodes, or before what an overflow page holds.
const HEADER: usize = 16;
/// Bytes of a node before its key.
const NODE: usize = 8;
/// Page numbers that stand for no page.
const NONE: u64 = u64::MAX;
/// Higher than a tree of any file.
const DEEPEST: usize = 64;
/// Largest page and largest value that are believed.
const LARGEST: usize = 1 << 30;

const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;
/// A node's value lies on pages of its own.
const BIG: u16 = 1;

/// An open database.
struct Lmdb {
    file: File,
    origin: String,
    page_size: usize,
    /// Bytes of the file, and its last page as the database has it.
    length: u64,
    last_page: u64,
    /// Pages of the tree that have been looked at.
    looked: u64,
    /// Values that the database says it has, and those seen.
    entries: u64,
    seen: u64,
    /// From the root to where the next value is: pages, and the next node of each.
    path: Vec<(Page, usize)>,
}

struct Page(Vec<u8>);

/// The integer at an offset; an error where the page ends before it.
macro_rules! number {
    ($bytes:expr, $at:expr, $type:ty) => {{
        let at: usize = $at;
        let bytes = $bytes.get(at..at + size_of::<$type>()).context("is damaged: a page ends before what it should hold")?;
        <$type>::from_le_bytes(bytes.try_into().expect("of that length"))
    }};
}

impl Page {
    fn flags(&self) -> Result<u16> {
        Ok(number!(self.0, 10, u16))
    }

    fn nodes(&self) -> Result<usize> {
        let lower = usize::from(number!(self.0, 12, u16));
        ensure!((HEADER..=self.0.len()).contains(&lower), "is damaged: a page's table of nodes is outside of it");
        Ok((lower - HEADER) / 2)
    }

    /// The bytes from a node's start to the page's end.
    fn node(&self, index: usize) -> Result<&[u8]> {
        let at = usize::from(number!(self.0, HEADER + 2 * index, u16));
        self.0.get(at..).context("is damaged: a node is outside of its page")
    }
}

impl Lmdb {
    /// Opens a folder with `data.mdb`, or that file.
    fn open(path: &Path) -> Result<Lmdb> {
        let path = if path.is_dir() { path.join("data.mdb") } else { path.to_path_buf() };
        let origin = path.display().to_string();
        let file = File::open(&path).with_context(|| format!("{origin}: cannot be opened; expected LMDB's data.mdb"))?;
        let mut lmdb =
            Lmdb { file, origin: origin.clone(), page_size: 0, length: 0, last_page: 1, looked: 0, entries: 0, seen: 0, path: Vec::new() };
        lmdb.begin().context(origin)?;
        Ok(lmdb)
    }

    /// Reads the newer of the two descriptions that the file begins with, and goes down to the first value.
    fn begin(&mut self) -> Result<()> {
        let length = self.file.metadata()?.len();
        let mut start = vec![0; length.min(152) as usize];
        self.file.read_exact_at(&mut start, 0)?;
        if let Some(what) = foreign(&start) {
            bail!(what);
        }
        ensure!(start.len() == 152 && number!(start, 16, u32) == MAGIC, "is not an LMDB database");
        (self.page_size, self.length) = (number!(start, 40, u32) as usize, length);
        ensure!(
            self.page_size.is_power_of_two() && (256..=65_536).contains(&self.page_size),
            "is damaged: pages of {} bytes",
            self.page_size
        );
        let mut metas = Vec::new();
        for place in 0..2 {
            let page = self.page(place)?;
            let (magic, version) = (number!(page.0, 16, u32), number!(page.0, 20, u32));
            ensure!(magic == MAGIC, "is damaged: one of its two descriptions is none");
            ensure!(version == VERSION, "expected LMDB's format {VERSION}, got {version}");
            metas.push((number!(page.0, 144, u64), page));
        }
        let (_, page) = metas.into_iter().max_by_key(|(transaction, _)| *transaction).expect("two");
        (self.last_page, self.entries) = (number!(page.0, 136, u64), number!(page.0, 120, u64));
        match number!(page.0, 128, u64) {
            NONE => Ok(()),
            root => self.descend(root),
        }
    }

    fn read(&self, page: u64, bytes: usize) -> Result<Vec<u8>> {
        ensure!(page <= self.last_page, "is damaged: page {page} is beyond the last one, {}", self.last_page);
        ensure!(bytes <= LARGEST, "expected values of at most {LARGEST} bytes, got one of {bytes}");
        // Pages that were freed before they were ever written may be missing at the end.
        let start = page.saturating_mul(self.page_size as u64);
        let end = start.saturating_add(bytes.next_multiple_of(self.page_size) as u64);
        ensure!(end <= self.length, "is cut short: expected at least {end} bytes, found {}", self.length);
        let mut buffer = vec![0; bytes];
        self.file.read_exact_at(&mut buffer, start).context("cannot be read")?;
        Ok(buffer)
    }

    fn page(&self, number: u64) -> Result<Page> {
        Ok(Page(self.read(number, self.page_size)?))
    }

    /// To the first leaf under a page.
    fn descend(&mut self, mut number: u64) -> Result<()> {
        loop {
            self.looked += 1;
            let fits = self.path.len() < DEEPEST && self.looked <= self.last_page;
            ensure!(fits, "is damaged: its pages lead to each other more than once");
            let page = self.page(number)?;
            let flags = page.flags()?;
            if flags & LEAF != 0 {
                self.path.push((page, 0));
                return Ok(());
            }
            ensure!(flags & BRANCH != 0 && page.nodes()? > 0, "is damaged: page {number} is no page of a tree");
            number = child(&page, 0)?;
            self.path.push((page, 1));
        }
    }

    /// The next key and value.
    fn step(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        while let Some((page, next)) = self.path.last_mut() {
            if *next >= page.nodes()? {
                self.path.pop();
                continue;
            }
            let index = *next;
            *next += 1;
            if page.flags()? & LEAF == 0 {
                let number = child(page, index)?;
                self.descend(number)?;
                continue;
            }
            ensure!(self.seen < self.entries, "is damaged: it holds more values than the {} that it says", self.entries);
            self.seen += 1;
            let (page, _) = self.path.last().expect("just seen");
            return self.leaf(page.node(index)?).map(Some);
        }
        ensure!(self.seen == self.entries, "is damaged: expected {} values, found {}", self.entries, self.seen);
        Ok(None)
    }

    /// The key and the value of a leaf's node.
    fn leaf(&self, node: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let size = usize::from(number!(node, 0, u16)) | usize::from(number!(node, 2, u16)) << 16;
        let (flags, key_size) = (number!(node, 4, u16), usize::from(number!(node, 6, u16)));
        let key = node.get(NODE..NODE + key_size).context("is damaged: a key is outside of its page")?;
        ensure!(flags & !BIG == 0, "holds databases of their own, or several values under a key; expected an image under each key");
        let value = if flags & BIG == 0 {
            let value = node.get(NODE + key_size..NODE + key_size + size);
            value.context("is damaged: a value is outside of its page")?.to_vec()
        } else {
            let place = number!(node, NODE + key_size, u64);
            let mut pages = self.read(place, HEADER + size)?;
            ensure!(number!(pages, 10, u16) & OVERFLOW != 0, "is damaged: page {place} holds no value");
            pages.split_off(HEADER)
        };
        Ok((key.to_vec(), value))
    }
}

/// The page under a branch's node.
fn child(page: &Page, index: usize) -> Result<u64> {
    let node = page.node(index)?;
    Ok(u64::from(number!(node, 0, u16)) | u64::from(number!(node, 2, u16)) << 16 | u64::from(number!(node, 4, u16)) << 32)
}

/// Shows the image under each key, in the order of the keys.
pub fn each(path: &Path, see: &mut See) -> Result<Beside> {
    let mut database = Lmdb::open(path)?;
    while let Some((key, value)) = database.step().with_context(|| database.origin.clone())? {
        let name = String::from_utf8_lossy(&key).into_owned();
        see(Entry { place: format!("{}: key {name}", database.origin), name, class: None, content: Content::Encoded(value) })?;
    }
    Ok(Beside::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 4096;

    /// A page with these flags and nodes.
    fn page(flags: u16, nodes: &[[u8; NODE]]) -> Vec<u8> {
        let mut page = vec![0; SIZE];
        page[10..12].copy_from_slice(&flags.to_le_bytes());
        page[12..14].copy_from_slice(&((HEADER + 2 * nodes.len()) as u16).to_le_bytes());
        for (i, node) in nodes.iter().enumerate() {
            let at = SIZE - (i + 1) * NODE;
            page[HEADER + 2 * i..HEADER + 2 * i + 2].copy_from_slice(&(at as u16).to_le_bytes());
            page[at..at + NODE].copy_from_slice(node);
        }
        page
    }

    fn meta(last_page: u64, root: u64) -> Vec<u8> {
        let mut page = page(8, &[]);
        for (at, value) in [(16, u64::from(MAGIC) | u64::from(VERSION) << 32), (40, SIZE as u64), (120, 5), (128, root), (136, last_page)] {
            page[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        page
    }

    /// Pages of which each leads to the next a hundred times: walked as a tree, more than could ever be walked.
    #[test]
    fn pages_that_are_reached_again_are_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.mdb");
        let to = |number: u64| [[&number.to_le_bytes()[..4], &[0; 4]].concat().try_into().unwrap(); 100];
        for last in [21, 2] {
            // The last one is an empty leaf; or the only one leads to itself.
            let mut bytes = [meta(last, 2), meta(last, 2)].concat();
            (2..last).for_each(|number| bytes.extend(page(BRANCH, &to(number + 1))));
            bytes.extend(if last == 2 { page(BRANCH, &to(2)) } else { page(LEAF, &[]) });
            std::fs::write(&path, bytes).unwrap();
            let why = format!("{:#}", each(&path, &mut |_| Ok(())).unwrap_err());
            assert!(why.contains("data.mdb: is damaged: its pages lead to each other more than once"), "{why}");
        }
    }
}
