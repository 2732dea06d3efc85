//! The Hugging Face hub's models and data sets, as its tools keep them: in a cache on this machine, by
//! name.
//!
//! The cache has a folder a repository, `models--OWNER--NAME` or `datasets--OWNER--NAME`, in which
//! `refs/main` names the newest snapshot. Nothing here asks a network.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// A model or a data set of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRepository {
    /// What it is.
    pub kind: HubKind,
    /// Its name, `OWNER/NAME`.
    pub name: String,
    folder: PathBuf,
}

/// What a repository of the hub is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubKind {
    /// A model, with its tokenizer.
    Model,
    /// A data set.
    Dataset,
}

impl HubKind {
    /// The word for several of them, as the hub's addresses and the cache have it.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

impl HubRepository {
    /// The repository that `name` names, such as `Qwen/Qwen3-8B`; `None` where it is no such name, or is a
    /// file or folder on this machine, or nobody knows where the cache is.
    pub fn named(kind: HubKind, name: &Path) -> Option<Self> {
        if name.exists() {
            return None;
        }
        Self::in_cache(&cache(|variable| env::var_os(variable))?, kind, name)
    }

    fn in_cache(cache: &Path, kind: HubKind, name: &Path) -> Option<Self> {
        let name = name.to_str()?;
        let (owner, own) = name.split_once('/')?;
        (is_part(owner) && is_part(own)).then(|| Self {
            kind,
            name: name.to_owned(),
            folder: cache.join(format!("{}--{owner}--{own}", kind.plural())),
        })
    }

    /// The folder of its newest snapshot in the cache; `None` where it is not there.
    pub fn cached(&self) -> Option<PathBuf> {
        let main = fs::read_to_string(self.folder.join("refs/main")).ok()?;
        let snapshot = self.snapshot(main.trim())?;
        snapshot.is_dir().then_some(snapshot)
    }

    /// The folder of a snapshot; `None` for a name that leads elsewhere.
    pub fn snapshot(&self, revision: &str) -> Option<PathBuf> {
        is_part(revision).then(|| self.folder.join("snapshots").join(revision))
    }

    /// Notes that a snapshot is the newest one.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub fn set_newest(&self, revision: &str) -> io::Result<()> {
        let refs = self.folder.join("refs");
        fs::create_dir_all(&refs)?;
        fs::write(refs.join("main"), revision)
    }
}

/// Whether a name of a file in a repository stays in its folder.
pub fn is_inside(name: &str) -> bool {
    let path = Path::new(name);
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    !name.is_empty() && !name.contains('\\') && path.components().all(is_plain)
}

/// Returns the folder with the files of the model that `name` names; `None` where it is no such name, or
/// the model is not in the cache.
pub(super) fn cached_model(name: &Path) -> Option<PathBuf> {
    HubRepository::named(HubKind::Model, name)?.cached()
}

/// The same of a data set.
pub(super) fn cached_dataset(name: &Path) -> Option<PathBuf> {
    HubRepository::named(HubKind::Dataset, name)?.cached()
}

/// The folder of the cache, as `huggingface_hub` finds it.
fn cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name| {
        Some(PathBuf::from(
            variable(name).filter(|path| !path.is_empty())?,
        ))
    };
    let home = || Some(folder("HF_HOME")?.join("hub"));
    let user = || match folder("XDG_CACHE_HOME") {
        Some(caches) => Some(caches.join("huggingface/hub")),
        None => Some(folder("HOME")?.join(".cache/huggingface/hub")),
    };
    folder("HF_HUB_CACHE").or_else(home).or_else(user)
}

fn is_part(part: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_its_name_in_the_newest_snapshot() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("models--Qwen--Qwen3-0.6B");
        let snapshot = folder.join("snapshots/abc123");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(folder.join("refs")).unwrap();
        fs::write(folder.join("refs/main"), "abc123\n").unwrap();
        let repository =
            |name: &str| HubRepository::in_cache(cache.path(), HubKind::Model, Path::new(name));
        let found = |name: &str| repository(name)?.cached();
        assert_eq!(found("Qwen/Qwen3-0.6B"), Some(snapshot));
        for other in [
            "Qwen/Qwen3-8B",
            "Qwen3-0.6B",
            "../Qwen/Qwen3-0.6B",
            "Qwen/..",
            "/Qwen/Qwen3-0.6B",
            "",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
        // A reference that leads out of the folder is none.
        fs::write(folder.join("refs/main"), "../../..").unwrap();
        assert_eq!(found("Qwen/Qwen3-0.6B"), None);
        let repository = repository("Qwen/Qwen3-0.6B").unwrap();
        repository.set_newest("abc123").unwrap();
        assert!(repository.cached().is_some());
        assert_eq!(repository.snapshot(".."), None);
    }

    #[test]
    fn names_of_files_stay_in_their_folder() {
        for name in ["a.json", "data/train-0.parquet", ".gitattributes"] {
            assert!(is_inside(name), "{name}");
        }
        for name in ["", "/etc/passwd", "../a", "a/../../b", "a\\..\\b"] {
            assert!(!is_inside(name), "{name}");
        }
    }

    #[test]
    fn the_cache_is_where_the_variables_say() {
        let at = |given: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = given.iter().find(|(given, _)| *given == name);
                found.map(|(_, value)| OsString::from(value))
            };
            cache(variable).map(|path| path.display().to_string())
        };
        let all = [
            ("HF_HUB_CACHE", "/c"),
            ("HF_HOME", "/h"),
            ("XDG_CACHE_HOME", "/x"),
            ("HOME", "/u"),
        ];
        let found: Vec<_> = (0..=all.len()).map(|from| at(&all[from..])).collect();
        let expected = [
            "/c",
            "/h/hub",
            "/x/huggingface/hub",
            "/u/.cache/huggingface/hub",
        ];
        let expected = expected.map(|path| Some(path.to_owned()));
        assert_eq!(found, [&expected[..], &[None]].concat());
        assert_eq!(at(&[("HF_HOME", ""), ("HOME", "/u")]), expected[3]);
    }
}
