//! Downloads: a file is fetched into a partial file beside its destination, resumed if interrupted, and moved into place only once its
//! digest has been verified.

use super::images::hex;
use crate::base::atomic;
use crate::base::error::Meaning;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A file that is known by its content.
pub struct Known<'a> {
    /// Where to download it.
    pub url: &'a str,
    /// Its length.
    pub bytes: u64,
    /// Its digest.
    pub sha256: &'a str,
}

/// Where a file is kept until it is whole.
fn part(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    path.with_file_name(name)
}

/// Whether the file at `path` is the known one; an error where it cannot be read.
pub fn verify(path: &Path, known: &Known) -> Result<bool> {
    let mut file = File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).with_context(|| format!("{}: cannot be read", path.display()))? {
            0 => return Ok(hex(&hash.finalize()) == known.sha256),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Brings the file to `path`, unless it is there and whole. `tell` hears how many bytes are there.
pub fn fetch(known: &Known, path: &Path, tell: impl FnMut(u64)) -> Result<()> {
    bring(known, path, tell).needed()
}

fn bring(known: &Known, path: &Path, mut tell: impl FnMut(u64)) -> Result<()> {
    if path.exists() {
        ensure!(verify(path, known)?, "{}: is another file: expected SHA-256 {}; move it away", path.display(), known.sha256);
        return Ok(());
    }
    let by_hand = || {
        let (url, bytes, sha256) = (known.url, known.bytes, known.sha256);
        format!("{url}: cannot be fetched; fetch it elsewhere ({bytes} bytes, SHA-256 {sha256}) and put it at {}", path.display())
    };
    let part = part(path);
    if let Some(dir) = path.parent() {
        atomic::make_dir(dir).with_context(|| format!("{}: cannot be made", dir.display()))?;
    }
    let mut there = fs::metadata(&part).map_or(0, |m| m.len());
    if there > known.bytes {
        fs::remove_file(&part)?;
        there = 0;
    }
    if there < known.bytes {
        let mut request = ureq::get(known.url);
        if there > 0 {
            request = request.header("Range", format!("bytes={there}-"));
        }
        let response = request.call().with_context(by_hand)?;
        // A server that does not know ranges sends all of it.
        let resumes = response.status().as_u16() == 206;
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .write(true)
            .append(resumes)
            .truncate(!resumes)
            .open(&part)
            .with_context(|| format!("{}: cannot be written", part.display()))?;
        there = if resumes { there } else { 0 };
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = body.read(&mut buffer).with_context(|| format!("{} (the {there} bytes so far are kept; run it again)", by_hand()))?;
            if n == 0 {
                break;
            }
            there += n as u64;
            if there > known.bytes {
                drop(file);
                fs::remove_file(&part)?;
                bail!("{}: sends more than the {} bytes that the file has", known.url, known.bytes);
            }
            file.write_all(&buffer[..n]).with_context(|| format!("{}: cannot be written", part.display()))?;
            tell(there);
        }
        file.sync_all()?;
    }
    ensure!(there == known.bytes, "{}: ended after {there} of {} bytes, which are kept; run it again", known.url, known.bytes);
    if !verify(&part, known)? {
        fs::remove_file(&part)?;
        bail!("{}: sent another file: expected SHA-256 {}; nothing is kept", known.url, known.sha256);
    }
    atomic::rename(&part, path).with_context(|| format!("{}: cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    /// Serves `content` once for each entry of `cuts`, closing the connection after so many bytes of a body. Returns its address and
    /// the ranges that were asked for.
    fn server(content: Vec<u8>, cuts: Vec<usize>, ranges: bool) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/file", listener.local_addr().unwrap());
        let serve = move || {
            let mut asked = Vec::new();
            for cut in cuts {
                let (mut stream, _) = listener.accept().unwrap();
                let mut range = String::new();
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap().to_lowercase();
                    if let Some(value) = line.strip_prefix("range: bytes=") {
                        range = value.to_string();
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let from: usize = if ranges { range.trim_end_matches('-').parse().unwrap_or(0) } else { 0 };
                let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
                let body = &content[from..];
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).unwrap();
                stream.write_all(&body[..cut.min(body.len())]).unwrap();
                asked.push(range);
            }
            asked
        };
        (address, std::thread::spawn(serve))
    }

    fn content() -> Vec<u8> {
        (0..200_000u32).map(|i| ((i * 7919) >> 5) as u8).collect()
    }

    fn digest(bytes: &[u8]) -> String {
        hex(&Sha256::digest(bytes))
    }

    #[test]
    fn an_interrupted_transfer_goes_on_where_it_stopped() {
        let (content, dir) = (content(), tempfile::tempdir().unwrap());
        let path = dir.path().join("data/file");
        let (url, server) = server(content.clone(), vec![70_000, usize::MAX], true);
        let known = Known { url: &url, bytes: content.len() as u64, sha256: &digest(&content) };
        let error = format!("{:#}", fetch(&known, &path, |_| {}).unwrap_err());
        assert!(error.contains("put it at") || error.contains("run it again"), "{error}");
        assert!(!path.exists() && part(&path).exists());
        let kept = fs::metadata(part(&path)).unwrap().len();
        fetch(&known, &path, |_| {}).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
        assert!(!part(&path).exists());
        assert_eq!(server.join().unwrap(), ["".to_string(), format!("{kept}-")]);
        // Whole: nobody is asked again. Another file in its place is not overwritten.
        fetch(&known, &path, |_| {}).unwrap();
        fs::write(&path, b"mine").unwrap();
        assert!(format!("{:#}", fetch(&known, &path, |_| {}).unwrap_err()).contains("is another file"));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_server_without_ranges_sends_it_all_again() {
        let (content, dir) = (content(), tempfile::tempdir().unwrap());
        let path = dir.path().join("file");
        let (url, server) = server(content.clone(), vec![70_000, usize::MAX], false);
        let known = Known { url: &url, bytes: content.len() as u64, sha256: &digest(&content) };
        fetch(&known, &path, |_| {}).unwrap_err();
        fetch(&known, &path, |_| {}).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
        server.join().unwrap();
    }

    #[test]
    fn another_or_a_longer_file_leaves_nothing() {
        let (content, dir) = (content(), tempfile::tempdir().unwrap());
        let path = dir.path().join("file");
        let (url, server) = server(content.clone(), vec![usize::MAX; 2], true);
        let other = Known { url: &url, bytes: content.len() as u64, sha256: &digest(b"something else") };
        assert!(format!("{:#}", fetch(&other, &path, |_| {}).unwrap_err()).contains("sent another file"));
        let short = Known { url: &url, bytes: 1000, sha256: &digest(&content) };
        assert!(format!("{:#}", fetch(&short, &path, |_| {}).unwrap_err()).contains("sends more than the 1000 bytes"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        server.join().unwrap();
    }

    #[test]
    fn a_closed_network_says_what_to_do_by_hand() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        // A port that was free a moment ago: nobody listens.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let known = Known { url: &format!("http://127.0.0.1:{port}/file"), bytes: 10, sha256: "abc" };
        let error = format!("{:#}", fetch(&known, &path, |_| {}).unwrap_err());
        assert!(error.contains("10 bytes, SHA-256 abc") && error.contains("put it at"), "{error}");
    }
}
