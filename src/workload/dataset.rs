//! What a data set is: what the requests of a load send, where no trace says it.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::content::Content;
use super::error::WorkloadError;
use super::prompt::Workload;
use super::sample::Order;
use super::tokenizer::TokenCounter;
use super::turns::Conversations;
use crate::flag::Flag;

/// What requests send. A pure function of the request's index: any thread gets the same.
pub trait Dataset: Send + Sync {
    /// Returns what request `index` sends.
    fn request(&self, index: u64) -> Content;

    /// Returns what a warm-up sends: like the requests of the load, with other prompts.
    fn warmup(&self, index: u64) -> Content {
        self.request(index)
    }

    /// A usual length of an answer, in tokens, where that is known.
    fn typical_output_tokens(&self) -> Option<u32>;

    /// Number of requests that it has, where it is not to repeat any.
    fn limit(&self) -> Option<u64> {
        None
    }

    /// Whether its requests have images.
    fn has_images(&self) -> bool {
        false
    }

    /// What is to be said of it before a run.
    fn note(&self) -> Option<String> {
        None
    }
}

/// What a data set is opened with.
pub struct DatasetSetup<'a> {
    /// What the plan keeps of its flags.
    pub options: &'a Map<String, Value>,
    /// Where it is, of one that is a file.
    pub path: Option<&'a Path>,
    /// Makes prompts, from the run's seed.
    pub workload: Arc<Workload>,
    /// Counts tokens, where the tokenizer is the user's.
    pub count_tokens: Option<TokenCounter>,
    /// Number of requests, where that is known.
    pub count: Option<u64>,
    /// It is sent again from the start where it has fewer.
    pub repeats: bool,
    /// Which records of a file are sent, and in which order, is drawn.
    pub is_shuffled: bool,
    /// Requests hold messages, and with them what only chats have.
    pub is_chat: bool,
    /// All data sets that there are, for one that has others in it.
    pub kinds: &'static [DatasetKind],
}

/// Requests that are kept where nobody knows how many there will be and none is to be sent again.
const MOST_KEPT: u64 = 100_000;

impl DatasetSetup<'_> {
    /// Which records of a file are kept.
    pub(super) fn order(&self) -> Order {
        match self.is_shuffled {
            true => Order::Drawn(self.workload.seed()),
            false => Order::OfFile,
        }
    }

    /// How many requests are kept of a file at most: as many as the run has, or where nobody knows
    /// that, `usual`.
    pub(super) fn most_kept(&self, usual: u64) -> u64 {
        let unknown = match self.repeats {
            true => usual,
            false => usual.max(MOST_KEPT),
        };
        self.count.unwrap_or(unknown).max(1)
    }
}

/// Whether a data set is read from a file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatasetPath {
    /// It is not.
    None,
    /// It may be; these flags are about what is made up where it is not.
    Optional(&'static [&'static str]),
    /// It has to be.
    Required,
}

/// Opens a data set.
pub type Open<T> = fn(DatasetSetup<'_>) -> Result<Box<T>, WorkloadError>;

/// Opens a data set, by what it has.
#[derive(Clone, Copy)]
pub enum OpenDataset {
    /// Requests that have nothing to do with each other.
    Requests(Open<dyn Dataset>),
    /// Conversations, whose turns wait for the replies before them.
    Conversations(Open<dyn Conversations>),
}

/// One kind of data set.
pub struct DatasetKind {
    /// Its name, in plans and as it is typed.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Whether it is read from a file or a folder.
    pub path: DatasetPath,
    /// Its requests have audio.
    pub has_audio: bool,
    /// Flags of its own.
    pub flags: &'static [Flag],
    /// Opens it.
    pub open: OpenDataset,
}

impl DatasetKind {
    /// Opens one of requests; none of conversations.
    pub fn requests(&self) -> Option<Open<dyn Dataset>> {
        match self.open {
            OpenDataset::Requests(open) => Some(open),
            OpenDataset::Conversations(_) => None,
        }
    }

    /// Opens one of conversations; none of requests.
    pub fn conversations(&self) -> Option<Open<dyn Conversations>> {
        match self.open {
            OpenDataset::Conversations(open) => Some(open),
            OpenDataset::Requests(_) => None,
        }
    }
}
