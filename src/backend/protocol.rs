//! What a protocol is: how its requests are phrased, and what reads the events of its answers.

use std::fmt::Debug;

use serde_json::{Map, Value};

use super::framing::Framing;
use super::reading::{Reading, TokenTally};
use super::request::RequestSpec;
use super::sampling::SamplingFields;
use super::sse::Event;
use super::times::ServerTimes;
use crate::secrets::Secrets;

/// A protocol that a server is driven with.
pub trait Protocol: Debug + Sync {
    /// Its name, as flags and plans have it.
    fn name(&self) -> &'static str;

    /// What it is, in a line of help.
    fn about(&self) -> &'static str;

    /// The path that it has on its servers.
    fn endpoint(&self) -> &'static str;

    /// Headers that its servers need, unless the user gives them: names in lower case, and values.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// How its answers are cut into events.
    fn framing(&self) -> Framing;

    /// The data or the name of the event that does nothing but end an answer; `None` where there is no
    /// such event.
    fn end_mark(&self) -> Option<&'static str> {
        None
    }

    /// Whether an answer is whole when its body has ended in order: there is no finish reason and no end
    /// mark.
    fn ends_with_its_body(&self) -> bool {
        false
    }

    /// What its requests can hold.
    fn inputs(&self) -> Inputs {
        Inputs::Text
    }

    /// Whether its requests hold messages, and with them what only chats have, such as tools.
    fn is_chat(&self) -> bool {
        false
    }

    /// Whether messages of its requests hold images, as OpenAI's chat has them.
    fn holds_images(&self) -> bool {
        false
    }

    /// Whether its answers have tokens.
    fn has_tokens(&self) -> bool {
        true
    }

    /// The path of the list of models on its servers.
    fn models_endpoint(&self) -> &'static str {
        "/v1/models"
    }

    /// Returns the name of the first model in that list.
    fn first_model<'a>(&self, list: &'a Value) -> Option<&'a str> {
        list["data"][0]["id"].as_str()
    }

    /// Says whether requests ask for usage in every event: vLLM puts several tokens into one event
    /// whenever it is behind, and usage tells how many.
    fn asks_for_running_usage(&self) -> bool {
        false
    }

    /// Says whether requests have `stream_options`, in which usage in every event can be asked for.
    fn has_stream_options(&self) -> bool {
        false
    }

    /// How a server is asked for exactly the planned output length.
    fn exact_length(&self) -> ExactLength;

    /// Where requests have the fields of sampling.
    fn sampling(&self) -> SamplingFields {
        SamplingFields::OF_BODY
    }

    /// Returns the fields that ask for the log-probabilities of tokens, with so many others beside each;
    /// `None` where there are none.
    fn logprobs(&self, _others: u32) -> Option<Map<String, Value>> {
        None
    }

    /// Returns the fields that ask for the ids of tokens; `None` where there are none.
    fn token_ids(&self) -> Option<Map<String, Value>> {
        None
    }

    /// Returns the fields that have the server answer with this text and nothing else; `None` where
    /// there are none.
    fn forced_output(&self, _text: &str) -> Option<Map<String, Value>> {
        None
    }

    /// Fields that requests have by themselves and some servers refuse, each with what to do then.
    fn refusable_fields(&self) -> &'static [(&'static str, Remedy)] {
        &[]
    }

    /// Returns the body of a streaming request that also asks for token usage.
    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8>;

    /// Returns the most output tokens that such a body allows; `None` where it sets no limit.
    fn output_limit(&self, spec: &RequestSpec<'_>) -> Option<u32> {
        spec.output_limit()
    }

    /// Whether an event in which a reader found a token is one of this protocol, where several have a
    /// reader in common.
    fn is_its_own(&self, _event: &Event<'_>) -> bool {
        true
    }

    /// Returns a reader for the events of one response; it keeps the decoded text if told to.
    fn reader(&self, keep_text: bool) -> Box<dyn EventReader>;
}

/// What the requests of a protocol can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inputs {
    /// Text alone.
    Text,
    /// Audio alone.
    Audio,
    /// Either.
    Any,
}

/// What to do about a field that a server refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Leave it out by a null in `--extra-body`.
    LeaveOut,
    /// Do this.
    Do(&'static str),
    /// Do this, unless the field before it is refused as well: one remedy does for both.
    Else(&'static str),
}

/// How a protocol asks for exactly the planned output length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExactLength {
    /// By the field `ignore_eos`, which its servers are known to have: a replay sends it by itself.
    Known,
    /// By the same field, which some of its servers have: it is sent where the user asks for it.
    OnDemand,
    /// Not at all: the planned length is a limit, and an answer may end before it.
    Never,
}

/// Reads the events of one response, in order.
pub trait EventReader: Debug + Send {
    /// Has these secrets masked in messages, codes, names and ids.
    fn mask(&mut self, secrets: &Secrets);

    /// Says what an event of the decoder carried.
    fn read_event(&mut self, event: &Event<'_>) -> Reading;

    /// Returns what ids and running usage have told of the output tokens so far.
    fn tally(&self) -> TokenTally;

    /// Returns what the server has told so far of the time that it took.
    fn server_times(&self) -> ServerTimes {
        ServerTimes::default()
    }
}
