//! The word lists and templates that prompts are made of, by language and domain.
//!
//! A file has sections: a name in brackets, then an entry a line. An entry with `{{ }}` is a
//! template; what stands in the braces is another section, whose entries fit there:
//! in English, `unit`, `system`, `rule` and `measure` have their article, `item`, `reader` and
//! `problem` stand without, and `action` is the infinitive.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use minijinja::{Environment, UndefinedBehavior, Value};

use super::pattern::PromptLanguage;

/// The entries of a file, by section.
pub(super) type Sections = BTreeMap<&'static str, Vec<&'static str>>;

/// What prompts of one domain in one language are made of.
#[derive(Debug)]
pub(super) struct Texts {
    /// Of the domain.
    own: Sections,
    /// Of all domains.
    common: &'static Sections,
}

impl Texts {
    /// Returns how many entries a section has; 0 where there is none.
    pub(super) fn count(&self, section: &str) -> usize {
        let of = |sections: &Sections| sections.get(section).map_or(0, Vec::len);
        of(&self.own) + of(self.common)
    }

    /// Returns an entry of a section: those of the domain come first.
    pub(super) fn entry(&self, section: &str, at: usize) -> Option<&'static str> {
        let own = self.own.get(section).map_or(&[][..], Vec::as_slice);
        let common = self.common.get(section).map_or(&[][..], Vec::as_slice);
        own.iter().chain(common).nth(at).copied()
    }
}

/// All texts.
#[derive(Debug)]
pub(super) struct Library {
    /// By domain, each with its name and its texts in the order of [`PromptLanguage::ALL`].
    domains: Vec<(&'static str, [Texts; 2])>,
    /// Templates, each under its own text as its name.
    templates: Environment<'static>,
}

/// Reads the texts of this program, once.
pub(super) fn library() -> &'static Library {
    static LIBRARY: LazyLock<Library> = LazyLock::new(Library::read);
    &LIBRARY
}

/// Declares domains by the names of their files.
macro_rules! domains {
    ($($name:literal),* $(,)?) => {
        &[$(($name, [
            include_str!(concat!("en/", $name, ".txt")),
            include_str!(concat!("zh/", $name, ".txt")),
        ])),*]
    };
}

const DOMAINS: &[(&str, [&str; 2])] = domains![
    "law",
    "medicine",
    "finance",
    "software",
    "education",
    "retail",
    "energy",
    "logistics",
    "manufacturing",
    "agriculture",
    "insurance",
    "travel",
    "housing",
    "telecom",
];

static COMMON: LazyLock<[Sections; 2]> =
    LazyLock::new(|| [include_str!("en/common.txt"), include_str!("zh/common.txt")].map(sections));

impl Library {
    fn read() -> Self {
        let texts = |at: usize, text| Texts {
            own: sections(text),
            common: &COMMON[at],
        };
        let domains: Vec<_> = DOMAINS
            .iter()
            .map(|(name, [en, zh])| (*name, [texts(0, en), texts(1, zh)]))
            .collect();
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        let own = domains.iter().flat_map(|(_, texts)| texts);
        let all = own.map(|texts| &texts.own).chain(COMMON.iter());
        for entry in all.flat_map(BTreeMap::values).flatten() {
            templates
                .add_template(entry, entry)
                .expect("the templates of this program are well-formed, as a test says");
        }
        Self { domains, templates }
    }

    /// Returns how many domains there are.
    pub(super) fn domains(&self) -> usize {
        self.domains.len()
    }

    /// Returns the name of a domain and its texts in a language, for any number.
    pub(super) fn domain(&self, at: usize, language: PromptLanguage) -> (&'static str, &Texts) {
        let (name, [english, chinese]) = &self.domains[at % self.domains.len()];
        let texts = match language {
            PromptLanguage::English => english,
            PromptLanguage::Chinese => chinese,
        };
        (name, texts)
    }

    /// Fills a template, an entry of these texts, with values.
    pub(super) fn render(&self, entry: &str, values: &Value) -> String {
        let template = self.templates.get_template(entry);
        template
            .and_then(|template| template.render(values))
            .expect("every slot of this program's templates has a section, as a test says")
    }
}

/// Reads a file of sections.
fn sections(text: &'static str) -> Sections {
    let mut sections = Sections::new();
    let mut section = "";
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let name = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match name {
            Some(name) => section = name,
            None => sections.entry(section).or_default().push(line),
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_domain_has_the_same_sections_in_both_languages() {
        let expected = [
            "action", "item", "label", "measure", "org", "problem", "reader", "rule", "sentence",
            "system", "topic", "unit",
        ];
        assert!(library().domains() >= 12);
        for at in 0..library().domains() {
            for language in PromptLanguage::ALL {
                let (name, texts) = library().domain(at, language);
                let found: Vec<&str> = texts.own.keys().copied().collect();
                assert_eq!(found, expected, "{name} {}", language.name());
                for (section, entries) in &texts.own {
                    let distinct: BTreeSet<&&str> = entries.iter().collect();
                    assert_eq!(distinct.len(), entries.len(), "{name} {section}");
                    assert!(entries.len() >= 3, "{name} {section}");
                }
            }
        }
        let [english, chinese] = &*COMMON;
        assert_eq!(
            english.keys().collect::<Vec<_>>(),
            chinese.keys().collect::<Vec<_>>()
        );
    }

    #[test]
    fn chinese_texts_are_chinese_and_english_ones_are_not() {
        let is_chinese =
            |text: &str| text.contains(|letter| ('\u{4e00}'..='\u{9fff}').contains(&letter));
        for at in 0..library().domains() {
            let (_, english) = library().domain(at, PromptLanguage::English);
            assert!(!english.own.values().flatten().any(|text| is_chinese(text)));
            let (_, chinese) = library().domain(at, PromptLanguage::Chinese);
            assert!(chinese.own.values().flatten().all(|text| is_chinese(text)));
        }
    }
}
