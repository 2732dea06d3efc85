//! Composes prompts: draws words for the slots of templates, and puts sentences together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::Value;
use minijinja::value::Object;

use super::pattern::{Pattern, PromptLanguage};
use super::texts::{Texts, library};
use crate::draw::Draw;

/// Sentences of a paragraph at least, and how many more there may be.
const PARAGRAPH: (u64, u64) = (4, 3);

/// What one prompt is about; sentences are asked of it.
pub(super) struct Scene {
    language: PromptLanguage,
    words: Arc<Words>,
    values: Value,
}

/// A prompt that is being put together.
pub(super) struct Draft {
    language: PromptLanguage,
    /// What it begins with: the question, or the lead, the title and the first sentence of a document.
    pub(super) head: String,
    /// Sentences of the document, or further wishes, with what stands before each.
    pub(super) body: Vec<String>,
    /// The task after a document; empty where there is none.
    pub(super) task: String,
    /// Further wishes at the end.
    pub(super) fillers: Vec<&'static str>,
    /// Sentences until the next paragraph begins.
    left_in_paragraph: u64,
}

impl Draft {
    /// Returns the whole text.
    pub(super) fn text(&self) -> String {
        let mut text = self.head.clone();
        for sentence in &self.body {
            text.push_str(sentence);
        }
        text.push_str(&self.task);
        for filler in &self.fillers {
            text.push_str(self.language.space());
            text.push_str(filler);
        }
        text
    }
}

impl Scene {
    /// Begins a prompt on a domain of an answer that is to have so many tokens.
    pub(super) fn new(
        texts: &'static Texts,
        language: PromptLanguage,
        output_tokens: u32,
        draw: Draw,
    ) -> Self {
        let words = Arc::new(Words {
            texts,
            language,
            output_tokens,
            state: Mutex::new(State {
                draw,
                decks: BTreeMap::new(),
                fixed: BTreeMap::new(),
            }),
        });
        Self {
            language,
            values: Value::from_dyn_object(Arc::clone(&words)),
            words,
        }
    }

    /// Returns its language.
    pub(super) fn language(&self) -> PromptLanguage {
        self.language
    }

    /// Draws what cannot be left out of a prompt.
    pub(super) fn draft(&self, pattern: Pattern, has_length: bool) -> Draft {
        let space = self.language.space();
        let (head, task) = if pattern.has_document() {
            let head = [
                self.sentence("lead"),
                self.sentence("title"),
                self.sentence("opening"),
            ];
            let section = if pattern.has_long_answer() {
                "task_long"
            } else {
                "task_short"
            };
            (head.join("\n\n"), format!("\n\n{}", self.sentence(section)))
        } else {
            (self.sentence("ask"), String::new())
        };
        let mut draft = Draft {
            language: self.language,
            head,
            body: Vec::new(),
            task,
            fillers: Vec::new(),
            left_in_paragraph: PARAGRAPH.0,
        };
        if has_length && pattern.has_long_answer() {
            let end = if pattern.has_document() {
                &mut draft.task
            } else {
                &mut draft.head
            };
            end.push_str(space);
            end.push_str(&self.sentence("length"));
        }
        draft
    }

    /// Draws a sentence for the body, with what stands before it.
    pub(super) fn next_of_body(&self, pattern: Pattern, draft: &Draft) -> String {
        if !pattern.has_document() {
            return format!("{}{}", self.language.space(), self.sentence("requirement"));
        }
        let before = if draft.left_in_paragraph == 0 {
            "\n\n"
        } else {
            self.language.space()
        };
        format!("{before}{}", self.sentence("sentence"))
    }

    /// Adds a sentence to the body.
    pub(super) fn push(&self, draft: &mut Draft, sentence: String) {
        draft.left_in_paragraph = match draft.left_in_paragraph {
            0 => PARAGRAPH.0 - 1 + self.words.below(PARAGRAPH.1),
            left => left - 1,
        };
        draft.body.push(sentence);
    }

    /// Draws a number below another.
    pub(super) fn below(&self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.words.below(bound)).unwrap_or(0)
    }

    /// Draws a sentence of a section.
    fn sentence(&self, section: &'static str) -> String {
        let template = self.words.next(section).unwrap_or_default();
        let text = library().render(template, &self.values);
        let mut rest = text.chars();
        match rest.next() {
            Some(first) if first.is_ascii_lowercase() => {
                format!("{}{}", first.to_ascii_uppercase(), rest.as_str())
            }
            _ => text,
        }
    }
}

/// The words of a scene, drawn when a template asks for them.
#[derive(Debug)]
struct Words {
    texts: &'static Texts,
    language: PromptLanguage,
    output_tokens: u32,
    /// Of the one thread that composes the prompt: the template engine wants to be able to share it.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    draw: Draw,
    decks: BTreeMap<&'static str, Deck>,
    /// What stays the same all through a prompt.
    fixed: BTreeMap<&'static str, String>,
}

/// Entries of a section in the order in which they come: none comes again before all have come, and
/// none comes twice in a row.
#[derive(Debug, Default)]
struct Deck {
    left: Vec<usize>,
    last: Option<usize>,
}

impl Deck {
    /// Draws one of so many entries; none where there are none.
    fn next(&mut self, entries: usize, draw: &mut Draw) -> Option<usize> {
        let is_new_round = self.left.is_empty();
        if is_new_round {
            let last = self.last.filter(|_| entries > 1);
            self.left
                .extend((0..entries).filter(|at| Some(*at) != last));
        }
        let left = u64::try_from(self.left.len()).ok()?;
        let at = usize::try_from(draw.below(left)).ok()?;
        let drawn = (at < self.left.len()).then(|| self.left.swap_remove(at))?;
        if is_new_round && entries > 1 {
            self.left.extend(self.last);
        }
        self.last = Some(drawn);
        Some(drawn)
    }
}

impl Words {
    fn below(&self, bound: u64) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.draw.below(bound)
    }

    /// Draws an entry of a section; none where there is no such section.
    fn next(&self, section: &'static str) -> Option<&'static str> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { draw, decks, .. } = &mut *state;
        let deck = decks.entry(section).or_default();
        let entry = deck.next(self.texts.count(section), draw)?;
        self.texts.entry(section, entry)
    }

    /// Returns what a prompt has one of.
    fn fixed(&self, slot: &'static str) -> Option<String> {
        let known = |words: &Self| {
            let state = words.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.fixed.get(slot).cloned()
        };
        if let Some(known) = known(self) {
            return Some(known);
        }
        let drawn = match slot {
            "org" => format!(
                "{}{}{}",
                self.next("name")?,
                self.language.space(),
                self.next("org")?
            ),
            "now" => (2021 + self.below(5)).to_string(),
            _ => self.next(slot)?.to_owned(),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.fixed.insert(slot, drawn.clone());
        Some(drawn)
    }

    /// Returns about how many words or characters the answer is to have.
    fn length(&self) -> u32 {
        let tokens = self.output_tokens;
        // A token of English is about three quarters of a word, one of Chinese a character and a half.
        let (about, step) = match self.language {
            PromptLanguage::English => (tokens / 4 * 3, 10),
            PromptLanguage::Chinese => (tokens / 2 * 3, 50),
        };
        (about / step).max(1) * step
    }
}

impl Object for Words {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let from = |least: u64, count: u64| Some(Value::from(least + self.below(count)));
        let word = |section| self.next(section).map(Value::from);
        match key.as_str()? {
            "words" => Some(Value::from(self.length())),
            "percent" => from(2, 47),
            "count" => from(11, 980),
            "few" => from(2, 8),
            "day" => from(1, 28),
            "year" => from(2014, 7),
            "now" => self.fixed("now").map(Value::from),
            "amount" => from(12, 900),
            "org" => self.fixed("org").map(Value::from),
            "topic" => self.fixed("topic").map(Value::from),
            "kind" => self.fixed("kind").map(Value::from),
            "place" => word("place"),
            "person" => word("person"),
            "month" => word("month"),
            "genre" => word("genre"),
            "adjective" => word("adjective"),
            "aspect" => word("aspect"),
            "unit" => word("unit"),
            "reader" => word("reader"),
            "item" => word("item"),
            "measure" => word("measure"),
            "problem" => word("problem"),
            "action" => word("action"),
            "system" => word("system"),
            "rule" => word("rule"),
            "label" => word("label"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(domain: usize, language: PromptLanguage, seed: u64) -> Scene {
        let (_, texts) = library().domain(domain, language);
        Scene::new(texts, language, 400, Draw::new(seed, 0, 0))
    }

    /// Every entry that is a template is filled once: a slot without a section would fail.
    #[test]
    fn every_template_renders_and_leaves_no_braces() {
        let sections = [
            "ask",
            "length",
            "requirement",
            "lead",
            "title",
            "opening",
            "sentence",
            "task_long",
            "task_short",
        ];
        for domain in 0..library().domains() {
            for language in PromptLanguage::ALL {
                let scene = scene(domain, language, 3);
                for section in sections {
                    for _ in 0..scene.words.texts.count(section) {
                        let text = scene.sentence(section);
                        let is_whole = !text.is_empty() && !text.contains(['{', '}']);
                        assert!(is_whole && !text.contains("  "), "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn words_come_again_only_when_all_have_come() {
        let scene = scene(0, PromptLanguage::English, 1);
        let count = scene.words.texts.count("month");
        let mut months: Vec<&str> = (0..count)
            .filter_map(|_| scene.words.next("month"))
            .collect();
        months.sort_unstable();
        months.dedup();
        assert_eq!(months.len(), 12);
        let later: Vec<_> = (0..99)
            .map(|_| scene.words.next("month").unwrap())
            .collect();
        assert!(later.windows(2).all(|two| two[0] != two[1]));
        assert!(scene.words.next("no such section").is_none());
    }

    #[test]
    fn a_document_keeps_to_one_organisation() {
        for language in PromptLanguage::ALL {
            let scene = scene(3, language, 5);
            let org = scene.words.fixed("org").unwrap();
            assert_eq!(scene.words.fixed("org").unwrap(), org);
            let text: String = (0..60).map(|_| scene.sentence("sentence")).collect();
            assert!(text.contains(&org));
        }
    }
}
