//! Counts tokens: with a Hugging Face `tokenizer.json`, or with an embedded default.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::WorkloadError;
use super::hub;

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
    HuggingFace(Box<tokenizers::Tokenizer>),
    /// Prompts are made of a list of its words. Its vocabulary is no part of the program: what it would
    /// count is not what a server counts.
    Embedded,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Tokenizer").field(&self.name).finish()
    }
}

impl Tokenizer {
    /// Opens the tokenizer at `path`, or the embedded one where there is none.
    ///
    /// # Errors
    ///
    /// There is no tokenizer there.
    pub fn open(path: Option<&Path>) -> Result<Self, WorkloadError> {
        match path {
            Some(path) => Self::load(path),
            None => Ok(Self::embedded()),
        }
    }

    /// Loads a `tokenizer.json`: the file itself, packed with gzip or not, a folder with it, or the name of
    /// a model whose files are in the cache of the Hugging Face hub.
    ///
    /// # Errors
    ///
    /// There is no such file, or it is no tokenizer.
    pub fn load(path: &Path) -> Result<Self, WorkloadError> {
        let file = tokenizer_file(&model_path(path))?;
        let bytes = read_unpacked(&file).map_err(|source| WorkloadError::ReadTokenizer {
            path: file.clone(),
            source,
        })?;
        let bad = |message: String| WorkloadError::BadTokenizer {
            path: file.clone(),
            message,
        };
        if bytes.starts_with(b"version https://git-lfs") {
            return Err(bad("it is a Git LFS pointer".to_owned()));
        }
        let mut tokenizer =
            tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| bad(error.to_string()))?;
        // What a file says of training batches must not change a count.
        tokenizer
            .with_truncation(None)
            .map_err(|error| bad(error.to_string()))?;
        tokenizer.with_padding(None);
        Ok(Self {
            name: path.display().to_string(),
            kind: Kind::HuggingFace(Box::new(tokenizer)),
        })
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
            Kind::HuggingFace(tokenizer) => {
                let encoding = tokenizer.encode_fast(text, false).ok()?;
                Some(encoding.get_ids().to_vec())
            }
            Kind::Embedded => Some(o200k::VOCABULARY.encode_ordinary(text)),
        }
    }

    /// Returns the number of tokens of a text alone; none where the tokenizer can't take it.
    pub fn count(&self, text: &str) -> Option<u32> {
        let count = match &self.kind {
            Kind::HuggingFace(tokenizer) => tokenizer.encode_fast(text, false).ok()?.len(),
            Kind::Embedded => o200k::count(text)?,
        };
        u32::try_from(count).ok()
    }

    /// Returns the number of tokens of a text with those that the tokenizer puts around one, such as a
    /// beginning-of-text token; none where the tokenizer can't take it.
    pub(super) fn count_with_added(&self, text: &str) -> Option<u32> {
        match &self.kind {
            Kind::HuggingFace(tokenizer) => {
                u32::try_from(tokenizer.encode_fast(text, true).ok()?.len()).ok()
            }
            Kind::Embedded => self.count(text),
        }
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
            Kind::HuggingFace(tokenizer) => {
                let mut tokens: Vec<(String, u32)> =
                    tokenizer.get_vocab(false).into_iter().collect();
                tokens.sort_unstable_by_key(|&(_, id)| id);
                tokens.into_iter().map(|(token, _)| token).collect()
            }
            Kind::Embedded => o200k::vocabulary(),
        }
    }
}

/// Returns where the files of a model are: `path` where there is something, or else the folder in the cache
/// of the Hugging Face hub of the model that it names.
pub(super) fn model_path(path: &Path) -> Cow<'_, Path> {
    match hub::cached_model(path) {
        Some(cached) if !path.exists() => Cow::Owned(cached),
        _ => Cow::Borrowed(path),
    }
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

#[cfg(not(test))]
mod o200k {
    pub(super) fn count(_: &str) -> Option<usize> {
        None
    }

    pub(super) fn vocabulary() -> Vec<String> {
        Vec::new()
    }
}

/// The embedded tokenizer itself, by which its words are tested.
#[cfg(test)]
mod o200k {
    use std::sync::LazyLock;

    use tiktoken_rs::CoreBPE;

    pub(super) static VOCABULARY: LazyLock<CoreBPE> =
        LazyLock::new(|| tiktoken_rs::o200k_base().unwrap());

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the program has no vocabulary to count with"
    )]
    pub(super) fn count(text: &str) -> Option<usize> {
        Some(VOCABULARY.count_ordinary(text))
    }

    pub(super) fn vocabulary() -> Vec<String> {
        (0..)
            .map_while(|id| VOCABULARY.decode_bytes(&[id]).ok())
            .filter_map(|bytes| String::from_utf8(bytes).ok())
            .collect()
    }
}
