//! Makes the prompts of a file: draws what each is to be, and sees that no two are equal.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::error::WorkloadError;
use super::super::tokenizer::Tokenizer;
use super::compose::Scene;
use super::count::Counter;
use super::fit::{Fillers, Wanted, fit};
use super::pattern::{Pattern, PromptLanguage, TokenRange, impossible};
use super::texts::library;
use crate::draw::{Draw, field, hash_text};
use crate::runtime::{cores, in_parallel};

/// Prompts that are made between two looks at whether the user wants to stop, a core.
const BATCH: usize = 32;

/// Times that a prompt is made anew because an earlier one is equal.
const ATTEMPTS: u64 = 100;

/// What prompts to make.
#[derive(Debug, Clone)]
pub struct PromptSettings {
    /// Patterns, each once; prompts of them come in turn.
    pub patterns: Vec<Pattern>,
    /// Prompts of each pattern.
    pub count: u64,
    /// Languages, each once; prompts of them come in turn.
    pub languages: Vec<PromptLanguage>,
    /// Lengths of prompts; by default those of the pattern.
    pub input_tokens: Option<TokenRange>,
    /// Lengths of answers; by default those of the pattern.
    pub output_tokens: Option<TokenRange>,
    /// Seed of every draw.
    pub seed: u64,
    /// Counts tokens; they are estimated where there is none.
    pub tokenizer: Option<Arc<Tokenizer>>,
}

/// A prompt of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadePrompt {
    /// Its pattern.
    pub pattern: Pattern,
    /// What it is about.
    pub domain: &'static str,
    /// Its language.
    pub language: PromptLanguage,
    /// The text.
    pub text: String,
    /// Its length in tokens, counted or estimated.
    pub input_tokens: u32,
    /// The length that was drawn for it.
    pub wanted_tokens: u32,
    /// Length of its answer, in tokens.
    pub output_tokens: u32,
}

/// Makes prompts, batch after batch.
#[derive(Debug)]
pub struct PromptMaker {
    settings: PromptSettings,
    counter: Counter,
    /// Of long and of short answers, by language.
    fillers: Vec<(PromptLanguage, [Fillers; 2])>,
    /// Prompts that are made.
    made: u64,
    /// Hashes of their texts.
    seen: HashSet<u64>,
}

impl PromptMaker {
    /// Gets ready to make prompts.
    ///
    /// # Errors
    ///
    /// The tokenizer can't count them.
    pub fn new(settings: PromptSettings) -> Result<Self, WorkloadError> {
        let counter = settings
            .tokenizer
            .clone()
            .map_or(Counter::Estimate, Counter::Exact);
        let of = |language: PromptLanguage, section: &'static str| {
            let (_, texts) = library().domain(0, language);
            let wishes = (0..texts.count(section)).filter_map(|at| texts.entry(section, at));
            Fillers::measure(&counter, language, wishes)
        };
        let languages = settings.languages.iter();
        let fillers = languages.map(|&language| {
            let both = [of(language, "filler_long")?, of(language, "filler_short")?];
            Ok((language, both))
        });
        let fillers = fillers.collect::<Result<_, WorkloadError>>()?;
        Ok(Self {
            settings,
            counter,
            fillers,
            made: 0,
            seen: HashSet::new(),
        })
    }

    /// Says whether lengths are counted, and not estimated.
    pub fn is_exact(&self) -> bool {
        matches!(self.counter, Counter::Exact(_))
    }

    /// Makes the next prompts, on all cores; none at the end.
    ///
    /// # Errors
    ///
    /// A length that no prompt can have, or more prompts than there are different ones.
    pub fn next_batch(&mut self) -> Result<Vec<MadePrompt>, WorkloadError> {
        let patterns = self.settings.patterns.len() as u64;
        let left = (self.settings.count.saturating_mul(patterns)).saturating_sub(self.made);
        let size = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(BATCH * cores());
        let mut batch = Vec::with_capacity(size);
        let made = in_parallel(size, |at| self.make(self.made + at as u64, 0));
        for (number, made) in (self.made..).zip(made) {
            let mut made = made?;
            let mut attempt = 1;
            while !self.seen.insert(hash_text(&made.text)) {
                if attempt == ATTEMPTS {
                    return Err(impossible(format!(
                        "no further prompt of pattern `{}` and {} tokens differs from the {} before \
                         it: ask for fewer with `--count`, or for other lengths with `--input-tokens`",
                        made.pattern.name(),
                        made.wanted_tokens,
                        batch.len() as u64 + self.made
                    )));
                }
                made = self.make(number, attempt)?;
                attempt += 1;
            }
            batch.push(made);
        }
        self.made += batch.len() as u64;
        Ok(batch)
    }

    /// Makes one prompt; other words for another attempt.
    fn make(&self, number: u64, attempt: u64) -> Result<MadePrompt, WorkloadError> {
        let PromptSettings {
            patterns,
            languages,
            seed,
            ..
        } = &self.settings;
        let nth = |of: usize| usize::try_from(number % of as u64).unwrap_or(0);
        let pattern = patterns[nth(patterns.len())];
        let index = number / patterns.len() as u64;
        let seed = Draw::new(*seed, pattern as u64, field::PROMPTS_PATTERN).next();
        let mut lengths = Draw::new(seed, index, field::PROMPTS_LENGTH);
        let mut drawn = |range: TokenRange| {
            let above = lengths.below(u64::from(range.most - range.least) + 1);
            range.least + u32::try_from(above).unwrap_or(0)
        };
        let wanted_tokens = drawn(self.settings.input_tokens.unwrap_or(pattern.input_tokens()));
        let output_tokens = drawn(
            self.settings
                .output_tokens
                .unwrap_or(pattern.output_tokens()),
        );
        let at = usize::try_from(index % languages.len() as u64).unwrap_or(0);
        let (language, fillers) = &self.fillers[at];
        // All domains come before one comes again, and which is first is drawn.
        let shift = Draw::new(seed, 0, field::PROMPTS_DOMAIN).below(library().domains() as u64);
        let turn = (index / languages.len() as u64).wrapping_add(shift);
        let turn = usize::try_from(turn % library().domains() as u64).unwrap_or(0);
        let (domain, texts) = library().domain(turn, *language);
        let words_seed = Draw::new(seed, attempt, field::PROMPTS_ATTEMPT).next();
        let draw = Draw::new(words_seed, index, field::PROMPTS_WORDS);
        let scene = Scene::new(texts, *language, output_tokens, draw);
        let wanted = Wanted {
            pattern,
            tokens: wanted_tokens,
        };
        let fillers = &fillers[usize::from(!pattern.has_long_answer())];
        let fitted = fit(&scene, &self.counter, fillers, wanted)?;
        let fitted = fitted.map_err(|shortest| {
            impossible(format!(
                "a prompt of pattern `{}` can't be as short as {wanted_tokens} tokens, the shortest of \
                 {} that were tried had {shortest}: raise `--input-tokens`",
                pattern.name(),
                super::fit::DRAFTS
            ))
        })?;
        Ok(MadePrompt {
            pattern,
            domain,
            language: *language,
            text: fitted.text,
            input_tokens: fitted.tokens,
            wanted_tokens,
            output_tokens,
        })
    }
}
