//! A disk between two syncs: what is on it for certain, what is on its way, and what a power cut may leave of both.
//!
//! Nothing is assumed of a file system but what POSIX promises: a file's contents last after a sync of the file, a name after a sync of the
//! folder that it is in. What was not synced may be there or not, each name by itself, and contents in part.

use super::record::Call;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What a name stands for: a folder, or a file by its number.
type Names = BTreeMap<PathBuf, Option<usize>>;

/// A file's contents.
#[derive(Clone, Default)]
struct Contents {
    synced: Rc<Vec<u8>>,
    now: Rc<Vec<u8>>,
    /// How often it was changed.
    version: usize,
}

/// A change of names that is not on the disk for certain.
#[derive(Clone, Debug)]
enum Change {
    Put(PathBuf, Option<usize>),
    Remove(PathBuf),
    Move(PathBuf, PathBuf, usize),
}

impl Change {
    fn folder(&self) -> &Path {
        let (Change::Put(path, _) | Change::Remove(path) | Change::Move(_, path, _)) = self;
        path.parent().expect("under the root")
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Change::Put(path, what) => drop(names.insert(path.clone(), *what)),
            Change::Remove(path) => drop(names.remove(path)),
            Change::Move(from, to, file) => {
                if names.get(from) == Some(&Some(*file)) {
                    names.remove(from);
                }
                names.insert(to.clone(), Some(*file));
            }
        }
    }
}

/// What a power cut leaves of contents that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    Nothing,
    All,
    Half,
    /// As long as they were, of zeros.
    Zeros,
}

/// A state after a power cut: folders (none) and files.
pub type State = BTreeMap<PathBuf, Option<Rc<Vec<u8>>>>;

/// The disk.
pub struct Disk {
    root: PathBuf,
    files: Vec<Contents>,
    now: Names,
    synced: Names,
    pending: Vec<Change>,
    /// Contents that a name has had when it was given to a file.
    pub versions: HashMap<PathBuf, BTreeSet<Rc<Vec<u8>>>>,
    /// States that have been given already.
    seen: BTreeSet<String>,
}

impl Disk {
    /// An empty one, on which `root` will be made.
    pub fn new(root: &Path) -> Disk {
        let (files, pending, versions, seen) = (Vec::new(), Vec::new(), HashMap::new(), BTreeSet::new());
        Disk { root: root.into(), files, now: Names::new(), synced: Names::new(), pending, versions, seen }
    }

    /// Does what a call does.
    pub fn apply(&mut self, call: &Call) {
        match call {
            Call::Open { path, create, truncate } => match self.file(path) {
                Some(file) if *truncate => self.change(file, |now| now.clear()),
                Some(_) => {}
                None if *create => {
                    self.files.push(Contents::default());
                    self.rename(Change::Put(path.clone(), Some(self.files.len() - 1)));
                }
                None => panic!("{}: was opened and is not there", path.display()),
            },
            Call::Write { path, bytes } => {
                // A file that has lost its name may still be written.
                if let Some(file) = self.file(path) {
                    self.change(file, |now| now.extend_from_slice(bytes));
                }
            }
            Call::Sync(path) => match self.file(path) {
                Some(file) => self.files[file].synced = self.files[file].now.clone(),
                None => {
                    let (here, later): (Vec<_>, Vec<_>) = self.pending.drain(..).partition(|change| change.folder() == path);
                    here.iter().for_each(|change| change.apply(&mut self.synced));
                    self.pending = later;
                }
            },
            Call::Rename { from, to } => {
                let file = self.file(from).expect("files are renamed, not folders");
                self.versions.entry(to.clone()).or_default().insert(self.files[file].now.clone());
                self.rename(Change::Move(from.clone(), to.clone(), file));
            }
            Call::Remove(path) => self.rename(Change::Remove(path.clone())),
            Call::MakeDir(path) => self.rename(Change::Put(path.clone(), None)),
            Call::Said(_) => {}
        }
    }

    fn file(&self, path: &Path) -> Option<usize> {
        self.now.get(path).copied().flatten()
    }

    fn change(&mut self, file: usize, how: impl FnOnce(&mut Vec<u8>)) {
        how(Rc::make_mut(&mut self.files[file].now));
        self.files[file].version += 1;
    }

    fn rename(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    /// As a program sees it that runs on.
    pub fn running(&self) -> State {
        self.state(&self.now, Left::All)
    }

    /// The states that a power cut may leave now and that have not been given before.
    pub fn cut(&mut self) -> Vec<State> {
        let mut found = Vec::new();
        for kept in self.choices() {
            let mut names = self.synced.clone();
            kept.iter().for_each(|place| self.pending[*place].apply(&mut names));
            for left in [Left::Nothing, Left::All, Left::Half, Left::Zeros] {
                if self.seen.insert(self.key(&names, left)) {
                    found.push(self.state(&names, left));
                }
            }
        }
        found
    }

    /// Which of the changes that are on their way may have come: none, all, the first ones, one alone, all but one.
    fn choices(&self) -> Vec<Vec<usize>> {
        let n = self.pending.len();
        let first = (0..=n).map(|k| (0..k).collect());
        let alone = (0..n).map(|place| vec![place]);
        let without = (0..n).map(|place| (0..n).filter(|other| *other != place).collect());
        first.chain(alone).chain(without).collect()
    }

    /// Names whose folders are there too.
    fn reached<'a>(&self, names: &'a Names) -> impl Iterator<Item = (&'a PathBuf, &'a Option<usize>)> {
        let root = self.root.clone();
        let is_there = move |path: &Path| {
            let inside = path.ancestors().skip(1).take_while(|above| above.starts_with(&root));
            inside.into_iter().all(|above| names.get(above) == Some(&None))
        };
        names.iter().filter(move |(path, _)| is_there(path))
    }

    fn state(&self, names: &Names, left: Left) -> State {
        let contents = |file: &usize| {
            let Contents { synced, now, .. } = &self.files[*file];
            // What was emptied and written again has nothing in common with what it was.
            let kept = if now.starts_with(synced) { synced.len() } else { 0 };
            match left {
                _ if synced == now => now.clone(),
                Left::Nothing => synced.clone(),
                Left::All => now.clone(),
                Left::Half => Rc::new(now[..kept + (now.len() - kept) / 2].to_vec()),
                Left::Zeros => Rc::new([&now[..kept], &vec![0; now.len() - kept][..]].concat()),
            }
        };
        self.reached(names).map(|(path, what)| (path.clone(), what.as_ref().map(contents))).collect()
    }

    /// By what two states differ.
    fn key(&self, names: &Names, left: Left) -> String {
        let one = |(path, what): (&PathBuf, &Option<usize>)| {
            let Some(file) = what else { return format!("{}\n", path.display()) };
            let Contents { synced, now, version } = &self.files[*file];
            let left = if synced == now { Left::All } else { left };
            let length = if left == Left::Nothing { synced.len() } else { *version };
            format!("{} {file} {left:?} {length}\n", path.display())
        };
        self.reached(names).map(one).collect()
    }
}
