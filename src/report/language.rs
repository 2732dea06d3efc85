//! The language of a report, and its sentences in it.
//!
//! A sentence stands in the code in English, which is also its name, as in gettext; `locales/` has
//! what the others say instead. [`say!`] fills values into a sentence, [`said`] looks up one
//! without values, and both answer in the language of the report that is being laid out on this
//! thread: a report is laid out by one thread from its first word to its last, inside
//! [`Language::speaking`]. What a language lacks is said in English.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::LazyLock;

/// A language that reports can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English, in which all sentences stand in the code.
    #[default]
    English,
    /// Chinese, in simplified characters.
    Chinese,
}

/// Sentences of one language, by their English.
type Sentences = HashMap<String, String>;

static CHINESE: LazyLock<Sentences> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../locales/zh.json"))
        .expect("the tests parse the sentences of this build")
});

thread_local! {
    static SPOKEN: Cell<Language> = const { Cell::new(Language::English) };
}

impl Language {
    /// Returns its tag, as HTML knows it (BCP 47).
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-Hans",
        }
    }

    /// Does `work`, whose sentences are in this language.
    pub(crate) fn speaking<T>(self, work: impl FnOnce() -> T) -> T {
        /// Puts the former language back, whatever ends the work.
        struct Back(Language);
        impl Drop for Back {
            fn drop(&mut self) {
                SPOKEN.set(self.0);
            }
        }
        let _back = Back(SPOKEN.replace(self));
        work()
    }

    fn sentences(self) -> Option<&'static Sentences> {
        match self {
            Self::English => None,
            Self::Chinese => Some(&CHINESE),
        }
    }
}

/// Returns the language that is spoken now.
pub(crate) fn spoken() -> Language {
    SPOKEN.get()
}

/// Says a sentence or a word without values; one that is not known is said as it is.
pub(crate) fn said(english: &str) -> String {
    match translation(english) {
        Some(other) => other.to_owned(),
        None => {
            #[cfg(test)]
            tests::miss(english);
            english.to_owned()
        }
    }
}

/// Returns what the language that is spoken has for a sentence.
pub(crate) fn translation(english: &str) -> Option<&'static str> {
    let sentences = spoken().sentences()?;
    sentences.get(english).map(String::as_str)
}

/// Puts values in the places of a sentence that name them, such as `{n}`.
pub(crate) fn filled(sentence: &str, values: &[(&str, &dyn Display)]) -> String {
    let mut text = String::with_capacity(sentence.len() + 16);
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        let value = values.iter().find(|(known, _)| *known == name);
        text.push_str(&value.map_or(Cow::Borrowed(name), |(_, value)| {
            Cow::Owned(value.to_string())
        }));
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Says a sentence with values, each by its name: `say!("{n} of {all} failed", n, all = 3)`.
///
/// The sentence is a literal; its English is checked like that of `format!`.
macro_rules! say {
    ($english:literal $(, $name:ident $(= $value:expr)?)* $(,)?) => {
        match $crate::report::language::translation($english) {
            None => format!($english $(, $name = $crate::report::language::value!($name $(, $value)?))*),
            Some(other) => $crate::report::language::filled(
                other,
                &[$((stringify!($name), &$crate::report::language::value!($name $(, $value)?))),*],
            ),
        }
    };
}

/// The value of a name: its own where none is given.
macro_rules! value {
    ($name:ident) => {
        $name
    };
    ($name:ident, $value:expr) => {
        $value
    };
}

pub(crate) use {say, value};

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::analyze::CATALOG;
    use crate::report::tests::all;
    use crate::report::{PageOptions, html, markdown};

    thread_local! {
        static MISSED: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    /// Remembers what a language lacks, if it looks like words of English.
    pub(super) fn miss(english: &str) {
        let is_word =
            |word: &str| word.len() > 3 && word.bytes().all(|letter| letter.is_ascii_lowercase());
        let is_english = english.is_ascii() && english.split([' ', ',', '.']).any(is_word);
        if spoken() != Language::English && is_english {
            MISSED.with_borrow_mut(|missed| missed.insert(english.to_owned()));
        }
    }

    fn here(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    /// The text of all files in a folder, with strings that go over several lines on one.
    fn text_of(folder: &str) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(here(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
        let mut lines = text.split("\\\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let joined = lines.fold(first, |all, line| all + line.trim_start());
        joined.replace("\\\"", "\"")
    }

    /// The literals that follow `opening`.
    fn literals<'a>(text: &'a str, opening: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(opening)
            .skip(1)
            .filter_map(|after| after.trim_start().strip_prefix('"'))
            .filter_map(|after| after.split_once(['"', '\n']).map(|(literal, _)| literal))
    }

    fn names(sentence: &str) -> BTreeSet<&str> {
        let parts = sentence.split('{').skip(1);
        parts
            .filter_map(|part| Some(part.split_once('}')?.0))
            .collect()
    }

    #[test]
    fn every_sentence_with_values_is_known_in_chinese() {
        let code = text_of("src/report");
        let examples = include_str!("language.rs");
        let templates = text_of("templates");
        let said = literals(&code, "say!(").chain(literals(&templates, "say("));
        let missing: Vec<&str> = said
            .filter(|sentence| sentence.bytes().any(|letter| letter.is_ascii_lowercase()))
            // Those of this file are examples.
            .filter(|sentence| !CHINESE.contains_key(*sentence) && !examples.contains(*sentence))
            .collect();
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn a_sentence_has_the_same_values_in_both_languages() {
        for (english, chinese) in CHINESE.iter() {
            assert_eq!(names(english), names(chinese), "{english}");
        }
    }

    #[test]
    fn every_sentence_that_is_translated_is_still_said() {
        let code = [
            "src/report",
            "src/analyze/uncertainty",
            "templates",
            "queries",
        ]
        .map(text_of);
        let unused: Vec<&String> = CHINESE
            .keys()
            .filter(|english| !code.iter().any(|text| text.contains(*english)))
            .collect();
        assert_eq!(unused, [""; 0]);
    }

    #[test]
    fn a_chinese_report_lacks_no_sentence() {
        let options = PageOptions {
            language: Language::Chinese,
            ..PageOptions::default()
        };
        for (name, mut analysis) in all() {
            for table in &mut analysis.tables {
                let mut known = CATALOG.iter().filter(|query| query.name == table.name);
                table.purpose = known
                    .next()
                    .map_or_else(String::new, |query| query.purpose.clone());
            }
            let page = html(&analysis, &options).unwrap();
            assert!(page.contains("<html lang=\"zh-Hans\">"), "{name}");
            markdown(&analysis, &options).unwrap();
        }
        assert_eq!(MISSED.take(), BTreeSet::new());
        assert_eq!(spoken(), Language::English);
    }

    #[test]
    fn values_stand_where_a_sentence_names_them() {
        let (few, many) = (1, "lots of {braces}");
        let sentence = "{many} before {few}, {many} after {other}";
        assert_eq!(
            filled(sentence, &[("few", &few), ("many", &many)]),
            "lots of {braces} before 1, lots of {braces} after other"
        );
        assert_eq!(filled("none {", &[]), "none ");
        Language::Chinese.speaking(|| {
            assert_eq!(say!("{n} warnings", n = 2 + 1), "3 条警告");
            assert_eq!(said("a word that nobody knows"), "a word that nobody knows");
        });
        MISSED.take();
        assert_eq!(say!("{n} warnings", n = 3), "3 warnings");
    }

    #[test]
    fn the_language_comes_back_after_a_panic() {
        let caught = std::panic::catch_unwind(|| {
            Language::Chinese.speaking(|| panic!("as a test"));
        });
        assert!(caught.is_err());
        assert_eq!(spoken(), Language::English);
    }
}
