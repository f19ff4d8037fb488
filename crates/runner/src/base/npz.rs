//! Archives of NumPy's arrays, `.npz`, with an array in each member. Only the arrays that are asked for are read, so it does not matter what
//! lies beside them.

use super::npy::{Array, SeeRow, bytes, rows, whole};
use anyhow::{Context, Result, bail, ensure};
use ddpm_model::interop::{DENSEST, foreign};
use npyz::{NpyFile, TypeChar, WriterBuilder};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// An archive that is open for reading.
pub struct Npz {
    archive: ZipArchive<File>,
}

impl Npz {
    /// Opens one. Errors name what is wrong, not the file.
    pub fn open(path: &Path) -> Result<Npz> {
        let mut start = Vec::new();
        File::open(path).and_then(|file| file.take(64).read_to_end(&mut start)).context("cannot be read")?;
        if let Some(what) = foreign(&start) {
            bail!(what);
        }
        let file = File::open(path).context("cannot be read")?;
        Ok(Npz { archive: ZipArchive::new(file).context("is not an .npz file of NumPy arrays")? })
    }

    /// The arrays' names, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.archive.file_names().flatten().map(|name| name.strip_suffix(".npy").unwrap_or(&name).to_string()).collect();
        names.sort();
        names
    }

    /// Whether there is an array of this name.
    pub fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(&format!("{name}.npy")).is_some()
    }

    /// The array of this name, whatever kind of numbers it holds. Errors where it is not there or holds something else.
    pub fn numbers(&mut self, name: &str) -> Result<Array<f64>> {
        self.array(name, |npy, kind, size| match (kind, size) {
            (TypeChar::Float, 2) => converted(npy.into_vec::<half::f16>(), f64::from),
            (TypeChar::Float, 4) => converted(npy.into_vec::<f32>(), f64::from),
            (TypeChar::Float, 8) => Ok(npy.into_vec::<f64>()?),
            (TypeChar::Int, 1) => converted(npy.into_vec::<i8>(), f64::from),
            (TypeChar::Int, 2) => converted(npy.into_vec::<i16>(), f64::from),
            (TypeChar::Int, 4) => converted(npy.into_vec::<i32>(), f64::from),
            (TypeChar::Int, 8) => converted(npy.into_vec::<i64>(), |v| v as f64),
            (TypeChar::Uint, 1) => converted(npy.into_vec::<u8>(), f64::from),
            (TypeChar::Uint, 2) => converted(npy.into_vec::<u16>(), f64::from),
            (TypeChar::Uint, 4) => converted(npy.into_vec::<u32>(), f64::from),
            (TypeChar::Uint, 8) => converted(npy.into_vec::<u64>(), |v| v as f64),
            _ => bail!("expected numbers, got {}", npy.dtype().descr()),
        })
    }

    /// The array of bytes of this name. Errors where it is not there or holds something else.
    pub fn bytes(&mut self, name: &str) -> Result<Array<u8>> {
        self.array(name, bytes)
    }

    /// Shows an array of bytes row by row, never all of it: as [`super::npy::npy_rows`].
    pub fn rows<S>(&mut self, name: &str, begin: impl FnOnce(&[usize]) -> Result<S>, see: &mut SeeRow<S>) -> Result<Result<()>> {
        self.member(name, |member, most| rows(member, most, begin, see))
    }

    fn array<T: Copy>(
        &mut self,
        name: &str,
        read: impl FnOnce(NpyFile<&mut dyn Read>, TypeChar, u64) -> Result<Vec<T>>,
    ) -> Result<Array<T>> {
        self.member(name, |member, most| whole(member, most, read))
    }

    fn member<R>(&mut self, name: &str, read: impl FnOnce(&mut dyn Read, u64) -> Result<R>) -> Result<R> {
        ensure!(self.has(name), "expected an array {name}, found {}", self.names().join(", "));
        let attempt = || {
            let mut member = self.archive.by_name(&format!("{name}.npy"))?;
            // What the member can hold at most: its own word for it may be wrong.
            let most = member.size().min(member.compressed_size().saturating_mul(DENSEST));
            read(&mut member, most)
        };
        attempt().with_context(|| name.to_string())
    }
}

fn converted<T>(read: std::io::Result<Vec<T>>, to: impl Fn(T) -> f64) -> Result<Vec<f64>> {
    Ok(read?.into_iter().map(to).collect())
}

/// Writes an archive, array by array.
pub struct Writer<W: Write + Seek>(ZipWriter<W>);

impl<W: Write + Seek> Writer<W> {
    /// Begins one.
    pub fn new(file: W) -> Writer<W> {
        Writer(ZipWriter::new(file))
    }

    /// Adds an array; the last index of `numbers` runs fastest.
    pub fn add<T: npyz::AutoSerialize + Copy>(&mut self, name: &str, shape: &[usize], numbers: &[T]) -> Result<()> {
        self.0.start_file(format!("{name}.npy"), SimpleFileOptions::default())?;
        let shape: Vec<u64> = shape.iter().map(|d| *d as u64).collect();
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut self.0).begin_nd()?;
        writer.extend(numbers.iter().copied())?;
        Ok(writer.finish()?)
    }

    /// Ends it.
    pub fn finish(self) -> Result<()> {
        self.0.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::base::npy::npy_rows;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// An archive of one member with these bytes.
    fn archive(dir: &Path, name: &str, bytes: &[u8]) -> Npz {
        let path = dir.join("a.npz");
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
        std::fs::write(&path, zip.finish().unwrap().into_inner()).unwrap();
        Npz::open(&path).unwrap()
    }

    /// An array as NumPy writes it: the header's text and the numbers' bytes.
    fn npy(descr: &str, fortran: bool, shape: &str, numbers: &[u8]) -> Vec<u8> {
        let fortran = if fortran { "True" } else { "False" };
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), numbers].concat()
    }

    proptest! {
        /// Whatever the order in which an array lies in the file, its numbers stand at their indices.
        #[test]
        fn both_orders_are_one_array(shape in prop::collection::vec(1usize..5, 0..5)) {
            let n: usize = shape.iter().product();
            let dir = tempfile::tempdir().unwrap();
            let text = format!("({})", shape.iter().map(|d| format!("{d},")).collect::<String>());
            // The number at an index is the index, digit by digit.
            let at = |mut i: usize, fastest_first: bool| {
                let mut index = vec![0; shape.len()];
                let axes: Vec<usize> = if fastest_first { (0..shape.len()).collect() } else { (0..shape.len()).rev().collect() };
                for axis in axes {
                    index[axis] = i % shape[axis];
                    i /= shape[axis];
                }
                index.iter().fold(0, |number, digit| number * 10 + digit) as i32
            };
            let bytes = |fortran: bool| (0..n).flat_map(|i| at(i, fortran).to_le_bytes()).collect::<Vec<u8>>();
            let expected: Vec<f64> = (0..n).map(|i| at(i, false) as f64).collect();
            for fortran in [false, true] {
                let array = archive(dir.path(), "a.npy", &npy("<i4", fortran, &text, &bytes(fortran))).numbers("a").unwrap();
                prop_assert_eq!(&array, &Array { shape: shape.clone(), numbers: expected.clone() });
            }
        }
    }

    proptest! {
        /// Row by row an array is what it is as a whole, whatever its order, in an archive and by itself; and one that is cut is an error.
        #[test]
        fn rows_are_the_array(shape in prop::collection::vec(1usize..6, 1..5), cut in any::<prop::sample::Index>()) {
            let (dir, n) = (tempfile::tempdir().unwrap(), shape.iter().product::<usize>());
            let path = dir.path().join("a.npy");
            let text = format!("({})", shape.iter().map(|d| format!("{d},")).collect::<String>());
            let numbers: Vec<u8> = (0..n).map(|i| (i * 37) as u8).collect();
            for fortran in [false, true] {
                let bytes = npy("|u1", fortran, &text, &numbers);
                std::fs::write(&path, &bytes).unwrap();
                let mut seen = Vec::new();
                let begin = |found: &[usize]| Ok(found.to_vec());
                let mut see = |begun: &Vec<usize>, i: usize, row: &[u8]| {
                    assert!(*begun == shape && i * row.len() == seen.len());
                    seen.extend_from_slice(row);
                    Ok(())
                };
                let mut file = archive(dir.path(), "a.npy", &bytes);
                file.rows("a", begin, &mut see).unwrap().unwrap();
                npy_rows(&path, begin, &mut |_, _, _| Ok(())).unwrap().unwrap();
                prop_assert_eq!(seen, file.bytes("a").unwrap().numbers);
                std::fs::write(&path, &bytes[..cut.index(bytes.len())]).unwrap();
                prop_assert!(npy_rows(&path, begin, &mut |_, _, _| Ok(())).is_err());
            }
        }
    }

    /// Whole numbers and floating-point numbers of every size that is in use, in both byte orders; text and complex numbers are refused.
    #[test]
    fn every_kind_of_number_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let read = |descr: &str, bytes: &[u8]| archive(dir.path(), "a.npy", &npy(descr, false, "(1,)", bytes)).numbers("a");
        let kinds: [(&str, Vec<u8>); 14] = [
            ("<f2", half::f16::from_f32(-7.0).to_le_bytes().into()),
            ("<f4", (-7f32).to_le_bytes().into()),
            (">f4", (-7f32).to_be_bytes().into()),
            ("<f8", (-7f64).to_le_bytes().into()),
            (">f8", (-7f64).to_be_bytes().into()),
            ("|i1", (-7i8).to_le_bytes().into()),
            ("<i2", (-7i16).to_le_bytes().into()),
            ("<i4", (-7i32).to_le_bytes().into()),
            ("<i8", (-7i64).to_le_bytes().into()),
            (">i8", (-7i64).to_be_bytes().into()),
            ("|u1", 7u8.to_le_bytes().into()),
            ("<u2", 7u16.to_le_bytes().into()),
            ("<u4", 7u32.to_le_bytes().into()),
            ("<u8", 7u64.to_le_bytes().into()),
        ];
        for (descr, bytes) in kinds {
            let expected = if descr.contains('u') { 7.0 } else { -7.0 };
            assert_eq!(read(descr, &bytes).unwrap().numbers, [expected], "{descr}");
        }
        for descr in ["<U3", "|S12", "<c8"] {
            let why = format!("{:#}", read(descr, &[0; 12]).unwrap_err());
            assert!(why.contains("a: expected numbers, got"), "{descr}: {why}");
        }
        let mut other = archive(dir.path(), "a.npy", &npy("<f4", false, "(1,)", &[0; 4]));
        assert!(format!("{:#}", other.bytes("a").unwrap_err()).contains("expected bytes (uint8), got"));
        let why = format!("{:#}", other.numbers("b").unwrap_err());
        assert!(why.contains("expected an array b, found a") && other.has("a") && !other.has("b"), "{why}");
    }

    /// A flipped bit anywhere in an array's numbers is found.
    #[test]
    fn damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let numbers: Vec<u8> = (0..100).collect();
        archive(dir.path(), "a.npy", &npy("|u1", false, "(100,)", &numbers));
        let path = dir.path().join("a.npz");
        let good = std::fs::read(&path).unwrap();
        assert_eq!(Npz::open(&path).unwrap().bytes("a").unwrap().numbers, numbers);
        let stored = npy("|u1", false, "(100,)", &numbers);
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file("a.npy", SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored)).unwrap();
        writer.write_all(&stored).unwrap();
        let mut bytes = writer.finish().unwrap().into_inner();
        let place = bytes.windows(4).position(|four| four == [50, 51, 52, 53]).unwrap();
        bytes[place] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let why = format!("{:#}", Npz::open(&path).unwrap().bytes("a").unwrap_err());
        assert!(why.starts_with("a: is damaged") && good != bytes, "{why}");
        let rows = Npz::open(&path).unwrap().rows("a", |_| Ok(()), &mut |(), _, _| Ok(()));
        assert!(format!("{:#}", rows.unwrap_err()).starts_with("a: is "));
    }

    /// A header that promises more than any memory is refused before anything is asked for; a cut array is an error.
    #[test]
    fn what_cannot_be_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = |bytes: &[u8]| format!("{:#}", archive(dir.path(), "a.npy", bytes).numbers("a").unwrap_err());
        for shape in ["(9999999999999,)", "(99999999999, 99999999999)"] {
            let why = error(&npy("<f8", false, shape, &[0; 16]));
            assert!(why.contains("cannot hold"), "{shape}: {why}");
        }
        assert!(error(&npy("<f8", false, "(3,)", &[0; 16])).starts_with("a: "));
        assert!(error(b"rubbish").contains("is not a NumPy array"));
        assert!(error(&npy("<f8", false, "(2,)", &[0; 24])).contains("holds 8 bytes more than an array of [2]"));
        // Nested deep enough to be read for ever, in every bracket.
        for brackets in ["[", "(", "{"] {
            let why = error(&npy("<f8", false, &brackets.repeat(60), &[0; 16]));
            assert!(why.contains("expected numbers, got records") || why.contains("is not a NumPy array"), "{why}");
        }
        assert!(error(b"\x93NUMPY\x02\0\xff\xff\xff\xff{}").contains("expected a header of at most 65536 bytes"));
    }
}
