//! Counts tokens: with a Hugging Face `tokenizer.json`, or with an embedded default.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tiktoken_rs::CoreBPE;

use super::error::WorkloadError;

/// Name of the embedded tokenizer.
const EMBEDDED: &str = "o200k_base";

/// A tokenizer. Special tokens are never added.
pub struct Tokenizer {
    name: String,
    kind: Kind,
}

enum Kind {
    HuggingFace(Box<tokenizers::Tokenizer>),
    /// Unpacked when it is first asked for: that takes tens of megabytes and a quarter of a second,
    /// and most runs never ask.
    Embedded(OnceLock<Box<CoreBPE>>),
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

    /// Loads a `tokenizer.json`: the file itself, packed with gzip or not, or a folder with it.
    ///
    /// # Errors
    ///
    /// There is no such file, or it is no tokenizer.
    pub fn load(path: &Path) -> Result<Self, WorkloadError> {
        let file = tokenizer_file(path)?;
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

    /// Returns the embedded tokenizer, OpenAI's `o200k_base`, with its vocabulary still packed.
    pub fn embedded() -> Self {
        Self {
            name: EMBEDDED.to_owned(),
            kind: Kind::Embedded(OnceLock::new()),
        }
    }

    /// Returns whether this is the embedded tokenizer.
    pub(super) fn is_embedded(&self) -> bool {
        matches!(self.kind, Kind::Embedded(_))
    }

    /// Returns whether the vocabulary is in memory. The embedded one comes there with the first
    /// text that is counted.
    pub fn is_loaded(&self) -> bool {
        match &self.kind {
            Kind::HuggingFace(_) => true,
            Kind::Embedded(vocabulary) => vocabulary.get().is_some(),
        }
    }

    /// Returns the path that it was loaded from, or the name of the embedded one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the tokens of a text; none where the tokenizer can't take it.
    pub fn encode(&self, text: &str) -> Option<Vec<u32>> {
        match &self.kind {
            Kind::HuggingFace(tokenizer) => {
                let encoding = tokenizer.encode_fast(text, false).ok()?;
                Some(encoding.get_ids().to_vec())
            }
            Kind::Embedded(vocabulary) => Some(unpacked(vocabulary).encode_ordinary(text)),
        }
    }

    /// Returns the number of tokens of a text; none where the tokenizer can't take it.
    pub fn count(&self, text: &str) -> Option<u32> {
        let count = match &self.kind {
            Kind::HuggingFace(tokenizer) => tokenizer.encode_fast(text, false).ok()?.len(),
            Kind::Embedded(vocabulary) => unpacked(vocabulary).count_ordinary(text),
        };
        u32::try_from(count).ok()
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
            Kind::Embedded(vocabulary) => (0..)
                .map_while(|id| unpacked(vocabulary).decode_bytes(&[id]).ok())
                .filter_map(|bytes| String::from_utf8(bytes).ok())
                .collect(),
        }
    }
}

fn unpacked(vocabulary: &OnceLock<Box<CoreBPE>>) -> &CoreBPE {
    vocabulary.get_or_init(|| {
        Box::new(tiktoken_rs::o200k_base().expect("the vocabulary is part of this program"))
    })
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
