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
    last_page: u64,
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
        let mut lmdb = Lmdb { file, origin: origin.clone(), page_size: 0, last_page: 1, entries: 0, seen: 0, path: Vec::new() };
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
        self.page_size = number!(start, 40, u32) as usize;
        ensure!(
            self.page_size.is_power_of_two() && (256..=65_536).contains(&self.page_size),
            "is damaged: pages of {} bytes",
            self.page_size
        );
        let mut metas = Vec::new();
        for place in 0..2 {
            let page = self.page(place)?;
            let (magic, version) = (number!(page.0, 16, u32), number!(page.0, 20, u32));
            ensure!(magic == MAGIC && version == VERSION, "expected LMDB's format {VERSION}, got {version}");
            metas.push((number!(page.0, 144, u64), page));
        }
        let (_, page) = metas.into_iter().max_by_key(|(transaction, _)| *transaction).expect("two");
        (self.last_page, self.entries) = (number!(page.0, 136, u64), number!(page.0, 120, u64));
        let pages = length / self.page_size as u64;
        // A map's size is no length: the file ends after the last page that was ever used.
        ensure!(self.last_page < pages, "is cut short: expected {} pages, found {pages}", self.last_page.saturating_add(1));
        match number!(page.0, 128, u64) {
            NONE => Ok(()),
            root => self.descend(root),
        }
    }

    fn read(&self, page: u64, bytes: usize) -> Result<Vec<u8>> {
        ensure!(page <= self.last_page && bytes <= LARGEST, "is damaged: page {page} is beyond the last one");
        let mut buffer = vec![0; bytes];
        self.file.read_exact_at(&mut buffer, page * self.page_size as u64).context("is cut short, or cannot be read")?;
        Ok(buffer)
    }

    fn page(&self, number: u64) -> Result<Page> {
        Ok(Page(self.read(number, self.page_size)?))
    }

    /// To the first leaf under a page.
    fn descend(&mut self, mut number: u64) -> Result<()> {
        loop {
            ensure!(self.path.len() < DEEPEST, "is damaged: its pages lead back to each other");
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
