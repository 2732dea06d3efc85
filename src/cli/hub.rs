//! Downloads from the Hugging Face hub: what `--tokenizer` and `--dataset-name hf` name and is not in the
//! cache yet.
//!
//! The hub is asked where a name is `OWNER/NAME`, nothing on this machine is called so, the cache does not
//! have it, and HF_HUB_OFFLINE does not forbid it.

use std::env;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::output::write_error;
use super::talk::say;
use crate::error::Error;
use crate::runtime::block_on;
use crate::wire::{WireError, download};
use crate::workload::{HubKind, HubRepository, files_of_split, is_inside};

/// The hub where HF_ENDPOINT names no other.
const HUB: &str = "https://huggingface.co";

/// Files of a model that count its tokens.
const TOKENIZER_FILES: [&str; 3] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
];

/// Most bytes of what the hub says of a repository, of a model's file, and of a data set's.
const MAX_FACTS_BYTES: u64 = 64 << 20;
const MAX_MODEL_FILE_BYTES: u64 = 1 << 30;
const MAX_DATA_FILE_BYTES: u64 = 1 << 40;

/// What the hub says of a repository.
#[derive(Debug, Deserialize)]
struct Facts {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

/// A file of a repository.
#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Where the hub is, and the key for it.
struct Hub {
    url: Url,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Has the tokenizer of a model at hand, where `name` is one of the hub's.
///
/// # Errors
///
/// The hub can't be asked, or does not have it.
pub(super) fn fetch_tokenizer(name: &Path) -> Result<(), Error> {
    let Some(repository) = HubRepository::named(HubKind::Model, name) else {
        return Ok(());
    };
    if repository.cached().is_some() || is_offline() {
        return Ok(());
    }
    let hub = Hub::of_environment()?;
    let facts = hub.facts(&repository)?;
    let names = TOKENIZER_FILES.map(str::to_owned).into_iter();
    let has = |name: &String| facts.siblings.iter().any(|file| file.rfilename == *name);
    let wanted: Vec<String> = names.filter(has).collect();
    if wanted
        .first()
        .is_none_or(|first| first != TOKENIZER_FILES[0])
    {
        return Err(Error::Target {
            message: format!(
                "the model `{}` of the hub has no `tokenizer.json`",
                repository.name
            ),
            hint: Some("name a model of the same family that has one".to_owned()),
        });
    }
    hub.fetch(&repository, &facts.sha, (&wanted, MAX_MODEL_FILE_BYTES))
}

/// Has the files of a data set at hand that its flags ask for, where `name` is one of the hub's.
///
/// # Errors
///
/// The hub can't be asked, or does not have them.
pub(super) fn fetch_dataset(name: &Path, options: &Map<String, Value>) -> Result<(), Error> {
    let Some(repository) = HubRepository::named(HubKind::Dataset, name) else {
        return Ok(());
    };
    if is_offline() {
        return Ok(());
    }
    let flag = |key: &str| options.get(key).and_then(Value::as_str);
    let asked = (flag("hf_subset"), flag("hf_split"));
    // What is there may be another split.
    let kept = repository
        .cached()
        .map(|folder| names_in(&folder))
        .unwrap_or_default();
    if files_of_split(name, &kept, asked).is_ok() {
        return Ok(());
    }
    let hub = Hub::of_environment()?;
    let facts = hub.facts(&repository)?;
    let names: Vec<String> = facts
        .siblings
        .into_iter()
        .map(|file| file.rfilename)
        .collect();
    let wanted = files_of_split(name, &names, asked).map_err(crate::load::LoadError::from)?;
    hub.fetch(&repository, &facts.sha, (&wanted, MAX_DATA_FILE_BYTES))
}

/// Whether the hub is not to be asked, as its own tools understand it.
fn is_offline() -> bool {
    let value = env::var("HF_HUB_OFFLINE").unwrap_or_default();
    ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
}

/// Names of the files below a folder.
fn names_in(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let entries = fs::read_dir(folder.join(&below)).into_iter().flatten();
        for entry in entries.flatten() {
            let path = below.join(entry.file_name());
            match fs::metadata(entry.path()).is_ok_and(|found| found.is_dir()) {
                true => folders.push(path),
                false => names.push(path.to_string_lossy().into_owned()),
            }
        }
    }
    names
}

impl Hub {
    fn of_environment() -> Result<Self, Error> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let text = variable("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned());
        let url = Url::parse(&text).ok().filter(|url| url.has_host());
        let url = url.ok_or_else(|| {
            Error::usage(
                "HF_ENDPOINT is no address",
                format!("write one such as {HUB}, or leave it out"),
            )
        })?;
        let mut headers = Vec::new();
        if let Some(token) = variable("HF_TOKEN") {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value = value.map_err(|_| {
                Error::usage(
                    "HF_TOKEN has characters that no header may have",
                    "check its value",
                )
            })?;
            value.set_sensitive(true);
            headers.push((AUTHORIZATION, value));
        }
        Ok(Self { url, headers })
    }

    /// What the hub says of the newest revision.
    fn facts(&self, repository: &HubRepository) -> Result<Facts, Error> {
        let HubRepository { kind, name, .. } = repository;
        let url = self.at(&format!("api/{}/{name}/revision/main", kind.plural()));
        let mut json = Vec::new();
        self.get(&url, &mut json, MAX_FACTS_BYTES)
            .map_err(|error| self.failed(repository, &error))?;
        serde_json::from_slice(&json).map_err(|error| Error::Target {
            message: format!(
                "what `{}` says of `{name}` is not understood: {error}",
                self.host()
            ),
            hint: Some("HF_ENDPOINT has to be the address of a Hugging Face hub".to_owned()),
        })
    }

    /// Downloads files into the cache, and notes the snapshot when all are there.
    fn fetch(
        &self,
        repository: &HubRepository,
        revision: &str,
        (names, most): (&[String], u64),
    ) -> Result<(), Error> {
        let strange = || Error::Target {
            message: format!(
                "`{}` names files or revisions that lead out of their folder",
                self.host()
            ),
            hint: Some("HF_ENDPOINT has to be the address of a Hugging Face hub".to_owned()),
        };
        let folder = repository.snapshot(revision).ok_or_else(strange)?;
        for name in names {
            if !is_inside(name) {
                return Err(strange());
            }
            let to = folder.join(name);
            if to.exists() {
                continue;
            }
            say(&format!(
                "downloading `{name}` of `{}` from {}",
                repository.name,
                self.host()
            ));
            let prefix = match repository.kind {
                HubKind::Model => "",
                HubKind::Dataset => "datasets/",
            };
            let url = self.at(&format!(
                "{prefix}{}/resolve/{revision}/{name}",
                repository.name
            ));
            let part = PathBuf::from(format!("{}.part-{}", to.display(), std::process::id()));
            let written = self.write(&url, &part, most);
            let written = written
                .map_err(|error| error.unwrap_or_else(|error| self.failed(repository, &error)));
            if let Err(error) = written {
                // Whether it can be removed or not, it is no file of the snapshot.
                let _ = fs::remove_file(&part);
                return Err(error);
            }
            fs::rename(&part, &to).map_err(|source| write_error(&to, source))?;
        }
        repository
            .set_newest(revision)
            .map_err(|source| write_error(&folder, source))
    }

    /// Downloads into a file.
    fn write(&self, url: &Url, path: &Path, most: u64) -> Result<(), Result<Error, WireError>> {
        let wrong = |source| Ok(write_error(path, source));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(wrong)?;
        }
        let mut file = BufWriter::new(File::create(path).map_err(wrong)?);
        self.get(url, &mut file, most).map_err(Err)?;
        file.flush().map_err(wrong)
    }

    fn get(&self, url: &Url, to: &mut (dyn Write + Send), most: u64) -> Result<(), WireError> {
        let got = block_on(download(url, &self.headers, (to, most)));
        match got {
            Ok(got) => got.map(|_| ()),
            Err(error) => Err(WireError {
                kind: crate::capture::schema::ErrorKind::Unsupported,
                message: error.to_string(),
            }),
        }
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url
    }

    fn host(&self) -> String {
        self.url.host_str().unwrap_or_default().to_owned()
    }

    fn failed(&self, repository: &HubRepository, error: &WireError) -> Error {
        let (name, host) = (&repository.name, self.host());
        let hint = match error.is_status() {
            true => {
                "check the name; where it is private or has terms to accept, give a token in HF_TOKEN"
            }
            false => {
                "name a file or folder on this machine, or set HF_ENDPOINT to a mirror that is reachable"
            }
        };
        Error::Target {
            message: format!("`{name}` can't be had from {host}: {}", error.message),
            hint: Some(hint.to_owned()),
        }
    }
}
