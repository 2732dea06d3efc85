//! Reads the folder of one model: a pair of files a client.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::client::Client;
use super::lengths::Lengths;
use super::rates;
use crate::trace::error::ServeGenError;

/// Most bytes of one file: tens of times what the published ones have.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Most clients of one folder.
const CLIENTS_MAX: usize = 100_000;

const RATES_END: &str = "-trace.csv";
const LENGTHS_END: &str = "-dataset.json";

/// The clients of a folder, by their numbers.
#[derive(Debug)]
pub(super) struct Folder {
    /// Clients whose files are both there.
    pub(super) pairs: BTreeMap<u64, Pair>,
    /// Names of the files whose other half is missing, in order.
    pub(super) single: Vec<String>,
}

/// The files of one client.
#[derive(Debug)]
pub(super) struct Pair {
    rates: PathBuf,
    lengths: PathBuf,
}

/// Lists a folder. Files of other names are none of its business.
pub(super) fn list(path: &Path) -> Result<Folder, ServeGenError> {
    let failed = |source| ServeGenError::Read {
        path: path.to_owned(),
        source,
    };
    let mut halves: BTreeMap<u64, (Option<PathBuf>, Option<PathBuf>)> = BTreeMap::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let name = file.file_name().and_then(|name| name.to_str());
        let Some(rest) = name.and_then(|name| name.strip_prefix("chunk-")) else {
            continue;
        };
        if let Some(number) = rest.strip_suffix(RATES_END).and_then(number) {
            halves.entry(number).or_default().0 = Some(file);
        } else if let Some(number) = rest.strip_suffix(LENGTHS_END).and_then(number) {
            halves.entry(number).or_default().1 = Some(file);
        }
        if halves.len() > CLIENTS_MAX {
            let source = std::io::Error::other(format!("it has more than {CLIENTS_MAX} clients"));
            return Err(failed(source));
        }
    }
    let mut folder = Folder {
        pairs: BTreeMap::new(),
        single: Vec::new(),
    };
    for (number, halves) in halves {
        match halves {
            (Some(rates), Some(lengths)) => {
                folder.pairs.insert(number, Pair { rates, lengths });
            }
            (one, other) => {
                let names = one.iter().chain(&other).filter_map(|file| file.file_name());
                let names = names.map(|name| name.to_string_lossy().into_owned());
                folder.single.extend(names);
            }
        }
    }
    if folder.pairs.is_empty() {
        return Err(ServeGenError::NoClient {
            path: path.to_owned(),
        });
    }
    Ok(folder)
}

/// Parses the number of a client as it is written: without zeros before it.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl Pair {
    /// Reads both files.
    pub(super) fn read(&self, number: u64) -> Result<Client, ServeGenError> {
        Ok(Client {
            name: format!("client-{number}"),
            rates: rates::parse(&self.rates, &read(&self.rates)?)?,
            lengths: Lengths::parse(&self.lengths, &read(&self.lengths)?)?,
        })
    }
}

fn read(path: &Path) -> Result<String, ServeGenError> {
    let failed = |source| ServeGenError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(ServeGenError::TooLarge {
            path: path.to_owned(),
            most_bytes: FILE_BYTES_MAX,
        });
    }
    Ok(text)
}
