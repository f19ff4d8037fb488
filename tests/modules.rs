//! The tree of modules: imports go down, and none comes back. Read from the sources, so that one in the wrong place fails here.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility};

/// The modules of each crate from the ground up: each uses only those before it.
const ORDER: [(&str, &[&str]); 4] = [
    (
        "core",
        &[
            "error",
            "linear",
            "schedule",
            "process",
            "parameterisation",
            "variance",
            "likelihood",
            "rate_distortion",
            "embedding",
            "sampler",
            "weighting",
            "objective",
            "setup",
            "oracle",
        ],
    ),
    ("kernels", &["simd", "random", "adam", "dropout", "scratch", "gemm", "conv2d", "attention", "group_norm", "pool", "window", "device"]),
    (
        "model",
        &[
            "error",
            "parameters",
            "network",
            "layers",
            "process_group",
            "train_state",
            "optimiser",
            "checkpoint",
            "interop",
            "diffusers",
            "interpreter",
            "space_to_depth",
            "unet",
            "eager",
            "anatomy",
            "classifier",
            "inception",
            "diffusion",
            "engine",
            "sampling",
            "bound",
        ],
    ),
    ("runner", &["base", "metrics", "interop", "experiment", "store", "stages", "plan", "execute", "report", "cli"]),
];

/// A path through modules, from the crate's root.
type Names = Vec<String>;

/// What a file says of others.
#[derive(Default)]
struct Module {
    /// Paths that it names, from the root.
    paths: Vec<Names>,
    /// What its own names stand for: everything that it imports or passes on.
    imported: BTreeMap<String, Names>,
}

/// The modules of a crate, each a file.
struct Tree {
    modules: BTreeMap<Names, Module>,
}

impl Tree {
    fn read(source: &Path) -> Tree {
        let mut files = vec![(Names::new(), source.join("lib.rs"))];
        let mut folders: Vec<(Names, PathBuf)> = vec![(Names::new(), source.into())];
        while let Some((names, folder)) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let inner = || [&names[..], &[path.file_stem().unwrap().to_str().unwrap().to_string()]].concat();
                match path.file_name().unwrap().to_str().unwrap() {
                    "lib.rs" | "main.rs" | "tests.rs" => {}
                    _ if path.is_dir() => folders.push((inner(), path)),
                    "mod.rs" => files.push((names.clone(), path)),
                    _ => files.push((inner(), path)),
                }
            }
        }
        let known: BTreeSet<Names> = files.iter().map(|(names, _)| names.clone()).collect();
        let read = |(names, path): (Names, PathBuf)| {
            let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let mut reader = Reader { at: names.clone(), known: &known, module: Module::default(), named: Vec::new() };
            reader.visit_file(&file);
            // Imports may stand below what uses them.
            for (at, path) in std::mem::take(&mut reader.named) {
                reader.at = at;
                let path = reader.absolute(path);
                reader.module.paths.extend(path);
            }
            (names, reader.module)
        };
        Tree { modules: files.into_iter().map(read).collect() }
    }

    /// The file in which what `path` names is written: names that are passed on are followed. None where it is in no file of the crate.
    fn file(&self, path: &[String], depth: usize) -> Option<Names> {
        let mut at = Names::new();
        for (i, name) in path.iter().enumerate() {
            let inner = [&at[..], std::slice::from_ref(name)].concat();
            if self.modules.contains_key(&inner) {
                at = inner;
                continue;
            }
            let module = &self.modules[&at];
            let rest = &path[i + 1..];
            if let Some(stands_for) = module.imported.get(name).filter(|_| depth < 8) {
                return self.file(&[&stands_for[..], rest].concat(), depth + 1);
            }
            break;
        }
        Some(at)
    }

    /// Which file uses which.
    fn uses(&self) -> BTreeMap<Names, BTreeSet<Names>> {
        let of = |(names, module): (&Names, &Module)| {
            let used = module.paths.iter().filter_map(|path| self.file(path, 0)).filter(|file| file != names && !file.is_empty());
            (names.clone(), used.collect())
        };
        self.modules.iter().map(of).collect()
    }
}

struct Reader<'a> {
    at: Names,
    known: &'a BTreeSet<Names>,
    module: Module,
    /// Paths as they are written, and where.
    named: Vec<(Names, Names)>,
}

/// Whether it is there in tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| a.path().is_ident("cfg") && matches!(&a.meta, syn::Meta::List(list) if list.tokens.to_string() == "test"))
}

impl Reader<'_> {
    /// A path from the root; none where it leads out of the crate, or is a local name.
    fn absolute(&self, path: Names) -> Option<Names> {
        let first = path.first()?.as_str();
        match first {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&self.at[..], &path[1..]].concat()),
            "super" => {
                let up = path.iter().take_while(|name| *name == "super").count();
                Some([&self.at[..self.at.len().checked_sub(up)?], &path[up..]].concat())
            }
            _ if self.known.contains(&[&self.at[..], &path[..1]].concat()) => Some([&self.at[..], &path[..]].concat()),
            _ => Some([&self.module.imported.get(first)?[..], &path[1..]].concat()),
        }
    }

    fn import(&mut self, tree: &UseTree, before: Names, passed_on: bool) {
        let mut add = |name: Option<String>, path: Names| {
            let Some(path) = self.absolute(path) else { return };
            if let Some(name) = name {
                self.module.imported.insert(name, path.clone());
            }
            // A name that is passed on is not used.
            if !passed_on {
                self.module.paths.push(path);
            }
        };
        match tree {
            UseTree::Path(path) => self.import(&path.tree, [before, vec![path.ident.to_string()]].concat(), passed_on),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before.clone(), passed_on)),
            UseTree::Name(name) if name.ident == "self" => add(before.last().cloned(), before),
            UseTree::Name(name) => add(Some(name.ident.to_string()), [before, vec![name.ident.to_string()]].concat()),
            UseTree::Rename(name) => add(Some(name.rename.to_string()), [before, vec![name.ident.to_string()]].concat()),
            UseTree::Glob(_) => add(None, before),
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.at.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.at.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, Names::new(), !matches!(item.vis, Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.named.push((self.at.clone(), path.segments.iter().map(|segment| segment.ident.to_string()).collect()));
        }
        visit::visit_path(self, path);
    }

    /// Inside a macro there is no syntax yet, only words: those with colons between them are paths.
    fn visit_macro(&mut self, call: &'ast Macro) {
        visit::visit_macro(self, call);
        let text = call.tokens.to_string().replace(" :: ", "::");
        for word in text.split(|c: char| !(c.is_alphanumeric() || "_:".contains(c))).filter(|word| word.contains("::")) {
            self.named.push((self.at.clone(), word.split("::").map(str::to_string).collect()));
        }
    }
}

/// Groups of files that use each other in a circle.
fn circles(uses: &BTreeMap<Names, BTreeSet<Names>>) -> Vec<BTreeSet<Names>> {
    let reached = |from: &Names| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            for next in &uses[at] {
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let all: BTreeMap<&Names, BTreeSet<Names>> = uses.keys().map(|file| (file, reached(file))).collect();
    let mut found: Vec<BTreeSet<Names>> = Vec::new();
    for (file, below) in all.iter().filter(|(file, below)| below.contains(**file)) {
        let circle: BTreeSet<Names> = below.iter().filter(|other| all[other].contains(*file)).cloned().collect();
        if !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

fn words(names: &[String]) -> String {
    names.join("::")
}

/// Who uses whom against the order of `modules`, which names them all; and who uses each other in a circle.
fn faults(uses: &BTreeMap<Names, BTreeSet<Names>>, modules: &[&str]) -> Vec<String> {
    let place = |file: &Names| modules.iter().position(|module| *module == file[0]);
    let mut found = Vec::new();
    for (file, used) in uses.iter().filter(|(file, _)| !file.is_empty()) {
        let Some(here) = place(file) else {
            found.push(format!("{} has no place in the order", words(file)));
            continue;
        };
        let above = used.iter().filter(|other| place(other).is_some_and(|there| there > here));
        found.extend(above.map(|other| format!("{} uses {}, which comes after it", words(file), words(other))));
    }
    let circles = circles(uses).into_iter().map(|circle| circle.iter().map(|file| words(file)).collect::<Vec<_>>().join(", "));
    found.extend(circles.map(|circle| format!("a circle: {circle}")));
    found
}

#[test]
fn imports_go_down_and_never_in_a_circle() {
    for (name, modules) in ORDER {
        let uses = Tree::read(&support::root().join("crates").join(name).join("src")).uses();
        assert!(modules.iter().all(|module| uses.contains_key(&vec![module.to_string()])), "{name}: the order names a module too many");
        let edges = uses.values().map(BTreeSet::len).sum::<usize>();
        assert!(edges >= uses.len(), "{name}: {edges} imports among {} files cannot be all", uses.len());
        let found = faults(&uses, modules);
        assert!(found.is_empty(), "{name}:\n  {}", found.join("\n  "));
    }
}

/// The reader itself, on a crate of four files with each way to name another one.
#[test]
fn what_a_file_uses_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        fs::write(dir.path().join(name), text).unwrap();
    };
    let uses = |of: &str| {
        let found = Tree::read(dir.path()).uses();
        let file: Names = of.split("::").map(str::to_string).collect();
        found[&file].iter().map(|other| words(other)).collect::<Vec<_>>()
    };
    put("lib.rs", "mod a; mod b; mod c;");
    put("a.rs", "pub struct A;");
    put("c/mod.rs", "mod inner; pub use inner::C;");
    put("c/inner.rs", "pub struct C;");
    for (text, used) in [
        ("use crate::a::A;", "a"),
        ("use super::a::A as B;", "a"),
        ("use crate::{a::{self}, c::{}};", "a"),
        ("fn f(_: crate::a::A) {}", "a"),
        ("use crate::a; fn f() { drop(a::A) }", "a"),
        ("fn f() { println!(\"{:?}\", crate::a::A) }", "a"),
        ("mod m { use super::super::a::A; }", "a"),
        ("use crate::a::*;", "a"),
        // A name that is passed on is where it was made.
        ("use crate::c::C;", "c::inner"),
        ("pub use crate::c::C;", ""),
        ("#[cfg(test)] mod tests { use crate::a::A; }", ""),
        ("use std::fmt; use serde::Serialize; fn f(x: fmt::Result) {}", ""),
    ] {
        put("b.rs", text);
        assert_eq!(uses("b").join(" "), used, "{text}");
    }
    put("a.rs", "use crate::b; pub struct A;");
    put("b.rs", "use crate::a::A;");
    let found = faults(&Tree::read(dir.path()).uses(), &["a", "b"]);
    assert_eq!(
        found,
        ["a uses b, which comes after it", "c has no place in the order", "c::inner has no place in the order", "a circle: a, b"]
    );
}
