//! Made-up conversations: words of this program, of lengths that are drawn.
//!
//! All of a conversation is drawn of the seed and its number, so that it can be made without those before
//! it. Fewer turns, or a shorter conversation, begins as the longer one does.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::content::Content;
use super::super::items::note;
use super::super::prompt::{Blocks, PromptSpec, Workload};
use super::super::turns::{Conversation, ConversationTurn, Conversations};
use super::distribution::Distribution;
use super::flags::Pauses;
use super::prefixes::Prefixes;
use super::rounds::{Rounds, whole};
use crate::draw::{Draw, field};

/// Turns of a conversation at most.
pub(super) const MAX_TURNS: u32 = 10_000;

/// Tokens of what is said in a conversation at most, without the answers: what is beyond is cut off.
pub(super) const MAX_TOKENS: u32 = 16 << 20;

/// What made-up conversations are like.
pub(super) struct Settings {
    /// Number of turns, or of messages where there are several a turn.
    pub(super) turns: Distribution,
    /// What one turn is in that number: 1, or 2 where answers count too.
    pub(super) messages_a_turn: u32,
    /// Length of what the user says first, in tokens.
    pub(super) first_tokens: Distribution,
    /// Length of what the user says later, in tokens.
    pub(super) turn_tokens: Distribution,
    /// Length of an answer, in tokens.
    pub(super) output_tokens: Distribution,
    /// Pause before each turn but the first, in seconds.
    pub(super) think_s: Distribution,
    /// Turns at most.
    pub(super) max_turns: Option<u32>,
    /// What they begin with.
    pub(super) start: Start,
}

/// What conversations begin with.
pub(super) enum Start {
    /// The user's words.
    Nothing,
    /// A system prompt that others have too.
    System(Prefixes),
    /// Words in the user's first message.
    InFirst {
        /// Those that all share. The message has them in its length.
        common_tokens: u32,
        /// Those that each has of its own. They come on top of the message's length.
        own_tokens: Distribution,
    },
}

/// Made-up conversations.
pub(super) struct MadeUp {
    pub(super) settings: Settings,
    /// How many there are, where they are not as many as are wanted.
    pub(super) rounds: Option<Rounds>,
    pub(super) workload: Arc<Workload>,
    /// What is to be said before a run, each without a period.
    pub(super) remarks: Vec<String>,
}

impl MadeUp {
    fn turns_of(&self, number: u64) -> u32 {
        let Settings {
            turns,
            messages_a_turn,
            max_turns,
            ..
        } = &self.settings;
        let mut draw = Draw::new(self.workload.seed(), number, field::CONVERSATION_TURNS);
        let messages = turns.sample_count(&mut draw, *messages_a_turn);
        let turns = messages.div_ceil((*messages_a_turn).max(1));
        turns
            .min(max_turns.unwrap_or(MAX_TURNS))
            .clamp(1, MAX_TURNS)
    }

    /// Draws the length of what the user says first, and how much of it all share.
    fn first(&self, number: u64, draw: &mut Draw) -> (u32, u32) {
        let tokens = self.settings.first_tokens.sample_count(draw, 1);
        let Start::InFirst {
            common_tokens,
            own_tokens,
        } = &self.settings.start
        else {
            return (tokens, 0);
        };
        let mut own = Draw::new(self.workload.seed(), number, field::OWN_PREFIX_LENGTH);
        let own = own_tokens.sample_count(&mut own, 0);
        // Something of it is the conversation's own.
        let tokens = tokens.max(common_tokens.saturating_add(1));
        (tokens.saturating_add(own), *common_tokens)
    }

    fn lengths(&self, number: u64) -> Draw {
        Draw::new(self.workload.seed(), number, field::CONVERSATION_LENGTH)
    }

    fn outputs(&self, number: u64) -> Draw {
        Draw::new(self.workload.seed(), number, field::CONVERSATION_OUTPUT)
    }

    /// Tokens at the start of conversation `number` that one before has too.
    fn shared_tokens(&self, number: u64) -> Option<u32> {
        match &self.settings.start {
            Start::Nothing => Some(0),
            Start::System(prefixes) => match prefixes.is_known(number)? {
                true => Some(prefixes.tokens(number)),
                false => Some(0),
            },
            Start::InFirst { common_tokens, .. } => {
                Some(if number == 0 { 0 } else { *common_tokens })
            }
        }
    }
}

impl Conversations for MadeUp {
    fn conversation(&self, index: u64) -> Conversation {
        let rounds = self.rounds.as_ref();
        let (number, round) = rounds.map_or((index, 0), |rounds| rounds.place(index));
        let system = match &self.settings.start {
            Start::System(prefixes) => prefixes.prompt(number),
            _ => None,
        };
        let system_tokens = system.as_ref().map_or(0, |prompt| prompt.tokens);
        let mut left = MAX_TOKENS.saturating_sub(system_tokens).max(1);
        let (mut lengths, mut outputs) = (self.lengths(number), self.outputs(number));
        let mut pauses = Pauses::new(&self.settings.think_s, self.workload.seed(), number);
        let mut turns = Vec::new();
        for turn in 0..self.turns_of(number) {
            let (tokens, common) = match turn {
                0 => self.first(number, &mut lengths),
                _ => (self.settings.turn_tokens.sample_count(&mut lengths, 1), 0),
            };
            let tokens = tokens.min(left);
            if tokens == 0 {
                break;
            }
            left -= tokens;
            // No other message of the run has the number.
            let message = number
                .wrapping_mul(u64::from(MAX_TURNS))
                .wrapping_add(turn.into());
            let blocks = (common > 0).then_some(Blocks {
                ids: &[0],
                size: common,
                tokens: &[],
                scope: 0,
            });
            let prompt = self.workload.prompt(PromptSpec {
                blocks,
                ..PromptSpec::random(message, tokens)
            });
            let before = if turn == 0 { system_tokens } else { 0 };
            turns.push(ConversationTurn {
                messages: vec![said("user", prompt.text)],
                tokens: Some(before.saturating_add(prompt.tokens)),
                output_tokens: self.settings.output_tokens.sample_count(&mut outputs, 1),
                think_ns: if turn == 0 { 0 } else { pauses.next_ns() },
                ..ConversationTurn::default()
            });
        }
        let shared_tokens = match round {
            0 => self.shared_tokens(number),
            _ => turns.first().and_then(|turn| turn.tokens),
        };
        Conversation {
            id: match round {
                0 => format!("c{}", number.saturating_add(1)),
                _ => format!("c{}-{}", number.saturating_add(1), round.saturating_add(1)),
            },
            opening: system
                .map(|prompt| said("system", prompt.text))
                .into_iter()
                .collect(),
            shared_tokens,
            turns,
        }
    }

    /// Words that no conversation has: a system prompt would be in the server's cache before the first.
    fn warmup(&self, index: u64) -> Content {
        let system_tokens = match &self.settings.start {
            Start::System(prefixes) => prefixes.tokens(index),
            _ => 0,
        };
        let (tokens, _) = self.first(index, &mut self.lengths(index));
        let tokens = tokens.saturating_add(system_tokens).min(MAX_TOKENS);
        let prompt = self.workload.prompt(PromptSpec::random(index, tokens));
        let output_tokens = &self.settings.output_tokens;
        Content::made_up(
            prompt,
            output_tokens.sample_count(&mut self.outputs(index), 1),
        )
    }

    fn count(&self) -> Option<u64> {
        self.rounds.as_ref().map(Rounds::size)
    }

    fn typical_output_tokens(&self) -> Option<u32> {
        Some(self.settings.output_tokens.mean_count(1))
    }

    fn note(&self) -> Option<String> {
        let rounds = self.rounds.as_ref();
        let shortage = rounds.and_then(|rounds| rounds.shortage(&whole(rounds.size())));
        note(shortage.into_iter().chain(self.remarks.clone()))
    }
}

/// A message of words.
fn said(role: &str, text: String) -> Map<String, Value> {
    let fields = [("role", role.to_owned()), ("content", text)];
    let fields = fields.map(|(name, value)| (name.to_owned(), Value::String(value)));
    fields.into_iter().collect()
}
