//! Where protocols have the fields of sampling, and by what names.

use serde_json::{Map, Value};

/// The fields of sampling of a protocol.
#[derive(Debug, Clone, Copy)]
pub struct SamplingFields {
    /// The object of the body that they are in; the body itself where there is none.
    pub object: Option<&'static str>,
    /// For the name that flags have, the field. A name that is not there is not known.
    pub names: &'static [(&'static str, &'static str)],
}

impl SamplingFields {
    /// None at all.
    pub(super) const NONE: Self = Self {
        object: None,
        names: &[],
    };

    /// Those of vLLM, in the body itself.
    pub(super) const OF_BODY: Self = Self {
        object: None,
        names: ALL,
    };
}

/// Those of vLLM, whose names most servers took over.
pub(super) const ALL: &[(&str, &str)] = &[
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("min_p", "min_p"),
    ("frequency_penalty", "frequency_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("repetition_penalty", "repetition_penalty"),
];

/// Those of llama.cpp, which Ollama has too.
pub(super) const OF_LLAMA: &[(&str, &str)] = &[
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("min_p", "min_p"),
    ("frequency_penalty", "frequency_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("repetition_penalty", "repeat_penalty"),
];

/// Makes the fields of a request that ask for something beside its text.
pub(super) fn fields<const N: usize>(fields: [(&str, Value); N]) -> Option<Map<String, Value>> {
    let named = fields.map(|(name, value)| (name.to_owned(), value));
    Some(named.into_iter().collect())
}
