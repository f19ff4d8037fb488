//! What a program does to files, recorded by strace: the calls that succeeded, in order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A call that changes files or their names, or makes changes last.
#[derive(Clone, Debug)]
pub enum Call {
    /// Opened for writing; made or emptied where that was asked.
    Open {
        path: PathBuf,
        create: bool,
        truncate: bool,
    },
    /// Written behind what was written before.
    Write {
        path: PathBuf,
        bytes: Vec<u8>,
    },
    /// A file's contents, or a folder's names.
    Sync(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    MakeDir(PathBuf),
    /// What was said on standard output or standard error.
    Said(String),
}

/// What strace is asked to record: whatever could change a file.
pub const TRACED: &str = "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,rename,renameat,renameat2,link,linkat,\
    unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate,truncate,symlink,symlinkat,copy_file_range,sendfile,splice,fallocate,msync";

/// The calls of a record (`strace -f -y -xx`) that have to do with files under `root`. Panics at a call that it does not know.
pub fn calls(text: &str, root: &Path) -> Vec<Call> {
    let mut unfinished: HashMap<&str, String> = HashMap::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let (pid, rest) = line.split_once(' ').expect("a process number");
        let rest = rest.trim_start();
        // A call during which others were made stands in two lines; it counts where it ends.
        let whole = match rest.strip_prefix("<... ") {
            Some(resumed) => unfinished.remove(pid).expect("begun") + resumed.split_once("resumed>").expect("a call goes on").1,
            None => match rest.strip_suffix("<unfinished ...>") {
                Some(begun) => {
                    unfinished.insert(pid, begun.to_string());
                    continue;
                }
                None => rest.to_string(),
            },
        };
        found.extend(call(&whole, root));
    }
    found
}

fn call(line: &str, root: &Path) -> Option<Call> {
    // Signals and ends of processes are no calls.
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let result: i64 = result.split([' ', '<']).next()?.parse().ok()?;
    if result < 0 {
        return None;
    }
    let (quoted, angled) = (texts(arguments, '"', '"'), texts(arguments, '<', '>'));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("names are UTF-8");
    let absolute = |place: usize| {
        let path = PathBuf::from(text(&quoted[place]));
        assert!(path.is_absolute() || !text(&angled[0]).starts_with(root.to_str().unwrap()), "{line}: a relative path");
        path
    };
    let of_descriptor = || PathBuf::from(text(&angled[0]));
    let call = match name {
        "write" if arguments.starts_with("1<") || arguments.starts_with("2<") => {
            return Some(Call::Said(String::from_utf8_lossy(&quoted[0]).into_owned()));
        }
        "write" => Call::Write { path: of_descriptor(), bytes: quoted[0][..result as usize].to_vec() },
        "open" | "openat" | "creat" => {
            let has = |flag: &str| arguments.contains(flag);
            if !has("O_WRONLY") && !has("O_RDWR") && name != "creat" {
                return None;
            }
            Call::Open { path: absolute(0), create: has("O_CREAT"), truncate: has("O_TRUNC") }
        }
        "fsync" | "fdatasync" => Call::Sync(of_descriptor()),
        "rename" | "renameat" | "renameat2" => Call::Rename { from: absolute(0), to: absolute(1) },
        "unlink" | "unlinkat" | "rmdir" => Call::Remove(absolute(0)),
        "mkdir" | "mkdirat" => Call::MakeDir(absolute(0)),
        _ => {
            let touched = quoted.iter().chain(&angled).any(|path| String::from_utf8_lossy(path).starts_with(root.to_str().unwrap()));
            assert!(!touched, "a call that the model does not know: {name}({})", angled.iter().map(|path| text(path)).collect::<String>());
            return None;
        }
    };
    let (Call::Open { path, .. } | Call::Write { path, .. } | Call::Sync(path) | Call::Remove(path) | Call::MakeDir(path)) = &call else {
        return Some(call).filter(|call| matches!(call, Call::Rename { to, .. } if to.starts_with(root)));
    };
    // The root's own name is in the folder above it.
    let concerned = path.starts_with(root) || matches!(call, Call::Sync(_)) && root.parent() == Some(path);
    concerned.then_some(call)
}

/// What stands between the marks, written in hexadecimal.
fn texts(line: &str, open: char, close: char) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(begin) = rest.find(open) {
        let Some(length) = rest[begin + 1..].find(close) else { break };
        let inner = &rest[begin + 1..begin + 1 + length];
        let bytes = inner.as_bytes().chunks_exact(4).map(|b| u8::from_str_radix(std::str::from_utf8(&b[2..]).unwrap(), 16));
        // `<pipe:[1]>` and the like are not in hexadecimal, and no paths.
        found.push(bytes.collect::<Result<_, _>>().unwrap_or_default());
        rest = &rest[begin + length + 2..];
    }
    found
}
