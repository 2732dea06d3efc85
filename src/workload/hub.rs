//! Models that Hugging Face's tools have downloaded: their files lie in a cache, by the model's name.
//!
//! The cache has a folder a model, `models--OWNER--NAME`, in which `refs/main` names the newest snapshot.
//! Nothing here asks a network.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Returns the folder with the files of the model that `name` names, such as `Qwen/Qwen3-8B`; `None` where
/// it is no such name, or the model is not in the cache.
pub(super) fn cached_model(name: &Path) -> Option<PathBuf> {
    cached_in(&cache(|variable| env::var_os(variable))?, name)
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

fn cached_in(cache: &Path, name: &Path) -> Option<PathBuf> {
    let (owner, model) = name.to_str()?.split_once('/')?;
    let is_part = |part: &str| {
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(is_letter)
    };
    if !is_part(owner) || !is_part(model) {
        return None;
    }
    let folder = cache.join(format!("models--{owner}--{model}"));
    let main = fs::read_to_string(folder.join("refs/main")).ok()?;
    let snapshot = main.trim();
    let found = folder.join("snapshots").join(snapshot);
    (is_part(snapshot) && found.is_dir()).then_some(found)
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
        let found = |name: &str| cached_in(cache.path(), Path::new(name));
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
