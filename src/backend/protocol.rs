//! What a protocol is: how its requests are phrased, and what reads the events of its answers.

use std::fmt::Debug;

use super::reading::{Reading, TokenTally};
use super::request::RequestSpec;
use super::sse::Event;
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

    /// Says whether requests ask for usage in every event: vLLM puts several tokens into one event
    /// whenever it is behind, and usage tells how many.
    fn asks_for_running_usage(&self) -> bool {
        false
    }

    /// Returns the JSON body of a streaming request that also asks for token usage.
    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8>;

    /// Returns a reader for the events of one response; it keeps the decoded text if told to.
    fn reader(&self, keep_text: bool) -> Box<dyn EventReader>;
}

/// Reads the events of one response, in order.
pub trait EventReader: Debug + Send {
    /// Has these secrets masked in messages, codes, names and ids.
    fn mask(&mut self, secrets: &Secrets);

    /// Says what an event of the decoder carried.
    fn read_event(&mut self, event: &Event<'_>) -> Reading;

    /// Returns what ids and running usage have told of the output tokens so far.
    fn tally(&self) -> TokenTally;
}
