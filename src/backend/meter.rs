//! How many tokens each event brought, as far as ids or a running usage tell.
//!
//! A token need not bring text: it may end inside a UTF-8 sequence, be held back for a stop string
//! or by a parser of tool calls, or be the end-of-text token. Such a token counts with the next event
//! that has text, and where none comes any more, as one after the last.

use crate::backend::reading::TokenTally;
use crate::capture::schema::TokensSource;

/// Works out the number of tokens in each token-bearing event of one response.
#[derive(Debug, Default)]
pub(super) struct TokenMeter {
    /// Completion tokens in the usage of the last token-bearing event.
    counted: u32,
    /// Completion tokens in the latest usage of all.
    latest: Option<u32>,
    /// Usage did not come with every token-bearing event, or stood still at 0 or fell: it is not
    /// a running count, so that a difference would mean nothing.
    is_usage_distrusted: bool,
    /// Ids in all events.
    ids: u32,
    /// Ids in events without text since the last token-bearing one.
    silent_ids: u32,
    /// A token-bearing event came without ids.
    lacks_ids: bool,
    has_tokens: bool,
}

impl TokenMeter {
    /// Takes in one event: whether it has a token, the completion tokens in its usage, and the number
    /// of its ids. Returns the tokens of an event that has one.
    pub(super) fn take(
        &mut self,
        is_bearing: bool,
        counted: Option<u32>,
        ids: Option<u32>,
    ) -> Option<(u16, TokensSource)> {
        self.latest = counted.or(self.latest);
        self.ids = self.ids.saturating_add(ids.unwrap_or(0));
        if !is_bearing {
            self.silent_ids = self.silent_ids.saturating_add(ids.unwrap_or(0));
            return None;
        }
        self.has_tokens = true;
        self.lacks_ids |= ids.is_none();
        let silent_ids = std::mem::take(&mut self.silent_ids);
        let by_ids = ids.map(|ids| ids.saturating_add(silent_ids));
        if let Some(tokens) = self.difference(counted) {
            return Some((saturating_u16(tokens), TokensSource::Usage));
        }
        match by_ids.filter(|&tokens| tokens > 0) {
            Some(tokens) => Some((saturating_u16(tokens), TokensSource::Ids)),
            None => Some((1, TokensSource::Event)),
        }
    }

    pub(super) fn tally(&self) -> TokenTally {
        let by_ids = (!self.lacks_ids && self.ids > 0).then_some(self.ids);
        let by_usage = match self.latest {
            Some(latest) if !self.has_tokens => Some(latest),
            Some(latest) if !self.is_usage_distrusted => Some(latest.saturating_sub(self.counted)),
            _ => None,
        };
        TokenTally {
            by_ids,
            // A token that a stop string holds back has no event of its own, with its id.
            after_last: by_usage.or(by_ids.map(|_| self.silent_ids)),
        }
    }

    fn difference(&mut self, counted: Option<u32>) -> Option<u32> {
        let counted = counted.filter(|&counted| counted > 0 && counted >= self.counted);
        self.is_usage_distrusted |= counted.is_none();
        let counted = counted.filter(|_| !self.is_usage_distrusted)?;
        let tokens = counted - self.counted;
        self.counted = counted;
        Some(tokens)
    }
}

fn saturating_u16(tokens: u32) -> u16 {
    u16::try_from(tokens).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds (has a token, usage, ids) one after another.
    fn tally(events: &[(bool, Option<u32>, Option<u32>)]) -> TokenTally {
        let mut meter = TokenMeter::default();
        for &(is_bearing, counted, ids) in events {
            meter.take(is_bearing, counted, ids);
        }
        meter.tally()
    }

    fn told(by_ids: Option<u32>, after_last: Option<u32>) -> TokenTally {
        TokenTally { by_ids, after_last }
    }

    #[test]
    fn tokens_after_the_last_event_are_known_by_ids() {
        // A tool's name after 17 tokens, three of its arguments, and two closing ones.
        let events = [
            (false, None, None),
            (true, None, Some(17)),
            (true, None, Some(1)),
            (true, None, Some(2)),
            (false, None, Some(2)),
            (false, Some(22), None),
        ];
        assert_eq!(tally(&events), told(Some(22), Some(2)));
    }

    #[test]
    fn tokens_after_the_last_event_are_known_by_running_usage() {
        let events = [
            (false, Some(0), None),
            (true, Some(1), None),
            (true, Some(4), None),
            (false, Some(5), None),
        ];
        assert_eq!(tally(&events), told(None, Some(1)));
    }

    #[test]
    fn usage_at_the_end_alone_places_no_token() {
        let events = [
            (true, None, None),
            (true, None, None),
            (false, Some(3), None),
        ];
        assert_eq!(tally(&events), TokenTally::default());
        // With the last token, as some servers send it.
        assert_eq!(
            tally(&[(true, None, None), (true, Some(2), None)]),
            TokenTally::default()
        );
    }

    #[test]
    fn where_no_event_has_a_token_all_of_them_are_after_the_last() {
        let silent = [(false, None, None), (false, Some(12), None)];
        assert_eq!(tally(&silent), told(None, Some(12)));
        assert_eq!(tally(&[(false, None, Some(1))]), told(Some(1), Some(1)));
        assert_eq!(tally(&[(false, None, None)]), TokenTally::default());
    }
}
