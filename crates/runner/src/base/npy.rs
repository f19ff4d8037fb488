//! NumPy's arrays, `.npy`, read whole or row by row. Errors name what is wrong, not the file.

use anyhow::{Context, Result, bail, ensure};
use npyz::{DType, NpyFile, Order, TypeChar};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

/// An array in the order of its indices, the last one running fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub numbers: Vec<T>,
}

/// Who is shown an array's rows: what was made of its dimensions, the row's number, and its numbers in the order of their indices.
pub type SeeRow<'a, S> = dyn FnMut(&S, usize, &[u8]) -> Result<()> + 'a;

/// Shows the array of bytes in an `.npy` file row by row, never all of it. `begin` is told the array's dimensions and makes of them what `see`
/// is given with each row: its number, and its numbers in the order of their indices. Errors name what is wrong, not the file; those of
/// `see` come as they are.
pub fn npy_rows<S>(path: &Path, begin: impl FnOnce(&[usize]) -> Result<S>, see: &mut SeeRow<S>) -> Result<Result<()>> {
    let mut file = BufReader::new(File::open(path).context("cannot be read")?);
    let most = file.get_ref().metadata()?.len();
    rows(&mut file, most, begin, see)
}

/// The outer error is of the file, the inner one of `see`.
pub(super) fn rows<S>(
    file: &mut dyn Read,
    most: u64,
    begin: impl FnOnce(&[usize]) -> Result<S>,
    see: &mut SeeRow<S>,
) -> Result<Result<()>> {
    let header = header(file)?;
    let npy = NpyFile::new(&header[..]).context("is not a NumPy array")?;
    if npy.order() == Order::Fortran {
        // No row lies together.
        let Array { shape, numbers } = whole(&mut Cursor::new(header).chain(file), most, bytes)?;
        let (begun, row) = (begin(&shape)?, shape.iter().skip(1).product::<usize>().max(1));
        return Ok(numbers.chunks(row).enumerate().try_for_each(|(i, row)| see(&begun, i, row)));
    }
    let shape = shape(&npy, most)?;
    is_bytes(&npy)?;
    let begun = begin(&shape)?;
    let mut row = vec![0; shape.iter().skip(1).product::<usize>()];
    for i in 0..shape.first().copied().unwrap_or(0) {
        file.read_exact(&mut row).context("is cut short or damaged")?;
        if let Err(error) = see(&begun, i, &row) {
            return Ok(Err(error));
        }
    }
    end(file, &shape)?;
    Ok(Ok(()))
}

/// The dimensions of an array, of which there can be `most` bytes.
fn shape<R: Read>(npy: &NpyFile<R>, most: u64) -> Result<Vec<usize>> {
    let DType::Plain(kind) = npy.dtype() else { bail!("expected numbers, got records: {}", npy.dtype().descr()) };
    let bytes = npy.shape().iter().try_fold(kind.size_field(), |n, d| n.checked_mul(*d));
    let shape: Vec<usize> = npy.shape().iter().map(|d| *d as usize).collect();
    ensure!(bytes.is_some_and(|n| n <= most), "has a shape of {shape:?}, which a file of this size cannot hold");
    Ok(shape)
}

/// A member's checksum is compared where its end is read.
fn end(file: &mut dyn Read, shape: &[usize]) -> Result<()> {
    let more = io::copy(file, &mut io::sink()).context("is damaged")?;
    ensure!(more == 0, "holds {more} bytes more than an array of {shape:?}");
    Ok(())
}

fn is_bytes<R: Read>(npy: &NpyFile<R>) -> Result<()> {
    match npy.dtype() {
        DType::Plain(kind) if (kind.type_char(), kind.size_field()) == (TypeChar::Uint, 1) => Ok(()),
        other => bail!("expected bytes (uint8), got {}", other.descr()),
    }
}

pub(super) fn bytes(npy: NpyFile<&mut dyn Read>, _: TypeChar, _: u64) -> Result<Vec<u8>> {
    is_bytes(&npy)?;
    Ok(npy.into_vec::<u8>()?)
}

/// The array of an `.npy` file, of which there can be `most` bytes.
pub(super) fn whole<T: Copy>(
    file: &mut dyn Read,
    most: u64,
    read: impl FnOnce(NpyFile<&mut dyn Read>, TypeChar, u64) -> Result<Vec<T>>,
) -> Result<Array<T>> {
    let header = header(file)?;
    let mut file = Cursor::new(header).chain(file);
    let npy = NpyFile::new(&mut file as &mut dyn Read).context("is not a NumPy array")?;
    let (shape, order) = (shape(&npy, most)?, npy.order());
    let DType::Plain(kind) = npy.dtype() else { unreachable!("has a shape in bytes") };
    let numbers = read(npy, kind.type_char(), kind.size_field())?;
    end(&mut file, &shape)?;
    Ok(Array { numbers: if order == Order::Fortran { turned(&numbers, &shape) } else { numbers }, shape })
}

/// What stands before an array's numbers: a mark, a version, a length, and a Python dictionary of so many bytes. One that is nested deeper
/// than an array's needs to be is refused: reading it could take for ever.
fn header(file: &mut dyn Read) -> Result<Vec<u8>> {
    let what = "is not a NumPy array";
    let mut bytes = vec![0; 10];
    file.read_exact(&mut bytes).context(what)?;
    ensure!(bytes.starts_with(b"\x93NUMPY"), what);
    let length = match bytes[6] {
        1 => u64::from(u16::from_le_bytes([bytes[8], bytes[9]])),
        _ => {
            let mut more = [0; 2];
            file.read_exact(&mut more).context(what)?;
            bytes.extend(more);
            u64::from(u32::from_le_bytes([bytes[8], bytes[9], more[0], more[1]]))
        }
    };
    ensure!(length <= LONGEST, "expected a header of at most {LONGEST} bytes, got {length}");
    let start = bytes.len();
    ensure!(file.take(length).read_to_end(&mut bytes)? as u64 == length, "is cut short");
    let count = |byte: u8| bytes[start..].iter().filter(|b| **b == byte).count();
    ensure!(count(b'[') == 0, "expected numbers, got records");
    ensure!(count(b'(') <= 1 && count(b'{') <= 1, what);
    Ok(bytes)
}

/// The longest header that is believed.
const LONGEST: u64 = 1 << 16;

/// An array whose first index runs fastest, as one whose last does.
fn turned<T: Copy>(numbers: &[T], shape: &[usize]) -> Vec<T> {
    let strides: Vec<usize> = shape.iter().scan(1, |stride, n| Some(std::mem::replace(stride, *stride * n))).collect();
    let mut index = vec![0; shape.len()];
    let mut out = Vec::with_capacity(numbers.len());
    for _ in 0..numbers.len() {
        out.push(numbers[index.iter().zip(&strides).map(|(i, stride)| i * stride).sum::<usize>()]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}
