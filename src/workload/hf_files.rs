//! The files of the data set `hf`: which ones of a folder belong to a split, and their rows.
//!
//! A folder is laid out as the hub has it: the name of a split is the beginning of a file's name, a
//! word of it, or the name of a folder on the way. Rows come as JSON objects, whatever the file is;
//! of Parquet only the columns that are asked for are read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::json::LineDelimitedWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use super::error::WorkloadError;
use super::hub;
use super::records::{self, Wants};
use super::text_file::{self, Unreadable};

/// A row.
pub(super) type Row = Map<String, Value>;

/// Endings of the names of files with rows.
const ENDINGS: [&str; 5] = [".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz"];

/// Files that say something of the rows and have none.
const NO_ROWS: [&str; 3] = ["dataset_info.json", "dataset_infos.json", "state.json"];

/// Folders below the one that was named.
const MAX_DEPTH: usize = 6;

/// Files of a folder at most.
const MAX_FILES: usize = 100_000;

/// Rows that are read at once: each may be long.
const BATCH_ROWS: usize = 64;

/// Names in a message, at most.
const MAX_NAMES: usize = 12;

/// The split that is taken where none is named.
const DEFAULT_SPLIT: &str = "train";

pub(super) const FORMS: &str = "name a file of Parquet, JSON or JSON lines, or a folder of them";

/// What is to be read.
pub(super) struct Files {
    /// In the order of their paths.
    pub(super) paths: Vec<PathBuf>,
    /// The split that they are, where that was told by their names.
    pub(super) split: Option<String>,
    /// The folders that they are in, as those of subsets; none where it is one.
    pub(super) subsets: Vec<String>,
}

/// Finds the files of a split, and of a subset where one is named.
///
/// # Errors
///
/// There are none.
pub(super) fn find(
    path: &Path,
    subset: Option<&str>,
    split: Option<&str>,
) -> Result<Files, WorkloadError> {
    let cached = hub::cached_dataset(path);
    let path = cached.as_deref().unwrap_or(path);
    let file = fs::metadata(path).map_err(|error| missing(path, &error))?;
    if !file.is_dir() {
        return Ok(Files {
            paths: vec![path.to_owned()],
            split: None,
            subsets: Vec::new(),
        });
    }
    let mut all = Vec::new();
    walk(path, MAX_DEPTH, &mut all)
        .map_err(|error| WorkloadError::dataset(path, error.to_string(), FORMS))?;
    all.sort();
    let chosen = choose(path, &all, subset, split)?;
    Ok(Files {
        paths: chosen.paths.iter().map(|name| path.join(name)).collect(),
        ..chosen
    })
}

/// Whether a file of that name has rows.
fn has_rows(name: &Path) -> bool {
    let Some(name) = name.file_name().map(|name| name.to_string_lossy()) else {
        return false;
    };
    let is_plain = !name.starts_with('.') && !NO_ROWS.contains(&&*name);
    let name = name.to_ascii_lowercase();
    is_plain && ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Chooses from the files with rows those of a split, and of a subset where one is named.
///
/// # Errors
///
/// There are none.
fn choose(
    path: &Path,
    all: &[PathBuf],
    subset: Option<&str>,
    split: Option<&str>,
) -> Result<Files, WorkloadError> {
    let wrong = |message: String| {
        let names = all
            .iter()
            .take(MAX_NAMES)
            .map(|name| name.display().to_string());
        let names = names.collect::<Vec<_>>().join(", ");
        WorkloadError::dataset(path, format!("{message}; it has: {names}"), FORMS)
    };
    if all.is_empty() {
        let message = "it has no file that ends in .parquet, .jsonl or .json";
        return Err(WorkloadError::dataset(path, message, FORMS));
    }
    let of_subset: Vec<&PathBuf> = match subset {
        Some(subset) => all.iter().filter(|name| has_folder(name, subset)).collect(),
        None => all.iter().collect(),
    };
    if of_subset.is_empty() {
        let subset = subset.unwrap_or_default();
        return Err(wrong(format!("it has no file of the subset `{subset}`")));
    }
    let chosen = of_split(&of_subset, split.unwrap_or(DEFAULT_SPLIT));
    let (chosen, found) = match (chosen.is_empty(), split) {
        (true, Some(split)) => return Err(wrong(format!("it has no file of the split `{split}`"))),
        (true, None) => (of_subset, None),
        (false, split) => (chosen, Some(split.unwrap_or(DEFAULT_SPLIT).to_owned())),
    };
    Ok(Files {
        subsets: subsets(&chosen, found.as_deref()),
        paths: chosen.into_iter().cloned().collect(),
        split: found,
    })
}

/// Chooses of the names of a data set's files those that a split has, as [`find`] would.
///
/// # Errors
///
/// As [`find`].
pub fn files_of_split(
    dataset: &Path,
    names: &[String],
    (subset, split): (Option<&str>, Option<&str>),
) -> Result<Vec<String>, WorkloadError> {
    let names = names.iter().map(PathBuf::from);
    let mut all: Vec<PathBuf> = names.filter(|name| has_rows(name)).collect();
    all.sort();
    let chosen = choose(dataset, &all, subset, split)?.paths.into_iter();
    let name = |path: PathBuf| path.to_string_lossy().into_owned();
    Ok(chosen.map(name).collect())
}

/// The folders that files are in, without those of their split; none where it is one.
fn subsets(paths: &[&PathBuf], split: Option<&str>) -> Vec<String> {
    let folder = |path: &&PathBuf| {
        let folders = path.parent().into_iter().flat_map(Path::components);
        let folders = folders.filter(|part| Some(&*part.as_os_str().to_string_lossy()) != split);
        folders.collect::<PathBuf>()
    };
    let all: BTreeSet<PathBuf> = paths.iter().map(folder).collect();
    if all.len() < 2 {
        return Vec::new();
    }
    let names = all.iter().map(|folder| folder.display().to_string());
    names
        .filter(|name| !name.is_empty())
        .take(MAX_NAMES)
        .collect()
}

/// Says that nothing is there, and what a name on the hub comes to.
fn missing(path: &Path, error: &std::io::Error) -> WorkloadError {
    let text = path.to_string_lossy();
    let is_name = |part: &str| {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(is_of_name)
    };
    let parts: Vec<&str> = text.split('/').collect();
    let is_hub = matches!(parts[..], [owner, name] if is_name(owner) && is_name(name));
    if is_hub && error.kind() == std::io::ErrorKind::NotFound {
        let message = "it is no file or folder here, and no data set in the hub's cache";
        let hint =
            "leave out `--dry-run` and HF_HUB_OFFLINE to have it downloaded, or name a folder";
        return WorkloadError::dataset(path, message, hint);
    }
    WorkloadError::dataset(path, error.to_string(), FORMS)
}

/// Collects the files with rows, as paths in `root`.
fn walk(root: &Path, depth: usize, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut folders = vec![(PathBuf::new(), depth)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') {
                continue;
            }
            let path = folder.join(entry.file_name());
            // The hub's own tool fills folders with links.
            let is_dir = fs::metadata(entry.path())?.is_dir();
            if is_dir && depth > 0 {
                folders.push((path, depth - 1));
            } else if !is_dir && has_rows(&path) {
                into.push(path);
            }
            if into.len() > MAX_FILES {
                return Err(std::io::Error::other(format!(
                    "it has over {MAX_FILES} files"
                )));
            }
        }
    }
    Ok(())
}

/// Whether one of the folders on the way is called so.
fn has_folder(path: &Path, wanted: &str) -> bool {
    let folders = path.parent().into_iter().flat_map(Path::components);
    let mut names = folders.map(|part| part.as_os_str().to_string_lossy());
    names.any(|name| name == wanted)
}

/// The files of a split: those whose names begin with it, or else have it as a word.
fn of_split<'a>(all: &[&'a PathBuf], split: &str) -> Vec<&'a PathBuf> {
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.into_owned()
    };
    let begins = |path: &Path| {
        let name = name(path);
        let rest = name.strip_prefix(split);
        has_folder(path, split) || rest.is_some_and(|rest| rest.starts_with(['-', '.']))
    };
    let has_word = |path: &Path| {
        let name = name(path);
        let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
        name.match_indices(split).any(|(at, found)| {
            let (before, after) = (&name[..at], &name[at + found.len()..]);
            is_edge(before.chars().next_back()) && is_edge(after.chars().next())
        })
    };
    let exact: Vec<_> = all.iter().copied().filter(|path| begins(path)).collect();
    match exact.is_empty() {
        true => all.iter().copied().filter(|path| has_word(path)).collect(),
        false => exact,
    }
}

/// Hands each row of a file to a function, with the columns of these names alone where that spares
/// reading others.
///
/// # Errors
///
/// It can't be read on, or is Parquet without any of the columns.
pub(super) fn each_row(
    path: &Path,
    columns: &[&str],
    take: impl FnMut(Row),
) -> Result<(), WorkloadError> {
    let unread = |why: Unreadable| WorkloadError::unreadable(path, why, FORMS);
    let mut head = [0; 4];
    let mut file = File::open(path).map_err(|error| unread(error.into()))?;
    let is_parquet = file.read_exact(&mut head).is_ok() && head == *b"PAR1";
    if is_parquet {
        return each_parquet(path, file, columns, take);
    }
    let text = text_file::open(path).map_err(unread)?;
    let mut take = take;
    let each = |row: Row| {
        take(row);
        Wants::More
    };
    records::each_json(text, "a row", each)
        .map_err(unread)
        .map(|_| ())
}

fn each_parquet(
    path: &Path,
    file: File,
    columns: &[&str],
    mut take: impl FnMut(Row),
) -> Result<(), WorkloadError> {
    let unread =
        |error: &dyn std::fmt::Display| WorkloadError::dataset(path, error.to_string(), FORMS);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unread(&error))?;
    let schema = builder.schema();
    let roots = (0..schema.fields().len())
        .filter(|at| columns.contains(&&**schema.field(*at).name()))
        .collect::<Vec<_>>();
    if roots.is_empty() {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        return Err(no_column(path, names));
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS);
    for batch in builder.build().map_err(|error| unread(&error))? {
        let batch = batch.map_err(|error| unread(&error))?;
        for row in rows(&batch).map_err(|error| unread(&error))? {
            take(row);
        }
    }
    Ok(())
}

/// Says that nothing among these columns is a prompt.
pub(super) fn no_column<'a>(path: &Path, names: impl Iterator<Item = &'a str>) -> WorkloadError {
    let names: Vec<&str> = names.take(MAX_NAMES).collect();
    let message = format!(
        "none of its columns is known for a prompt: {}",
        names.join(", ")
    );
    let hint = "name the one with the prompts with `--hf-prompt-column`";
    WorkloadError::dataset(path, message, hint)
}

/// The rows of a batch as JSON objects.
fn rows(batch: &RecordBatch) -> Result<Vec<Row>, String> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(batch).map_err(|error| error.to_string())?;
    let json = writer.into_inner();
    let rows = serde_json::Deserializer::from_slice(&json).into_iter::<Row>();
    rows.collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "{}").unwrap();
        }
        folder
    }

    fn found(folder: &Path, subset: Option<&str>, split: Option<&str>) -> Result<String, String> {
        let files = find(folder, subset, split).map_err(|error| error.to_string())?;
        let names = files.paths.iter().map(|path| {
            let name = path.strip_prefix(folder).unwrap();
            name.display().to_string()
        });
        let names = names.collect::<Vec<_>>().join(" ");
        Ok(format!("{}: {names}", files.split.unwrap_or_default()))
    }

    #[test]
    fn a_split_is_told_by_names_as_the_hub_lays_out_files() {
        let hub = folder(&[
            "README.md",
            ".cache/train-00000.json",
            "dataset_infos.json",
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/train_sft-00000-of-00001.parquet",
            "data/test-00000-of-00001.parquet",
        ]);
        let of = |split| found(hub.path(), None, split);
        let train = "train: data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet";
        assert_eq!(of(None).unwrap(), train);
        assert_eq!(of(Some("train")).unwrap(), train);
        assert_eq!(
            of(Some("train_sft")).unwrap(),
            "train_sft: data/train_sft-00000-of-00001.parquet"
        );
        let refused = of(Some("validation")).unwrap_err();
        assert!(
            refused.contains("no file of the split `validation`"),
            "{refused}"
        );
        assert!(
            refused.contains("data/test-00000-of-00001.parquet"),
            "{refused}"
        );
    }

    #[test]
    fn subsets_are_folders_and_files_without_a_split_are_all_read() {
        let subsets = folder(&["en/test/a.jsonl", "de/test/a.jsonl", "en/train/a.jsonl.gz"]);
        let of = |subset, split| found(subsets.path(), subset, split);
        assert_eq!(
            of(Some("en"), Some("test")).unwrap(),
            "test: en/test/a.jsonl"
        );
        assert_eq!(of(Some("en"), None).unwrap(), "train: en/train/a.jsonl.gz");
        assert_eq!(of(Some("de"), None).unwrap(), ": de/test/a.jsonl");
        assert!(of(Some("fr"), None).unwrap_err().contains("subset `fr`"));
        let merged = |subset, split| find(subsets.path(), subset, split).unwrap().subsets;
        assert_eq!(merged(None, Some("test")), ["de", "en"]);
        assert!(merged(None, Some("train")).is_empty());
        assert!(merged(Some("en"), Some("test")).is_empty());
        let word = folder(&["alpaca_train.json", "alpaca_training.json"]);
        assert_eq!(
            found(word.path(), None, None).unwrap(),
            "train: alpaca_train.json"
        );
        assert!(found(folder(&["a.txt"]).path(), None, None).is_err());
    }

    #[test]
    fn a_name_on_the_hub_is_told_to_be_downloaded() {
        let of = |path: &str| find(Path::new(path), None, None).err().unwrap();
        let error = of("Aeala/ShareGPT_Vicuna_unfiltered");
        assert!(error.to_string().contains("no data set in the hub's cache"));
        assert!(error.hint().unwrap().contains("HF_HUB_OFFLINE"));
        for path in ["./a/b", "/no/such/folder", "a.parquet"] {
            assert!(of(path).to_string().contains("No such file"), "{path}");
        }
    }
}
