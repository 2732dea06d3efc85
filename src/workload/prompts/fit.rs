//! Makes a prompt of an exact length: adds sentences while they fit, then short wishes that fill what
//! is left, and takes a sentence back where none do.

use super::super::error::WorkloadError;
use super::compose::{Draft, Scene};
use super::count::Counter;
use super::pattern::{Pattern, PromptLanguage};

/// Beginnings that are tried for one prompt.
pub(super) const DRAFTS: u32 = 400;

/// Beginnings that are finished for one prompt: of a long one each takes a millisecond or more.
const FINISHED: u32 = 160;

/// Ends that are tried for one beginning.
const ENDS: u32 = 12;

/// Sentences that are drawn in vain before the rest is left to wishes.
const MISSES: u32 = 3;

/// Wishes at the end of one prompt at most.
const FILLERS: usize = 4;

/// A prompt and its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) text: String,
    pub(super) tokens: u32,
}

/// Short wishes, with their lengths under a tokenizer.
#[derive(Debug)]
pub(super) struct Fillers(Vec<(&'static str, u32)>);

impl Fillers {
    /// Measures wishes, each with what stands before it.
    ///
    /// # Errors
    ///
    /// As [`Counter::count`].
    pub(super) fn measure(
        counter: &Counter,
        language: PromptLanguage,
        wishes: impl Iterator<Item = &'static str>,
    ) -> Result<Self, WorkloadError> {
        let measured = wishes.map(|wish| {
            let text = format!("{}{wish}", language.space());
            Ok((wish, counter.count_after(language.full_stop(), &text)?))
        });
        measured.collect::<Result<_, _>>().map(Self)
    }

    /// Finds a few wishes that have so many tokens together, each once, beginning to look at `start`.
    fn of(&self, tokens: u32, start: usize) -> Option<Vec<&'static str>> {
        let mut turned = self.0.clone();
        turned.rotate_left(start % self.0.len().max(1));
        let mut chosen = Vec::new();
        choose(&turned, tokens, FILLERS, &mut chosen).then_some(chosen)
    }
}

/// Chooses wishes of exactly so many tokens, as few as the search finds first.
fn choose(
    from: &[(&'static str, u32)],
    tokens: u32,
    most: usize,
    chosen: &mut Vec<&'static str>,
) -> bool {
    if tokens == 0 {
        return true;
    }
    if most == 0 {
        return false;
    }
    if let Some((wish, _)) = from.iter().find(|(_, length)| *length == tokens) {
        chosen.push(wish);
        return true;
    }
    for (at, (wish, length)) in from.iter().enumerate() {
        if *length == 0 || *length > tokens {
            continue;
        }
        chosen.push(wish);
        if choose(&from[at + 1..], tokens - length, most - 1, chosen) {
            return true;
        }
        chosen.pop();
    }
    false
}

/// What a prompt is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) pattern: Pattern,
    pub(super) tokens: u32,
}

/// Makes a prompt of that length, or the one next to it that was found; none where even the shortest
/// one is longer, whose length is then the error.
///
/// # Errors
///
/// As [`Counter::count`].
pub(super) fn fit(
    scene: &Scene,
    counter: &Counter,
    fillers: &Fillers,
    wanted: Wanted,
) -> Result<Result<Fitted, u32>, WorkloadError> {
    let mut best: Option<Fitted> = None;
    let mut shortest = u32::MAX;
    let mut finished = 0;
    for attempt in 0..DRAFTS {
        // A wish for a length is left out where nothing else fits.
        let draft = scene.draft(wanted.pattern, attempt < DRAFTS / 4);
        let base = counter.count(&draft.text())?;
        shortest = shortest.min(base);
        if base > wanted.tokens {
            continue;
        }
        if finished == FINISHED {
            break;
        }
        finished += 1;
        let fitted = finish(scene, counter, fillers, wanted, (draft, base))?;
        let distance = |fitted: &Fitted| fitted.tokens.abs_diff(wanted.tokens);
        if distance(&fitted) == 0 {
            return Ok(Ok(fitted));
        }
        if best
            .as_ref()
            .is_none_or(|best| distance(&fitted) < distance(best))
        {
            best = Some(fitted);
        }
    }
    Ok(best.ok_or(shortest))
}

/// Fills a draft up to the length, as near as it gets.
fn finish(
    scene: &Scene,
    counter: &Counter,
    fillers: &Fillers,
    wanted: Wanted,
    (mut draft, base): (Draft, u32),
) -> Result<Fitted, WorkloadError> {
    let mut best: Option<Fitted> = None;
    let mut lengths = Vec::new();
    // What the whole text has more or fewer tokens than its parts.
    let mut seam = 0_i64;
    let mut is_taken_back = false;
    for _ in 0..ENDS {
        let room = |lengths: &[u32]| {
            let parts: i64 = lengths.iter().copied().map(i64::from).sum();
            u32::try_from(i64::from(wanted.tokens) - i64::from(base) - parts - seam).ok()
        };
        if let Some(left) = room(&lengths).filter(|_| !is_taken_back) {
            grow(
                scene,
                counter,
                wanted.pattern,
                (&mut draft, &mut lengths),
                left,
            )?;
        }
        let start = scene.below(fillers.0.len());
        let found = room(&lengths).and_then(|left| fillers.of(left, start));
        let has_end = found.is_some();
        draft.fillers = found.unwrap_or_default();
        if !has_end && lengths.pop().is_some() {
            draft.body.pop();
            is_taken_back = true;
            continue;
        }
        is_taken_back = false;
        let text = draft.text();
        let tokens = counter.count(&text)?;
        let distance = tokens.abs_diff(wanted.tokens);
        seam += i64::from(tokens) - i64::from(wanted.tokens);
        if best
            .as_ref()
            .is_none_or(|best| distance < best.tokens.abs_diff(wanted.tokens))
        {
            best = Some(Fitted { text, tokens });
        }
        if distance == 0 || !has_end {
            break;
        }
    }
    match best {
        Some(best) => Ok(best),
        None => {
            let text = draft.text();
            let tokens = counter.count(&text)?;
            Ok(Fitted { text, tokens })
        }
    }
}

/// Adds sentences, and their lengths, while they fit into what is left.
fn grow(
    scene: &Scene,
    counter: &Counter,
    pattern: Pattern,
    (draft, lengths): (&mut Draft, &mut Vec<u32>),
    mut left: u32,
) -> Result<(), WorkloadError> {
    let mut misses = 0;
    while misses < MISSES && left > 0 {
        let sentence = scene.next_of_body(pattern, draft);
        let tokens = counter.count_after(scene.language().full_stop(), &sentence)?;
        if tokens > left {
            misses += 1;
            continue;
        }
        left -= tokens;
        lengths.push(tokens);
        scene.push(draft, sentence);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_found_for_every_sum_that_there_is() {
        let fillers = Fillers(vec![("a", 2), ("b", 3), ("c", 5), ("d", 11)]);
        for (tokens, found) in [
            (0, Some(vec![])),
            (1, None),
            (2, Some(vec!["a"])),
            (4, None),
            (5, Some(vec!["c"])),
            (10, Some(vec!["a", "b", "c"])),
            (21, Some(vec!["a", "b", "c", "d"])),
            (22, None),
        ] {
            assert_eq!(fillers.of(tokens, 0), found, "{tokens}");
        }
        assert_eq!(fillers.of(7, 2), Some(vec!["c", "a"]));
        assert_eq!(Fillers(Vec::new()).of(3, 9), None);
    }
}
