//! Requests out of a file that are kept in memory: sent in their order, and again from the start where
//! there are too few.

use std::sync::Arc;

use super::content::Content;
use super::dataset::Dataset;
use super::images::with_images;
use super::prompt::{PromptSpec, Workload};

/// Returns the words for a count of 1, or for any other.
pub(super) fn one_or_more<'a>(count: u64, one: &'a str, more: &'a str) -> &'a str {
    match count {
        1 => one,
        _ => more,
    }
}

/// Requests that were read, at least one.
pub(super) struct Items {
    /// What is sent, in this order.
    pub(super) items: Vec<Item>,
    /// What they are and how many of how many, such as `2 of 5 conversations`.
    pub(super) what: String,
    /// Number of requests of the run, where that is known.
    pub(super) count: Option<u64>,
    /// They are sent again from the first where they are too few.
    pub(super) repeats: bool,
    /// Makes the words of warm-ups.
    pub(super) workload: Arc<Workload>,
    /// What else is to be said before a run, each without a period.
    pub(super) remarks: Vec<String>,
}

/// What one request sends, and the images that go with its text.
pub(super) struct Item {
    pub(super) content: Content,
    /// Addresses, with the images in them or not. Requests with the same image share it.
    pub(super) images: Vec<Arc<str>>,
}

impl From<Content> for Item {
    fn from(content: Content) -> Self {
        let images = Vec::new();
        Self { content, images }
    }
}

impl Items {
    fn item(&self, index: u64) -> &Item {
        let at = index % self.items.len() as u64;
        // It is below the number of items, which is not 0.
        &self.items[usize::try_from(at).unwrap_or(0)]
    }

    /// What is said of a file that has fewer requests than the run.
    fn shortage(&self) -> Option<String> {
        let has = self.items.len() as u64;
        let is_short = self.count.is_none_or(|count| count > has);
        let then = match (self.repeats, has) {
            (true, 1) => "is sent, then the same one again",
            (true, _) => "are sent, then the same ones again",
            (false, 1) => "is sent, and the run ends with it",
            (false, _) => "are sent, and the run ends with them",
        };
        is_short.then(|| format!("{} {then}", self.what))
    }
}

impl Dataset for Items {
    fn request(&self, index: u64) -> Content {
        let Item { content, images } = self.item(index);
        let mut content = content.clone();
        if !images.is_empty() {
            content.messages = Some(with_images(&content, images));
        }
        content
    }

    fn warmup(&self, index: u64) -> Content {
        warmup(&self.workload, index, &self.item(index).content)
    }

    fn typical_output_tokens(&self) -> Option<u32> {
        mean(self.items.iter().map(|item| item.content.output_tokens))
    }

    fn limit(&self) -> Option<u64> {
        (!self.repeats).then_some(self.items.len() as u64)
    }

    fn has_images(&self) -> bool {
        self.items.iter().any(|item| !item.images.is_empty())
    }

    fn note(&self) -> Option<String> {
        note(self.shortage().into_iter().chain(self.remarks.clone()))
    }
}

/// Words of about the same length: a recorded prompt would be in the server's cache when it is sent.
fn warmup(workload: &Workload, index: u64, item: &Content) -> Content {
    let about = u32::try_from(item.text.len() / 4).unwrap_or(u32::MAX);
    let tokens = item.tokens.unwrap_or(about).max(1);
    let prompt = workload.prompt(PromptSpec::random(index, tokens));
    Content::made_up(prompt, item.output_tokens)
}

/// The mean of lengths in tokens, rounded down; none of no lengths.
pub(super) fn mean(lengths: impl Iterator<Item = u32>) -> Option<u32> {
    let (sum, count) = lengths.fold((0_u64, 0_u64), |(sum, count), length| {
        (sum + u64::from(length), count + 1)
    });
    u32::try_from(sum.checked_div(count)?).ok()
}

/// One line of what is to be said before a run; none where that is nothing.
pub(super) fn note(said: impl Iterator<Item = String>) -> Option<String> {
    let said: Vec<String> = said.collect();
    (!said.is_empty()).then(|| format!("note: {}", said.join("; ")))
}
