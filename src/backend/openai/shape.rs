//! The parts of an OpenAI-style event that say something about tokens, timing or failure.
//!
//! Borrowed from the event's bytes; every field may be missing, null or of another type.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess};

use crate::backend::lenient::{
    Count, FromJson, Length, Lenient, List, Number, StartsWithNull, Text, object, read_from_object,
};
use crate::backend::times::{NvExt, Seconds, ServerTimes, Timings};

/// The data of the event that ends a stream.
pub(super) const END_MARK: &str = "[DONE]";

/// One event: a chunk of chat or of completions, or an error object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) object: Text<'a>,
    #[serde(borrow)]
    pub(super) choices: Lenient<List<Choice<'a>>>,
    pub(super) usage: Lenient<Option<UsageObject>>,
    #[serde(borrow)]
    pub(super) error: Lenient<Option<Failure<'a>>>,
    /// As in [`Failure`], of an event that is an error object itself.
    #[serde(borrow)]
    pub(super) message: Text<'a>,
    #[serde(borrow)]
    pub(super) code: Lenient<Code<'a>>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    /// Of llama.cpp, Cerebras and NVIDIA Dynamo.
    timings: Lenient<Option<Timings>>,
    time_info: Lenient<Option<Seconds>>,
    nvext: Lenient<Option<NvExt>>,
}

impl Chunk<'_> {
    /// Tokens so far by `timings`, which llama.cpp has in each event where it is asked for that.
    pub(super) fn predicted(&self) -> Option<u32> {
        self.timings.0?.predicted_n.0
    }

    /// Ids of tokens in the event that belong to no choice: Dynamo has them there, and refuses them
    /// beside several choices.
    pub(super) fn token_count(&self) -> Option<u32> {
        self.nvext.0?.token_count()
    }

    /// Returns the server's count, of the answer or else of its only choice.
    pub(super) fn usage(&self) -> Option<&UsageObject> {
        let of_choice = match self.choices.0.0.as_slice() {
            [only] => only.usage.0.as_ref(),
            _ => None,
        };
        self.usage.0.as_ref().or(of_choice)
    }

    /// What the server tells of the time that it took; `None` where it tells nothing.
    pub(super) fn server_times(&self) -> Option<ServerTimes> {
        let timings = self.timings.0.map(|told| told.times());
        let info = self.time_info.0.map(|told| told.times());
        let nvext = self.nvext.0.map(|told| told.times());
        let usage = self.usage.0.as_ref().map(|usage| usage.times());
        let told = [timings, info, nvext, usage].into_iter().flatten();
        told.reduce(ServerTimes::or)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    /// Chat.
    #[serde(borrow)]
    pub(super) delta: Lenient<Option<Delta<'a>>>,
    /// Completions.
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    pub(super) index: Count,
    #[serde(borrow)]
    pub(super) finish_reason: Text<'a>,
    /// Of Moonshot, with the finish reason.
    pub(super) usage: Lenient<Option<UsageObject>>,
    /// Of vLLM: the stop string, or the id of the token, at which it ended.
    #[serde(borrow)]
    pub(super) stop_reason: Lenient<Code<'a>>,
    /// The same of SGLang.
    #[serde(borrow)]
    pub(super) matched_stop: Lenient<Code<'a>>,
    token_ids: Lenient<Length>,
    /// Of vLLM: with the first event of a prompt that is echoed, or where ids are asked for.
    prompt_token_ids: Lenient<Length>,
    logprobs: Lenient<Option<LogProbabilities>>,
}

impl Choice<'_> {
    /// Returns how many output tokens the server lists in the choice, if it lists them.
    ///
    /// The log-probabilities of an echoed prompt stand before those of the answer. Nothing comes before
    /// the prompt's first token, so it has none; where its ids are not listed, nobody says how many
    /// of the tokens are the prompt's.
    pub(super) fn token_count(&self) -> Option<u32> {
        self.token_ids.0.0.or_else(|| {
            let listed = self.logprobs.0.as_ref()?;
            let count = listed.token_count()?;
            match (listed.token_logprobs.0.0, self.prompt_token_ids.0.0) {
                (false, _) => Some(count),
                (true, prompt) => count.checked_sub(prompt?),
            }
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) role: Text<'a>,
    #[serde(borrow)]
    pub(super) content: Lenient<Content<'a>>,
    /// Each of the names under which servers stream reasoning; some send the text under several.
    #[serde(borrow)]
    pub(super) reasoning_content: Text<'a>,
    #[serde(borrow)]
    pub(super) reasoning: Lenient<Content<'a>>,
    #[serde(borrow)]
    pub(super) reasoning_text: Text<'a>,
    #[serde(borrow)]
    pub(super) reasoning_details: Lenient<Content<'a>>,
    #[serde(borrow)]
    pub(super) thinking: Lenient<Content<'a>>,
    #[serde(borrow)]
    pub(super) thinking_blocks: Lenient<Content<'a>>,
    #[serde(borrow)]
    pub(super) refusal: Text<'a>,
    #[serde(borrow)]
    pub(super) tool_calls: Lenient<List<ToolCall<'a>>>,
    /// The older form of a tool call.
    #[serde(borrow)]
    pub(super) function_call: Lenient<Option<Function<'a>>>,
    #[serde(borrow)]
    pub(super) audio: Lenient<Option<Audio<'a>>>,
}

/// Text, or a list of parts that may also be reasoning.
#[derive(Debug, Default)]
pub(super) struct Content<'a> {
    pub(super) text: Option<Cow<'a, str>>,
    pub(super) thinking: Option<Cow<'a, str>>,
}

impl<'a> Content<'a> {
    /// Returns the text of a field that holds nothing but reasoning, whatever its parts call it.
    pub(super) fn reasoning(&self) -> Option<&Cow<'a, str>> {
        [&self.text, &self.thinking]
            .into_iter()
            .flatten()
            .find(|text| !text.is_empty())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    /// Of a part of `reasoning_details`.
    #[serde(borrow)]
    summary: Text<'a>,
    #[serde(borrow)]
    thinking: Lenient<Content<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    /// Which of the answer's calls this is a part of; some servers give all the same.
    pub(super) index: Count,
    /// With the first part of a call.
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) function: Lenient<Option<Function<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) arguments: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Audio<'a> {
    #[serde(borrow)]
    pub(super) data: Text<'a>,
    #[serde(borrow)]
    pub(super) transcript: Text<'a>,
}

/// Log-probabilities: chat lists them under `content` and `refusal`, completions under `tokens`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogProbabilities {
    content: Lenient<Length>,
    refusal: Lenient<Length>,
    tokens: Lenient<Length>,
    token_logprobs: Lenient<StartsWithNull>,
}

impl LogProbabilities {
    fn token_count(&self) -> Option<u32> {
        [&self.content, &self.refusal, &self.tokens]
            .into_iter()
            .filter_map(|list| list.0.0)
            .reduce(u32::saturating_add)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UsageObject {
    pub(super) prompt_tokens: Count,
    pub(super) completion_tokens: Count,
    pub(super) prompt_tokens_details: Lenient<Option<PromptDetails>>,
    /// Of Moonshot and DeepSeek, in the place of the details.
    pub(super) cached_tokens: Count,
    pub(super) prompt_cache_hit_tokens: Count,
    pub(super) completion_tokens_details: Lenient<Option<CompletionDetails>>,
    /// Of Groq.
    queue_time: Number,
    prompt_time: Number,
    completion_time: Number,
    /// Of mistral.rs.
    total_prompt_time_sec: Number,
    total_completion_time_sec: Number,
}

impl UsageObject {
    fn times(&self) -> ServerTimes {
        let either = |one: Number, other: Number| Lenient(one.0.or(other.0));
        let told = Seconds {
            queue_time: self.queue_time,
            prompt_time: either(self.prompt_time, self.total_prompt_time_sec),
            completion_time: either(self.completion_time, self.total_completion_time_sec),
        };
        told.times()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PromptDetails {
    pub(super) cached_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CompletionDetails {
    pub(super) reasoning_tokens: Count,
}

/// The value of `error`: an object, or the message itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Failure<'a> {
    #[serde(borrow)]
    pub(super) message: Text<'a>,
    #[serde(borrow)]
    pub(super) code: Lenient<Code<'a>>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
}

/// A word or a number.
#[derive(Debug, Default)]
pub(super) struct Code<'a>(pub(super) Option<Cow<'a, str>>);

impl<'de: 'a, 'a> FromJson<'de> for Code<'a> {
    fn from_text(text: Cow<'de, str>) -> Self {
        Self(Some(text))
    }

    fn from_whole(number: u64) -> Self {
        Self(Some(Cow::Owned(number.to_string())))
    }
}

impl<'de: 'a, 'a> FromJson<'de> for Option<Failure<'a>> {
    fn from_text(text: Cow<'de, str>) -> Self {
        (!text.is_empty()).then(|| Failure {
            message: Lenient(Some(text)),
            ..Failure::default()
        })
    }

    fn from_object<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        object(map)
    }
}

impl<'de: 'a, 'a> FromJson<'de> for Content<'a> {
    fn from_text(text: Cow<'de, str>) -> Self {
        Self {
            text: Some(text),
            thinking: None,
        }
    }

    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut content = Self::default();
        while let Some(Lenient(part)) = list.next_element::<Lenient<Option<Part<'a>>>>()? {
            let Some(part) = part else { continue };
            append(&mut content.text, part.text.0);
            append(&mut content.thinking, part.summary.0);
            append(&mut content.thinking, part.thinking.0.text);
        }
        Ok(content)
    }

    fn from_object<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let part: Option<Part<'a>> = object(map)?;
        Ok(part.map_or_else(Self::default, |part| Self {
            text: part.text.0,
            thinking: part.thinking.0.text.or(part.summary.0),
        }))
    }
}

fn append<'a>(whole: &mut Option<Cow<'a, str>>, part: Option<Cow<'a, str>>) {
    match (whole.as_mut(), part) {
        (Some(whole), Some(part)) => whole.to_mut().push_str(&part),
        (None, part) => *whole = part,
        (Some(_), None) => {}
    }
}

read_from_object!(
    Chunk<'a>,
    Choice<'a>,
    Delta<'a>,
    Part<'a>,
    ToolCall<'a>,
    Function<'a>,
    Audio<'a>,
    LogProbabilities,
    UsageObject,
    PromptDetails,
    CompletionDetails,
);
