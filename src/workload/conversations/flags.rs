//! The flags of the data set `conversations`, and what they say.

use serde_json::{Map, Value};

use super::super::error::WorkloadError;
use super::distribution::Distribution;
use super::forms::{FORMS, parse};
use crate::draw::{Draw, field};
use crate::flag::{Flag, FlagKind};

/// All of them.
pub(super) const FLAGS: &[Flag] = &[
    TURNS,
    FIRST_LEN,
    TURN_LEN,
    OUTPUT_LEN,
    PREFIX_LEN,
    PREFIXES,
    PREFIX_ZIPF,
    THINK_TIME,
    MAX_TURNS,
];

/// Names of those about made-up conversations alone.
pub(super) const OF_MADE_UP: &[&str] = &[
    TURNS.name,
    FIRST_LEN.name,
    TURN_LEN.name,
    PREFIX_LEN.name,
    PREFIXES.name,
    PREFIX_ZIPF.name,
];

const TURNS: Flag = Flag {
    name: "conversation-turns",
    value_name: "DIST",
    help: "Turns of a made-up conversation: a number or a distribution, as uniform:2:9",
    kind: FlagKind::Text,
    default: Some("5"),
};

const FIRST_LEN: Flag = Flag {
    name: "conversation-first-len",
    value_name: "DIST",
    help: "Length of what the user says first, in tokens [default: as that of each turn]",
    kind: FlagKind::Text,
    default: None,
};

const TURN_LEN: Flag = Flag {
    name: "conversation-turn-len",
    value_name: "DIST",
    help: "Length of what the user says in a turn, in tokens",
    kind: FlagKind::Text,
    default: Some("128"),
};

const OUTPUT_LEN: Flag = Flag {
    name: "conversation-output-len",
    value_name: "DIST",
    help: "Length of an answer, in tokens [default: as recorded; of made-up ones 128]",
    kind: FlagKind::Text,
    default: None,
};

const PREFIX_LEN: Flag = Flag {
    name: "conversation-prefix-len",
    value_name: "DIST",
    help: "Length of a system prompt that conversations share, in tokens",
    kind: FlagKind::Text,
    default: Some("0"),
};

const PREFIXES: Flag = Flag {
    name: "conversation-prefixes",
    value_name: "N",
    help: "Number of system prompts, of which each conversation has one",
    kind: FlagKind::Count(1),
    default: Some("1"),
};

const PREFIX_ZIPF: Flag = Flag {
    name: "conversation-prefix-zipf",
    value_name: "S",
    help: "How unevenly they are used: the k-th is as likely as 1/k^S",
    kind: FlagKind::Number,
    default: Some("0"),
};

const THINK_TIME: Flag = Flag {
    name: "think-time",
    value_name: "DIST",
    help: "Pause before each later turn, in seconds [default: the recorded one, or 0]",
    kind: FlagKind::Text,
    default: None,
};

const MAX_TURNS: Flag = Flag {
    name: "max-turns",
    value_name: "N",
    help: "Turns of a conversation at most",
    kind: FlagKind::Count(1),
    default: None,
};

/// System prompts at most: a table has the weight of each.
const MAX_PREFIXES: u32 = 65_536;

/// Length of an answer in a made-up conversation, in tokens.
const DEFAULT_OUTPUT_TOKENS: f64 = 128.0;

/// What flags say of every conversation, recorded or made up.
#[derive(Debug, Default)]
pub(super) struct OfAll {
    /// Length of every answer, in tokens.
    pub(super) output_tokens: Option<Distribution>,
    /// Pause before each turn but the first, in seconds.
    pub(super) think_s: Option<Distribution>,
    /// Turns at most.
    pub(super) max_turns: Option<u32>,
}

/// What flags say of made-up conversations.
#[derive(Debug)]
pub(super) struct OfMadeUp {
    pub(super) turns: Distribution,
    pub(super) first_tokens: Distribution,
    pub(super) turn_tokens: Distribution,
    pub(super) output_tokens: Distribution,
    /// Length of a system prompt; none where conversations have none.
    pub(super) prefix_tokens: Option<Distribution>,
    pub(super) prefixes: u32,
    pub(super) prefix_zipf: f64,
}

/// What the plan keeps of the flags.
pub(super) struct Options<'a>(pub(super) &'a Map<String, Value>);

impl Options<'_> {
    /// Reads the flags about every conversation.
    ///
    /// # Errors
    ///
    /// Which of them can't be read, and why.
    pub(super) fn of_all(&self) -> Result<OfAll, WorkloadError> {
        Ok(OfAll {
            output_tokens: self.counts(&OUTPUT_LEN)?,
            think_s: self.distribution(&THINK_TIME)?,
            max_turns: self.count(&MAX_TURNS)?,
        })
    }

    /// Reads the flags about made-up conversations.
    ///
    /// # Errors
    ///
    /// Which of them can't be read, and why.
    pub(super) fn of_made_up(&self) -> Result<OfMadeUp, WorkloadError> {
        let or = |given: Option<Distribution>, value: f64| {
            given.unwrap_or_else(|| Distribution::constant(value))
        };
        let turn_tokens = or(self.counts(&TURN_LEN)?, 128.0);
        let first_tokens = self.counts(&FIRST_LEN)?;
        let prefix_tokens = self.distribution(&PREFIX_LEN)?;
        let prefix_tokens = prefix_tokens.filter(|tokens| *tokens != Distribution::constant(0.0));
        let prefixes = self.count(&PREFIXES)?.unwrap_or(1);
        if prefixes > MAX_PREFIXES {
            let message = format!("there are at most {MAX_PREFIXES}");
            return Err(wrong(&PREFIXES, &prefixes.to_string(), &message));
        }
        if prefixes > 1 && prefix_tokens.is_none() {
            let message = format!("it has no effect without `--{}`", PREFIX_LEN.name);
            return Err(wrong(&PREFIXES, &prefixes.to_string(), &message));
        }
        Ok(OfMadeUp {
            turns: or(self.counts(&TURNS)?, 5.0),
            first_tokens: first_tokens.unwrap_or_else(|| turn_tokens.clone()),
            turn_tokens,
            output_tokens: or(self.distribution(&OUTPUT_LEN)?, DEFAULT_OUTPUT_TOKENS),
            prefix_tokens,
            prefixes,
            prefix_zipf: self.exponent(&PREFIX_ZIPF)?,
        })
    }

    fn given(&self, flag: &Flag) -> Option<String> {
        match self.0.get(&flag.key())? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            // A plan by hand may have a number as one.
            other => Some(other.to_string()),
        }
    }

    fn distribution(&self, flag: &Flag) -> Result<Option<Distribution>, WorkloadError> {
        let Some(text) = self.given(flag) else {
            return Ok(None);
        };
        let parsed = parse(&text).map_err(|why| wrong(flag, &text, &format!("{why}; {FORMS}")));
        parsed.map(Some)
    }

    /// A distribution of what there is at least 1 of.
    fn counts(&self, flag: &Flag) -> Result<Option<Distribution>, WorkloadError> {
        let given = self.distribution(flag)?;
        match &given {
            Some(counts) if *counts == Distribution::constant(0.0) => {
                Err(wrong(flag, "0", "there is at least 1"))
            }
            _ => Ok(given),
        }
    }

    fn count(&self, flag: &Flag) -> Result<Option<u32>, WorkloadError> {
        let Some(text) = self.given(flag) else {
            return Ok(None);
        };
        match text.parse::<u32>() {
            Ok(count) if count > 0 => Ok(Some(count)),
            _ => Err(wrong(flag, &text, "it is no whole number above 0")),
        }
    }

    fn exponent(&self, flag: &Flag) -> Result<f64, WorkloadError> {
        let text = self.given(flag).unwrap_or_else(|| "0".to_owned());
        let number = text.parse::<f64>().ok();
        let number = number.filter(|number| (0.0..=100.0).contains(number));
        number.ok_or_else(|| wrong(flag, &text, "it is no number from 0 to 100"))
    }
}

fn wrong(flag: &Flag, text: &str, why: &str) -> WorkloadError {
    WorkloadError::Lengths {
        message: format!("`--{} {text}`: {why}", flag.name),
    }
}

/// Draws pauses of a conversation, one a turn from the second on.
pub(super) struct Pauses<'a> {
    of: &'a Distribution,
    draw: Draw,
}

impl<'a> Pauses<'a> {
    /// Pauses of conversation `number`.
    pub(super) fn new(of: &'a Distribution, seed: u64, number: u64) -> Self {
        let draw = Draw::new(seed, number, field::THINK_TIME);
        Self { of, draw }
    }

    /// Returns the next pause, in nanoseconds.
    pub(super) fn next_ns(&mut self) -> i64 {
        nanoseconds(self.of.sample(&mut self.draw) * 1e9)
    }
}

/// A time in nanoseconds as a whole number of them.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a time of 136 years fits, and the cast saturates"
)]
pub(super) fn nanoseconds(time: f64) -> i64 {
    time.round() as i64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::flag::defaults;

    fn of(options: Value) -> Map<String, Value> {
        let mut all = defaults(FLAGS);
        all.extend(options.as_object().unwrap().clone());
        all
    }

    #[test]
    fn without_flags_a_conversation_is_of_five_turns_without_a_system_prompt() {
        let options = of(json!({}));
        let made_up = Options(&options).of_made_up().unwrap();
        assert_eq!(made_up.turns, Distribution::constant(5.0));
        assert_eq!(made_up.first_tokens, Distribution::constant(128.0));
        assert_eq!(made_up.output_tokens, Distribution::constant(128.0));
        assert_eq!(made_up.prefix_tokens, None);
        let all = Options(&options).of_all().unwrap();
        assert_eq!(
            (all.output_tokens, all.think_s, all.max_turns),
            (None, None, None)
        );
    }

    #[test]
    fn what_a_flag_can_not_be_is_told_by_its_name() {
        let refused = |options: Value| {
            let options = of(options);
            let options = Options(&options);
            let read = options.of_all().and_then(|_| options.of_made_up());
            read.err().unwrap().to_string()
        };
        let messages = [
            json!({ "conversation_turns": "uniform:9:1" }),
            json!({ "think_time": "soon" }),
            json!({ "conversation_output_len": "-5" }),
            json!({ "max_turns": 0 }),
            json!({ "conversation_turns": "0" }),
            json!({ "conversation_prefixes": 3 }),
            json!({ "conversation_prefixes": 70_000, "conversation_prefix_len": "9" }),
            json!({ "conversation_prefix_zipf": -1 }),
        ]
        .map(refused);
        let messages = messages.join("\n").replace(FORMS, "FORMS");
        insta::assert_snapshot!(messages, @"
        `--conversation-turns uniform:9:1`: its lowest value 9 is above its highest 1; FORMS
        `--think-time soon`: `soon` is no number; FORMS
        `--conversation-output-len -5`: -5 is below 0; FORMS
        `--max-turns 0`: it is no whole number above 0
        `--conversation-turns 0`: there is at least 1
        `--conversation-prefixes 3`: it has no effect without `--conversation-prefix-len`
        `--conversation-prefixes 70000`: there are at most 65536
        `--conversation-prefix-zipf -1`: it is no number from 0 to 100
        ");
    }

    #[test]
    fn pauses_are_a_function_of_the_conversation() {
        let of = Distribution::exponential(2.0).unwrap();
        let pauses = |number| {
            let mut pauses = Pauses::new(&of, 1, number);
            [pauses.next_ns(), pauses.next_ns()]
        };
        assert_eq!(pauses(3), pauses(3));
        assert_ne!(pauses(3), pauses(4));
        assert_eq!(nanoseconds(1.5e9), 1_500_000_000);
        assert!(nanoseconds(4_294_967_295.0 * 1e9) > 0);
    }
}
