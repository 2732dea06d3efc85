//! The rows of a tape's table.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Gives every row in the parts of the table at `folder` to `take`, in order. Returns the size of
/// the parts, in bytes.
pub(crate) fn each<R>(
    folder: &Path,
    rows: impl Fn(&RecordBatch) -> Option<Vec<R>>,
    mut take: impl FnMut(R),
) -> Outcome<u64> {
    let mut bytes = 0;
    for part in parts(folder)? {
        bytes += fs::metadata(&part)?.len();
        for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(part)?)?.build()? {
            rows(&batch?)
                .ok_or_else(|| format!("`{}` has another shape", folder.display()))?
                .into_iter()
                .for_each(&mut take);
        }
    }
    Ok(bytes)
}

/// Returns the Parquet files in `folder`, in the order of their names.
fn parts(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            parts.push(path);
        }
    }
    parts.sort();
    Ok(parts)
}
