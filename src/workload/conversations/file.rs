//! Conversations of a file: a sample of them, in an order that the seed decides.
//!
//! The file is streamed: what is kept of it is what may be sent. Lengths are counted when a conversation
//! is sent.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::content::Content;
use super::super::conversation::{beginning, texts};
use super::super::dataset::DatasetSetup;
use super::super::error::WorkloadError;
use super::super::items::{mean, note};
use super::super::prompt::{PromptSpec, Workload};
use super::super::records;
use super::super::sample::Sample;
use super::super::text_file::{self, Unreadable};
use super::super::tokenizer::TokenCounter;
use super::super::turns::{Conversation, ConversationTurn, Conversations};
use super::config::is_config;
use super::distribution::Distribution;
use super::flags::{OfAll, Pauses};
use super::recorded::{Recorded, Turn, Unusable};
use super::rounds::{Names, Rounds, whole};
use crate::draw::{Draw, field};

/// Conversations that are kept where nobody knows how many sessions there will be.
const DEFAULT_COUNT: u64 = 10_000;

/// Memory for conversations, in bytes.
const MAX_BYTES: usize = 512 << 20;

/// Conversations of which a usual length is taken.
const MEASURED: usize = 64;

const FORM: &str = "name a JSON array of conversations, or one a line, each such as {\"id\": \"a\", \
                    \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]} or in ShareGPT's form; or \
                    one object of `generate_conversations`";

/// What a file has.
pub(super) enum Found {
    /// Conversations.
    Recorded(Pool),
    /// What made-up conversations are like.
    Config(Map<String, Value>),
}

/// Conversations of a file.
pub(super) struct Pool {
    sample: Sample<(u64, Recorded)>,
    /// Records of the file, as far as it was read.
    records: u64,
    /// It was read to its end.
    is_whole: bool,
    passed: Passed,
}

/// Records that can't be sent, by the reason.
#[derive(Default)]
struct Passed {
    no_messages: u64,
    no_user: u64,
    media: u64,
    speakers: u64,
    /// A name that is not known.
    speaker: Option<String>,
}

/// Reads the file at `path`.
///
/// # Errors
///
/// It can't be read, or is no such file.
pub(super) fn read(path: &Path, setup: &DatasetSetup<'_>) -> Result<Found, WorkloadError> {
    let cannot = |mut why: Unreadable| {
        why.message = why.message.replace("expected a map", "expected an object");
        WorkloadError::unreadable(path, why, FORM)
    };
    let text = text_file::open(path).map_err(cannot)?;
    let mut pool = Pool {
        sample: Sample::new(setup.order(), setup.most_kept(DEFAULT_COUNT), MAX_BYTES),
        records: 0,
        is_whole: true,
        passed: Passed::default(),
    };
    let mut config = None;
    let is_whole = records::each_json(text, "a conversation", |record: Map<String, Value>| {
        if pool.records == 0 && is_config(&record) {
            pool.records += 1;
            config = Some(record);
        } else {
            pool.take(record);
        }
        pool.sample.wants()
    })
    .map_err(cannot)?;
    pool.is_whole = is_whole;
    match config {
        None => Ok(Found::Recorded(pool)),
        Some(config) if pool.records == 1 => Ok(Found::Config(config)),
        Some(_) => {
            let message = "something follows its object of `generate_conversations`";
            Err(WorkloadError::dataset(path, message, FORM))
        }
    }
}

impl Pool {
    fn take(&mut self, record: Map<String, Value>) {
        self.records += 1;
        match Recorded::of(record) {
            Ok(recorded) => {
                let number = self.records;
                self.sample.offer(recorded.bytes(), || (number, recorded));
            }
            Err(why) => {
                self.sample.skip();
                self.passed.count(why);
            }
        }
    }

    /// Opens the conversations.
    ///
    /// # Errors
    ///
    /// There are none.
    pub(super) fn open(
        self,
        path: &Path,
        flags: OfAll,
        setup: DatasetSetup<'_>,
    ) -> Result<OfFile, WorkloadError> {
        let (records, found) = (self.records, self.sample.offered());
        let passed = self.passed.reasons(records);
        let kept: Vec<(u64, Recorded)> = self.sample.into_records().collect();
        if kept.is_empty() {
            let message = match records {
                0 => "it has no conversation".to_owned(),
                _ => format!(
                    "it has no conversation that can be sent: {}",
                    passed.join("; ")
                ),
            };
            return Err(WorkloadError::dataset(path, message, FORM));
        }
        let name = |(number, recorded): &(u64, Recorded)| {
            recorded
                .name
                .clone()
                .unwrap_or_else(|| format!("c{number}"))
        };
        let what = match kept.len() as u64 == found {
            true => whole(found),
            false => format!("{} of {found} conversations", kept.len()),
        };
        let mut opened = OfFile {
            names: Names::new(kept.iter().map(name).collect()),
            rounds: Rounds::new(kept.len() as u64, &setup),
            recorded: kept.into_iter().map(|(_, recorded)| recorded).collect(),
            what,
            flags,
            usual_output_tokens: None,
            count_tokens: setup.count_tokens,
            is_chat: setup.is_chat,
            workload: setup.workload,
            remarks: passed
                .iter()
                .map(|why| format!("{why} (not sent)"))
                .chain((!self.is_whole).then(|| beginning(found)))
                .collect(),
        };
        opened.usual_output_tokens = opened.usual();
        opened.remark();
        Ok(opened)
    }
}

impl Passed {
    fn count(&mut self, why: Unusable) {
        match why {
            Unusable::NoMessages => self.no_messages += 1,
            Unusable::NoUser => self.no_user += 1,
            Unusable::Media => self.media += 1,
            Unusable::Speaker(name) => {
                self.speakers += 1;
                self.speaker.get_or_insert(name);
            }
        }
    }

    /// How many there are by each reason, without a period.
    fn reasons(&self, records: u64) -> Vec<String> {
        let speaker = self.speaker.as_deref().unwrap_or_default();
        let speaker = match speaker {
            "" => "a message that does not say who says it".to_owned(),
            name => format!("a message of someone who is not known, such as `{name}`"),
        };
        let reasons = [
            (self.no_messages, "no list of messages"),
            (self.no_user, "no words of a user"),
            (
                self.media,
                "images, audio or video, which are not read here",
            ),
            (self.speakers, &speaker),
        ];
        let reason = |(count, why): &(u64, &str)| match (count, records) {
            (1, 1) => format!("its only record has {why}"),
            (1, _) => format!("1 of its {records} records has {why}"),
            _ => format!("{count} of its {records} records have {why}"),
        };
        let there = reasons.iter().filter(|(count, _)| *count > 0);
        there.map(reason).collect()
    }
}

/// Conversations of a file, at least one.
pub(super) struct OfFile {
    recorded: Vec<Recorded>,
    names: Names,
    rounds: Rounds,
    /// What they are and how many of how many.
    what: String,
    flags: OfAll,
    usual_output_tokens: Option<u32>,
    count_tokens: Option<TokenCounter>,
    /// Requests hold messages.
    is_chat: bool,
    workload: Arc<Workload>,
    /// What is to be said before a run, each without a period.
    remarks: Vec<String>,
}

impl OfFile {
    fn count(&self, text: &str) -> Option<u32> {
        self.count_tokens.as_ref().and_then(|count| count(text))
    }

    /// Returns a conversation by its place, and how often it was sent before.
    fn at(&self, index: u64) -> (usize, u64) {
        let (at, round) = self.rounds.place(index);
        (usize::try_from(at).unwrap_or(0), round)
    }

    fn turns<'a>(&self, recorded: &'a Recorded) -> &'a [Turn] {
        let most = self
            .flags
            .max_turns
            .and_then(|most| usize::try_from(most).ok());
        let most = most.unwrap_or(usize::MAX);
        &recorded.turns[..most.min(recorded.turns.len())]
    }

    /// Length of the answer to a turn, in tokens, where no flag says it; 0 where nobody knows.
    fn output_tokens(&self, turn: &Turn) -> u32 {
        let of_reply = || self.count(turn.reply.as_ref()?);
        turn.output_tokens.or_else(of_reply).unwrap_or(0)
    }

    /// A usual length of an answer, in tokens.
    fn usual(&self) -> Option<u32> {
        if let Some(flag) = &self.flags.output_tokens {
            return Some(flag.mean_count(1));
        }
        let measured = self.recorded.iter().take(MEASURED);
        let turns = measured.flat_map(|recorded| self.turns(recorded));
        let lengths = turns.map(|turn| self.output_tokens(turn));
        mean(lengths.filter(|tokens| *tokens > 0))
    }

    /// Finds out what else is to be said before a run.
    fn remark(&mut self) {
        let left_out =
            |is: fn(&Recorded) -> bool| self.recorded.iter().filter(|one| is(one)).count();
        let with_tools = left_out(|one| one.left_out.calls);
        let with_first_words = left_out(|one| one.left_out.first_words);
        let with_more_than_text = left_out(Recorded::has_more_than_text);
        let without_text: u64 = (self.recorded.iter())
            .map(|one| one.left_out.without_text)
            .sum();
        let turns = self.recorded.iter().flat_map(|one| self.turns(one));
        let (turns, unknown) = turns.fold((0_u64, 0_u64), |(turns, unknown), turn| {
            (turns + 1, unknown + u64::from(self.is_unlimited(turn)))
        });
        let remarks = [
            (with_tools > 0).then(|| {
                format!(
                    "of {} with tools, results are sent and calls are not",
                    conversations(with_tools)
                )
            }),
            (with_first_words > 0).then(|| {
                format!(
                    "in {} the assistant speaks first (those words are not sent)",
                    conversations(with_first_words)
                )
            }),
            (without_text > 0).then(|| {
                let have = if without_text == 1 {
                    "message of a user has"
                } else {
                    "messages of users have"
                };
                format!("{without_text} {have} no text (not sent, nor the answers to them)")
            }),
            (with_more_than_text > 0).then(|| {
                let and = match self.is_chat {
                    true => "sent, and not counted in lengths",
                    false => "not sent: only a chat has them",
                };
                let of = conversations(with_more_than_text);
                format!("images and the like of {of} are {and}")
            }),
            (unknown > 0).then(|| {
                let of = match unknown == turns {
                    true => "nobody knows how long answers are to be".to_owned(),
                    false => format!(
                        "nobody knows how long the answers to {unknown} of {turns} turns are to be"
                    ),
                };
                let remedy = match self.count_tokens {
                    Some(_) => "`--conversation-output-len`",
                    None => "`--tokenizer` or `--conversation-output-len`",
                };
                format!("{of}, so they are as long as the server makes them ({remedy})")
            }),
        ];
        self.remarks.extend(remarks.into_iter().flatten());
    }

    /// Whether nothing says how long the answer to a turn is to be.
    fn is_unlimited(&self, turn: &Turn) -> bool {
        let is_counted = turn.reply.is_some() && self.count_tokens.is_some();
        self.flags.output_tokens.is_none() && turn.output_tokens.is_none() && !is_counted
    }
}

fn conversations(count: usize) -> String {
    match count {
        1 => "1 conversation".to_owned(),
        count => format!("{count} conversations"),
    }
}

/// The texts of a turn below those of messages before it.
fn text_of(before: &[Map<String, Value>], turn: &Turn) -> String {
    let mut text = texts(before);
    if !text.is_empty() {
        text.push('\n');
    }
    text + &texts(&turn.messages)
}

impl Conversations for OfFile {
    fn conversation(&self, index: u64) -> Conversation {
        let (at, round) = self.at(index);
        let recorded = &self.recorded[at];
        let (seed, number) = (self.workload.seed(), at as u64);
        let mut outputs = Draw::new(seed, number, field::CONVERSATION_OUTPUT);
        let none = Distribution::constant(0.0);
        let think_s = self.flags.think_s.as_ref();
        let mut pauses = Pauses::new(think_s.unwrap_or(&none), seed, number);
        let turn_of = |(place, turn): (usize, &Turn)| {
            let before = match place {
                0 => recorded.opening.as_slice(),
                _ => &[],
            };
            ConversationTurn {
                messages: turn.messages.clone(),
                reply: turn.reply.clone(),
                fields: turn.fields.clone(),
                tokens: self.count(&text_of(before, turn)),
                output_tokens: match &self.flags.output_tokens {
                    Some(flag) => flag.sample_count(&mut outputs, 1),
                    None => self.output_tokens(turn),
                },
                think_ns: match place {
                    0 => 0,
                    _ if think_s.is_some() => pauses.next_ns(),
                    _ => turn.pause_ns.unwrap_or(0),
                },
            }
        };
        let turns = self.turns(recorded).iter().enumerate().map(turn_of);
        Conversation {
            id: self.names.of(at, round),
            opening: recorded.opening.clone(),
            shared_tokens: None,
            turns: turns.collect(),
        }
    }

    /// Words of about the same length: a recorded turn would be in the server's cache when it is sent.
    fn warmup(&self, index: u64) -> Content {
        let recorded = &self.recorded[self.at(index).0];
        let first = recorded.turns.first();
        let text = first.map_or_else(String::new, |turn| text_of(&recorded.opening, turn));
        let about = u32::try_from(text.len() / 4).unwrap_or(u32::MAX);
        let tokens = self.count(&text).unwrap_or(about).max(1);
        let prompt = self.workload.prompt(PromptSpec::random(index, tokens));
        Content::made_up(prompt, self.usual_output_tokens.unwrap_or(0))
    }

    fn count(&self) -> Option<u64> {
        Some(self.rounds.size())
    }

    fn typical_output_tokens(&self) -> Option<u32> {
        self.usual_output_tokens
    }

    fn note(&self) -> Option<String> {
        let shortage = self.rounds.shortage(&self.what);
        note(shortage.into_iter().chain(self.remarks.clone()))
    }
}
