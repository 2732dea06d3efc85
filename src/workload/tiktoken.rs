//! OpenAI's vocabularies by their names in tiktoken, where the program is built with the feature `tiktoken`:
//! together they are several megabytes.

use super::error::WorkloadError;

/// Their names.
pub(super) const NAMES: [&str; 6] = [
    "o200k_base",
    "o200k_harmony",
    "cl100k_base",
    "p50k_base",
    "p50k_edit",
    "r50k_base",
];

pub(super) use vocabulary::Vocabulary;

/// Opens one of [`NAMES`].
///
/// # Errors
///
/// This build has none of them.
pub(super) fn open(name: &str) -> Result<Vocabulary, WorkloadError> {
    vocabulary::of(name).ok_or_else(|| WorkloadError::NoTiktoken {
        name: name.to_owned(),
    })
}

#[cfg(any(test, feature = "tiktoken"))]
mod vocabulary {
    use tiktoken_rs::CoreBPE;

    /// A vocabulary, read once.
    #[derive(Clone, Copy)]
    pub(in crate::workload) struct Vocabulary(&'static CoreBPE);

    pub(super) fn of(name: &str) -> Option<Vocabulary> {
        let vocabulary = match name {
            "o200k_base" => tiktoken_rs::o200k_base_singleton(),
            "o200k_harmony" => tiktoken_rs::o200k_harmony_singleton(),
            "cl100k_base" => tiktoken_rs::cl100k_base_singleton(),
            "p50k_base" => tiktoken_rs::p50k_base_singleton(),
            "p50k_edit" => tiktoken_rs::p50k_edit_singleton(),
            "r50k_base" => tiktoken_rs::r50k_base_singleton(),
            _ => return None,
        };
        Some(Vocabulary(vocabulary))
    }

    impl Vocabulary {
        /// Tokens of a text, in which special tokens are text like any other.
        pub(in crate::workload) fn count(self, text: &str) -> usize {
            self.0.count_ordinary(text)
        }

        #[cfg(test)]
        pub(in crate::workload) fn encode(self, text: &str) -> Vec<u32> {
            self.0.encode_ordinary(text)
        }

        /// All tokens that are text, in the order of their ids.
        pub(in crate::workload) fn tokens(self) -> Vec<String> {
            (0..)
                .map_while(|id| self.0.decode_bytes(&[id]).ok())
                .filter_map(|bytes| String::from_utf8(bytes).ok())
                .collect()
        }
    }
}

#[cfg(not(any(test, feature = "tiktoken")))]
mod vocabulary {
    /// There is none in this build.
    #[derive(Clone, Copy)]
    pub(in crate::workload) enum Vocabulary {}

    pub(super) fn of(_: &str) -> Option<Vocabulary> {
        None
    }

    impl Vocabulary {
        pub(in crate::workload) fn count(self, _: &str) -> usize {
            match self {}
        }

        pub(in crate::workload) fn tokens(self) -> Vec<String> {
            match self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::NAMES;
    use crate::workload::Tokenizer;

    #[test]
    fn each_name_counts_by_its_own_vocabulary() {
        let text = "Antidisestablishmentarianism \u{4f60}\u{597d}\u{4e16}\u{754c}";
        let counts = NAMES.map(|name| {
            let tokenizer = Tokenizer::load(Path::new(name)).unwrap();
            (name, tokenizer.count(text).unwrap())
        });
        let wanted = [
            ("o200k_base", 9),
            ("o200k_harmony", 9),
            ("cl100k_base", 12),
            ("p50k_base", 14),
            ("p50k_edit", 14),
            ("r50k_base", 14),
        ];
        assert_eq!(counts, wanted);
    }
}
