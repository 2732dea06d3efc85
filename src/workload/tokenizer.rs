//! Counts tokens: with a Hugging Face `tokenizer.json`, or with an embedded default.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;

use super::error::WorkloadError;
use super::hub;
use super::tiktoken::{self, Vocabulary};

/// Counts the tokens of a text; none where it can't.
pub type TokenCounter = Arc<dyn Fn(&str) -> Option<u32> + Send + Sync>;

/// Name of the embedded tokenizer.
const EMBEDDED: &str = "o200k_base";

/// A tokenizer.
pub struct Tokenizer {
    name: String,
    kind: Kind,
}

enum Kind {
    HuggingFace(Arc<Loading>),
    Tiktoken(Vocabulary),
    /// Prompts are made of a list of its words. Its vocabulary is no part of the program: what it would
    /// count is not what a server counts.
    Embedded,
}

/// A tokenizer that a thread of its own reads: who asks for it before that is done waits. Where it can't be read,
/// it holds the reason, until [`Tokenizer::check`] takes that out.
type Loading = LazyLock<
    Result<tokenizers::Tokenizer, Mutex<Option<WorkloadError>>>,
    Box<dyn FnOnce() -> Result<tokenizers::Tokenizer, Mutex<Option<WorkloadError>>> + Send>,
>;

impl fmt::Debug for Tokenizer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Tokenizer").field(&self.name).finish()
    }
}

impl Tokenizer {
    /// Opens the tokenizer at `path`, or the embedded one where there is none. It is read meanwhile:
    /// [`Self::check`] waits for it and says whether it can be used. One that can't counts nothing.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn open(path: Option<&Path>) -> Result<Self, WorkloadError> {
        let Some(path) = path else {
            return Ok(Self::embedded());
        };
        if let Some(name) = tiktoken_name(path) {
            return Ok(Self {
                name: name.to_owned(),
                kind: Kind::Tiktoken(tiktoken::open(name)?),
            });
        }
        let file = tokenizer_file(&model_path(path))?;
        let read = Box::new(move || read(&file).map_err(|error| Mutex::new(Some(error))));
        let loading = Arc::new(Loading::new(read));
        let ahead = Arc::clone(&loading);
        // Where no thread is to be had, it is read when it is asked for.
        let _ = thread::Builder::new()
            .name("tokenizer".into())
            .spawn(move || LazyLock::force(&ahead).is_ok());
        Ok(Self {
            name: path.display().to_string(),
            kind: Kind::HuggingFace(loading),
        })
    }

    /// Waits until the tokenizer is read.
    ///
    /// # Errors
    ///
    /// Why it can't be read, or is no tokenizer; only the first time.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let Kind::HuggingFace(loading) = &self.kind else {
            return Ok(());
        };
        let Err(error) = &***loading else {
            return Ok(());
        };
        let mut error = error.lock().unwrap_or_else(PoisonError::into_inner);
        error.take().map_or(Ok(()), Err)
    }

    /// Loads a `tokenizer.json`: the file itself, packed with gzip or not, a folder with it, or the name of
    /// a model whose files are in the cache of the Hugging Face hub.
    ///
    /// # Errors
    ///
    /// There is no such file, or it is no tokenizer.
    pub fn load(path: &Path) -> Result<Self, WorkloadError> {
        let tokenizer = Self::open(Some(path))?;
        tokenizer.check()?;
        Ok(tokenizer)
    }

    /// Returns the embedded tokenizer, OpenAI's `o200k_base`: it has words of one token each, and counts
    /// nothing.
    pub fn embedded() -> Self {
        Self {
            name: EMBEDDED.to_owned(),
            kind: Kind::Embedded,
        }
    }

    /// Returns whether this is the embedded tokenizer.
    pub(super) fn is_embedded(&self) -> bool {
        matches!(self.kind, Kind::Embedded)
    }

    /// Returns the path that it was loaded from, or the name of the embedded one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the tokens of a text; none where the tokenizer can't take it.
    #[cfg(test)]
    pub(super) fn encode(&self, text: &str) -> Option<Vec<u32>> {
        match &self.kind {
            Kind::HuggingFace(loading) => {
                let tokenizer = LazyLock::force(loading).as_ref().ok()?;
                let encoding = tokenizer.encode_fast(text, false).ok()?;
                Some(encoding.get_ids().to_vec())
            }
            Kind::Tiktoken(vocabulary) => Some(vocabulary.encode(text)),
            Kind::Embedded => Some(embedded_vocabulary()?.encode(text)),
        }
    }

    /// Returns the number of tokens of a text alone; none where the tokenizer can't take it.
    pub fn count(&self, text: &str) -> Option<u32> {
        let count = match &self.kind {
            Kind::HuggingFace(loading) => encoded_length(loading, text, false)?,
            Kind::Tiktoken(vocabulary) => vocabulary.count(text),
            Kind::Embedded => embedded_vocabulary()?.count(text),
        };
        u32::try_from(count).ok()
    }

    /// Returns the number of tokens of a text with those that the tokenizer puts around one, such as a
    /// beginning-of-text token; none where the tokenizer can't take it.
    pub(super) fn count_with_added(&self, text: &str) -> Option<u32> {
        match &self.kind {
            Kind::HuggingFace(loading) => u32::try_from(encoded_length(loading, text, true)?).ok(),
            Kind::Tiktoken(_) | Kind::Embedded => self.count(text),
        }
    }

    /// Returns the special tokens at which every text is split before it is tokenized.
    pub(super) fn splitting_tokens(&self) -> Vec<String> {
        let Kind::HuggingFace(loading) = &self.kind else {
            return Vec::new();
        };
        let Ok(tokenizer) = &***loading else {
            return Vec::new();
        };
        let added = tokenizer.get_added_tokens_decoder().into_values();
        // One that is looked for in what normalizing makes of a text, that has to be a word of its own, or that
        // takes the white space before it, depends on what stands before it.
        let splits = added.filter(|token| {
            token.special && !token.normalized && !token.single_word && !token.lstrip
        });
        splits
            .map(|token| token.content)
            .filter(|content| !content.is_empty())
            .collect()
    }

    /// Returns the vocabulary's plain lower-case words, the most common first.
    ///
    /// Where the vocabulary marks words that follow a space, only those are words; the rest are
    /// pieces.
    pub(super) fn plain_words(&self) -> Vec<String> {
        let mut after_space = Vec::new();
        let mut bare = Vec::new();
        for token in self.vocabulary() {
            let stripped = token.strip_prefix([' ', '\u{120}', '\u{2581}']);
            let word = stripped.unwrap_or(&token);
            let is_plain = (2..=12).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_lowercase());
            if is_plain && stripped.is_some() {
                after_space.push(word.to_owned());
            } else if is_plain {
                bare.push(word.to_owned());
            }
        }
        if after_space.is_empty() {
            bare
        } else {
            after_space
        }
    }

    /// Returns the vocabulary in the order of its ids; merges learned early come first.
    fn vocabulary(&self) -> Vec<String> {
        match &self.kind {
            Kind::HuggingFace(loading) => {
                let Ok(tokenizer) = &***loading else {
                    return Vec::new();
                };
                let mut tokens: Vec<(String, u32)> =
                    tokenizer.get_vocab(false).into_iter().collect();
                tokens.sort_unstable_by_key(|&(_, id)| id);
                tokens.into_iter().map(|(token, _)| token).collect()
            }
            Kind::Tiktoken(vocabulary) => vocabulary.tokens(),
            Kind::Embedded => embedded_vocabulary().map_or_else(Vec::new, Vocabulary::tokens),
        }
    }
}

/// The vocabulary of tiktoken that a user names, where nothing on this machine is called so.
pub(super) fn tiktoken_name(path: &Path) -> Option<&str> {
    let name = path.to_str().filter(|_| !path.exists())?;
    tiktoken::NAMES.contains(&name).then_some(name)
}

/// The vocabulary of the embedded tokenizer, by which its words are tested; it is no part of the program.
fn embedded_vocabulary() -> Option<Vocabulary> {
    cfg!(test).then(|| tiktoken::open(EMBEDDED).ok()).flatten()
}

/// Returns where the files of a model are: `path` where there is something, or else the folder in the cache
/// of the Hugging Face hub of the model that it names.
pub(super) fn model_path(path: &Path) -> Cow<'_, Path> {
    match hub::cached_model(path) {
        Some(cached) if !path.exists() => Cow::Owned(cached),
        _ => Cow::Borrowed(path),
    }
}

/// Whether the files of a model are at `path`, or in the cache of the Hugging Face hub, with a tokenizer among
/// them.
pub fn has_tokenizer(path: &Path) -> bool {
    let folder = model_path(path);
    folder.is_dir() && tokenizer_file(&folder).is_ok()
}

fn tokenizer_file(path: &Path) -> Result<PathBuf, WorkloadError> {
    if path.is_dir() {
        return ["tokenizer.json", "tokenizer.json.gz"]
            .map(|name| path.join(name))
            .into_iter()
            .find(|file| file.is_file())
            .ok_or_else(|| WorkloadError::NoTokenizerInFolder {
                path: path.to_owned(),
            });
    }
    if !path.exists() {
        return Err(WorkloadError::MissingTokenizer {
            path: path.to_owned(),
        });
    }
    Ok(path.to_owned())
}

/// Reads a tokenizer.
fn read(file: &Path) -> Result<tokenizers::Tokenizer, WorkloadError> {
    let bytes = read_unpacked(file).map_err(|source| WorkloadError::ReadTokenizer {
        path: file.to_owned(),
        source,
    })?;
    let bad = |message: String| WorkloadError::BadTokenizer {
        path: file.to_owned(),
        message,
    };
    if bytes.starts_with(b"version https://git-lfs") {
        return Err(bad("it is a Git LFS pointer".to_owned()));
    }
    let read = tokenizers::Tokenizer::from_bytes(&bytes);
    let mut tokenizer = read.map_err(|error| bad(unread(&bytes, &error.to_string())))?;
    // What a file says of training batches must not change a count.
    tokenizer
        .with_truncation(None)
        .map_err(|error| bad(error.to_string()))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// Says why bytes are no tokenizer: they are no JSON, JSON of something else, or a tokenizer of another kind.
fn unread(bytes: &[u8], refused: &str) -> String {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Err(error) => format!("it is no JSON: {error}"),
        Ok(serde_json::Value::Object(fields)) if fields.contains_key("model") => refused.to_owned(),
        Ok(serde_json::Value::Object(_)) => "it is JSON, and has no `model`".to_owned(),
        Ok(_) => "it is JSON, and no object".to_owned(),
    }
}

/// Tokens of a text, with those that the tokenizer puts around one or without.
fn encoded_length(loading: &Loading, text: &str, with_added: bool) -> Option<usize> {
    let tokenizer = LazyLock::force(loading).as_ref().ok()?;
    Some(tokenizer.encode_fast(text, with_added).ok()?.len())
}

/// Reads a file whole, unpacked where its first bytes say gzip.
fn read_unpacked(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = std::fs::read(path)?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}
