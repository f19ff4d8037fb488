//! Parquet with an image file in each row, as Hugging Face's `datasets` writes it: a column of bytes, or of a struct with `bytes` in it.

use super::entries::{Beside, Content, Entry, See, files};
use anyhow::{Context, Result, anyhow, bail, ensure};
use ddpm_model::interop::foreign;
use parquet::basic::{ConvertedType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// How files end.
pub const ENDINGS: [&str; 1] = [".parquet"];

/// Rows that are read together.
const ROWS: usize = 256;

/// The name of the labels' column where none is given.
const LABEL: &str = "label";

/// Shows the images of a file, or of those in a folder by name, row by row. `column` holds them: where it is not given, the only one that
/// can. `label` holds the numbers of their classes, where there is such a column.
pub fn each(path: &Path, column: Option<&str>, label: Option<&str>, see: &mut See) -> Result<Beside> {
    let mut beside = Beside::default();
    for shard in files(path, &ENDINGS, &mut beside.left_out)? {
        let mut rows = Rows::open(&shard, column, label).with_context(|| shard.display().to_string())?;
        if beside.classes.is_empty() {
            beside.classes = rows.classes();
        }
        // The reader trusts what it finds in places: where it panics, the file is damaged. (A damaged count that asks for more memory than there
        // is ends the process all the same.)
        while let Some(found) = catch_unwind(AssertUnwindSafe(|| rows.read()))
            .unwrap_or_else(|_| Err(anyhow!("is damaged")))
            .with_context(|| shard.display().to_string())?
        {
            found.into_iter().try_for_each(&mut *see)?;
        }
    }
    Ok(beside)
}

/// A file that is being read.
struct Rows {
    origin: String,
    file_name: String,
    file: SerializedFileReader<File>,
    /// Numbers of the columns.
    images: usize,
    labels: Option<usize>,
    /// The next group of rows, and the columns of the one that is being read.
    group: usize,
    open: Option<(ColumnReader, Option<ColumnReader>)>,
    row: u64,
}

/// A column's name as its users know it: that of the struct, where it is in one.
fn name(column: &ColumnDescriptor) -> &str {
    &column.path().parts()[0]
}

/// Whether a column may hold image files.
fn may_hold_images(column: &ColumnDescriptor) -> bool {
    let parts = column.path().parts();
    let bytes = column.physical_type() == Type::BYTE_ARRAY && column.converted_type() != ConvertedType::UTF8 && column.max_rep_level() == 0;
    bytes && (parts.len() == 1 || parts.len() == 2 && parts[1] == "bytes")
}

impl Rows {
    fn open(path: &Path, column: Option<&str>, label: Option<&str>) -> Result<Rows> {
        let mut start = Vec::new();
        File::open(path).and_then(|file| file.take(64).read_to_end(&mut start)).context("cannot be read")?;
        if let Some(what) = foreign(&start) {
            bail!(what);
        }
        let open = || SerializedFileReader::new(File::open(path)?);
        let file = catch_unwind(open).map_err(|_| anyhow!("is damaged"))?.context("is no Parquet file, or is cut short")?;
        let columns = file.metadata().file_metadata().schema_descr().columns().to_vec();
        let fits = |i: &usize| may_hold_images(&columns[*i]) && column.is_none_or(|wanted| wanted == name(&columns[*i]));
        let fitting: Vec<usize> = (0..columns.len()).filter(fits).collect();
        let &[images] = &fitting[..] else {
            let what = column.map_or("a column of image files".to_string(), |wanted| format!("a column {wanted} of image files"));
            let all: Vec<String> = columns.iter().map(|c| c.path().string()).collect();
            bail!("expected {what}, found {} that may be it among {}; `column` names it", fitting.len(), all.join(", "));
        };
        let is_label = |c: &ColumnDescriptor| {
            name(c) == label.unwrap_or(LABEL) && c.max_rep_level() == 0 && matches!(c.physical_type(), Type::INT32 | Type::INT64)
        };
        let labels = columns.iter().position(|c| is_label(c));
        ensure!(labels.is_some() || label.is_none(), "expected a column {} of whole numbers, found none", label.unwrap_or(LABEL));
        let origin = path.display().to_string();
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Rows { origin, file_name, file, images, labels, group: 0, open: None, row: 0 })
    }

    /// The classes' names, where `datasets` has left them.
    fn classes(&self) -> Vec<String> {
        let file = self.file.metadata().file_metadata();
        let find = || {
            let text = file.key_value_metadata()?.iter().find(|pair| pair.key == "huggingface")?.value.as_ref()?;
            let all: Value = serde_json::from_str(text).ok()?;
            let column = name(&file.schema_descr().columns()[self.labels?]).to_string();
            serde_json::from_value(all["info"]["features"][&column]["names"].clone()).ok()
        };
        find().unwrap_or_default()
    }

    /// The next rows; none after the last.
    fn read(&mut self) -> Result<Option<Vec<Entry>>> {
        let columns = self.file.metadata().file_metadata().schema_descr_ptr();
        let highest = |column: usize| columns.column(column).max_def_level();
        loop {
            let Some(group) = &mut self.open else {
                if self.group == self.file.num_row_groups() {
                    let expected = self.file.metadata().file_metadata().num_rows();
                    ensure!(self.row as i64 == expected, "is damaged: expected {expected} rows, found {}", self.row);
                    return Ok(None);
                }
                let group = self.file.get_row_group(self.group)?;
                let labels = self.labels.map(|column| group.get_column_reader(column)).transpose()?;
                self.open = Some((group.get_column_reader(self.images)?, labels));
                self.group += 1;
                continue;
            };
            let images = match &mut group.0 {
                ColumnReader::ByteArrayColumnReader(reader) => values(reader, highest(self.images))?,
                _ => bail!("expected bytes"),
            };
            if images.is_empty() {
                self.open = None;
                continue;
            }
            let wide = |label: Option<i32>| label.map(i64::from);
            let labels: Vec<Option<i64>> = match (self.labels, &mut group.1) {
                (Some(column), Some(ColumnReader::Int32ColumnReader(reader))) => {
                    values(reader, highest(column))?.into_iter().map(wide).collect()
                }
                (Some(column), Some(ColumnReader::Int64ColumnReader(reader))) => values(reader, highest(column))?,
                _ => vec![None; images.len()],
            };
            ensure!(labels.len() == images.len(), "is damaged: its columns have unlike lengths");
            let mut entries = Vec::with_capacity(images.len());
            for (bytes, label) in images.into_iter().zip(labels) {
                let content = Content::Encoded(bytes.map_or_else(Vec::new, |bytes: ByteArray| bytes.data().to_vec()));
                // Below zero: unlabelled, as the test sets of competitions are.
                let class = label.and_then(|label| usize::try_from(label).ok());
                let (place, name) = (format!("{}: row {}", self.origin, self.row), format!("{}:{}", self.file_name, self.row));
                entries.push(Entry { place, name, class, content });
                self.row += 1;
            }
            return Ok(Some(entries));
        }
    }
}

/// The next values of a column, fewer than [`ROWS`] only at its end; none where the file says that there is none. `highest` is the level of
/// what is there.
fn values<T: DataType>(reader: &mut ColumnReaderImpl<T>, highest: i16) -> Result<Vec<Option<T::T>>> {
    let (mut values, mut levels, mut rows) = (Vec::new(), Vec::new(), 0);
    while rows < ROWS {
        match reader.read_records(ROWS - rows, Some(&mut levels), None, &mut values)?.0 {
            0 => break,
            more => rows += more,
        }
    }
    let mut values = values.into_iter();
    if highest == 0 {
        return Ok(values.map(Some).collect());
    }
    let at = |level: i16| if level == highest { values.next().map(Some).context("is damaged: a value is missing") } else { Ok(None) };
    levels.into_iter().map(at).collect()
}
