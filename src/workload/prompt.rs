//! Makes prompts of an exact token length.

use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::draw::{Draw, field, hash_text};
use crate::trace::{BlockScope, TraceRow};

use super::tokenizer::Tokenizer;
use super::words::Words;

/// Rounds of measuring and correcting a prompt, where words are not one token each.
const ROUNDS_MAX: u32 = 64;

/// Makes prompts; the same for the same seed and salt, on any thread.
pub struct Workload {
    /// Measures prompts, where words are not one token each.
    tokenizer: Arc<Tokenizer>,
    /// Of lengths.
    seed: u64,
    /// Of words.
    words_seed: u64,
    /// Chosen when the first prompt is made.
    words: Arc<LazyWords>,
}

type LazyWords = LazyLock<Words, Box<dyn FnOnce() -> Words + Send>>;

impl fmt::Debug for Workload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Workload")
            .field("tokenizer", &self.tokenizer)
            .field("seed", &self.seed)
            .field("words_seed", &self.words_seed)
            .finish_non_exhaustive()
    }
}

/// What prompt a request has.
#[derive(Debug, Clone, Copy)]
pub struct PromptSpec<'a> {
    /// Index of the request.
    pub index: u64,
    /// Length of the prompt, in tokens.
    pub tokens: u32,
    /// Tokens at its start that all prompts share.
    pub shared_tokens: u32,
    /// Blocks at its start that some prompts share.
    pub blocks: Option<Blocks<'a>>,
}

/// Prefix blocks of a prompt: equal ids in one scope are equal text.
#[derive(Debug, Clone, Copy)]
pub struct Blocks<'a> {
    /// Ids, in the order of the prompt.
    pub ids: &'a [u64],
    /// Tokens in one block; the last may be cut by the prompt's end.
    pub size: u32,
    /// Tokens of each block, where they differ; empty where all have `size`.
    pub tokens: &'a [u32],
    /// Key of the scope inside which an id has meaning.
    pub scope: u64,
}

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The text.
    pub text: String,
    /// Its length under the workload's tokenizer; other than asked for only where no text of that
    /// length could be found.
    pub tokens: u32,
}

impl<'a> PromptSpec<'a> {
    /// Asks for a prompt that shares nothing.
    pub fn random(index: u64, tokens: u32) -> Self {
        Self {
            index,
            tokens,
            shared_tokens: 0,
            blocks: None,
        }
    }

    /// Asks for the prompt of a trace's row, with its blocks.
    pub fn of_row(index: u64, row: &'a TraceRow) -> Self {
        let scope = match (row.block_scope, &row.session_id) {
            (BlockScope::Trace, _) => 0,
            (BlockScope::File, _) => hash_text(&format!("file {}", row.file)),
            (BlockScope::Session, Some(session)) => hash_text(session),
            (BlockScope::Session, None) => hash_text(&format!("request {index}")),
        };
        let blocks = row.block_size.map(|size| Blocks {
            ids: &row.prefix_blocks,
            size,
            tokens: &row.block_tokens,
            scope,
        });
        Self {
            blocks,
            ..Self::random(index, row.input_tokens)
        }
    }
}

impl Workload {
    /// Makes prompts for `tokenizer`. The words for it are chosen when the first prompt is made, which takes a
    /// moment; for the embedded one they are known beforehand.
    pub fn new(tokenizer: &Arc<Tokenizer>, seed: u64) -> Self {
        let words_for = Arc::clone(tokenizer);
        let choose = move || match words_for.is_embedded() {
            true => Words::embedded(),
            false => Words::of(&words_for),
        };
        Self {
            tokenizer: Arc::clone(tokenizer),
            words: Arc::new(LazyWords::new(Box::new(choose))),
            seed,
            words_seed: seed,
        }
    }

    /// Changes the words of all prompts, and nothing else: a server that was sent the prompts of one
    /// salt has none of another's in its prefix cache.
    pub fn with_salt(self, salt: u64) -> Self {
        Self {
            words_seed: Draw::new(self.seed, salt, field::PROMPT_SALT).next(),
            ..self
        }
    }

    /// Makes other prompts than those of another part, of the same seed and salt.
    pub(super) fn of_part(&self, part: u64) -> Self {
        Self {
            tokenizer: Arc::clone(&self.tokenizer),
            words: Arc::clone(&self.words),
            seed: Draw::new(self.seed, part, field::PART_SEED).next(),
            words_seed: Draw::new(self.words_seed, part, field::PROMPT_SALT).next(),
        }
    }

    /// The seed of the run, of which lengths are drawn.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The seed of what is made up, which another salt makes another.
    pub(super) fn words_seed(&self) -> u64 {
        self.words_seed
    }

    /// Returns a prompt.
    pub fn prompt(&self, spec: PromptSpec<'_>) -> Prompt {
        // Seven bytes a word, as English has.
        let capacity = usize::try_from(spec.tokens).unwrap_or(0).saturating_mul(7);
        let mut text = Vec::with_capacity(capacity);
        let mut left = spec.tokens;
        let shared = spec.shared_tokens.min(left);
        if shared > 0 {
            let mut draw = Draw::new(self.words_seed_of(shared), 0, field::SHARED_PREFIX);
            self.words.append(&mut draw, shared, &mut text);
            left -= shared;
        }
        if let Some(blocks) = spec.blocks {
            left = self.append_blocks(blocks, left, &mut text);
        }
        let seed = self.words_seed_of(spec.tokens);
        let mut draw = Draw::new(seed, spec.index, field::PROMPT_WORDS);
        self.words.append(&mut draw, left, &mut text);
        let text = String::from_utf8(text).expect("the words are ASCII");
        match self.words.is_exact() {
            true => Prompt {
                text,
                tokens: spec.tokens,
            },
            false => self.fit(text, spec.tokens, draw),
        }
    }

    /// A longer text does not begin as a shorter one does, which a server may have in its cache.
    fn words_seed_of(&self, tokens: u32) -> u64 {
        Draw::new(self.words_seed, u64::from(tokens), field::PROMPT_LENGTH).next()
    }

    /// Appends blocks until `left` tokens are spent; returns what is left after them.
    fn append_blocks(&self, blocks: Blocks<'_>, mut left: u32, text: &mut Vec<u8>) -> u32 {
        let seed = Draw::new(self.words_seed, blocks.scope, field::BLOCK_SCOPE).next();
        for (at, &id) in blocks.ids.iter().enumerate() {
            let size = blocks.tokens.get(at).copied().unwrap_or(blocks.size);
            let size = size.min(left);
            if left == 0 {
                break;
            }
            let mut draw = Draw::new(seed, id, field::BLOCK_WORDS);
            self.words.append(&mut draw, size, text);
            left -= size;
        }
        left
    }

    /// Cuts or extends the end of a text until it is `wanted` tokens long.
    fn fit(&self, mut text: String, wanted: u32, mut draw: Draw) -> Prompt {
        let tokenizer = &*self.tokenizer;
        let mut tokens = tokenizer.count(&text).unwrap_or(0);
        for _ in 0..ROUNDS_MAX {
            if tokens == wanted {
                break;
            }
            if tokens > wanted {
                cut(&mut text, tokens, wanted);
            } else if wanted - tokens > 8 {
                // A word is hardly ever more than 8 tokens, so this does not overshoot.
                let mut bytes = text.into_bytes();
                self.words
                    .append(&mut draw, (wanted - tokens) / 8, &mut bytes);
                text = String::from_utf8(bytes).expect("the words are ASCII");
            } else if let Some(longer) = one_token_longer(tokenizer, &text, tokens) {
                text = longer;
            } else {
                break;
            }
            tokens = tokenizer.count(&text).unwrap_or(0);
        }
        Prompt { text, tokens }
    }
}

fn one_token_longer(tokenizer: &Tokenizer, text: &str, tokens: u32) -> Option<String> {
    [" a", "a", " the", " x", "x", ".", ",", " 1", "\n"]
        .iter()
        .map(|filler| format!("{text}{filler}"))
        .find(|longer| tokenizer.count(longer) == Some(tokens + 1))
}

/// Cuts a text in proportion to the tokens that it has too many, and by one character at least.
fn cut(text: &mut String, tokens: u32, wanted: u32) {
    let characters = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let keep = characters.saturating_mul(u64::from(wanted)) / u64::from(tokens.max(1));
    let keep = usize::try_from(keep).unwrap_or(0).min(text.len() - 1);
    // The text is ASCII: it is made of words and fillers.
    text.truncate(keep);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Write;
    use std::path::Path;
    use std::sync::{Arc, LazyLock};

    use crate::testing::shared_file;
    use crate::trace::{BlockScope, TraceRow};
    use crate::workload::dataset::Dataset;
    use crate::workload::random::{Random, RandomLengths};
    use crate::workload::{Tokenizer, WorkloadError};

    use super::{PromptSpec, Workload};

    static EMBEDDED: LazyLock<Workload> =
        LazyLock::new(|| Workload::new(&Arc::new(Tokenizer::embedded()), 1));

    fn random(lengths: RandomLengths) -> Random {
        let workload = Workload::new(&Arc::new(Tokenizer::embedded()), 1);
        Random::new(lengths, Arc::new(workload)).unwrap()
    }

    fn row(input_tokens: u32, blocks: &[u64]) -> TraceRow {
        TraceRow {
            input_tokens,
            output_tokens: 1,
            prefix_blocks: blocks.to_vec(),
            block_size: Some(16),
            ..TraceRow::default()
        }
    }

    fn check_exact_lengths(workload: &Workload, tokenizer: &Tokenizer) {
        for (index, tokens) in (0..=300).chain([1000, 2048, 5000]).enumerate() {
            let prompt = workload.prompt(PromptSpec::random(index as u64, tokens));
            assert_eq!(prompt.tokens, tokens);
            assert_eq!(tokenizer.count(&prompt.text), Some(tokens));
        }
    }

    #[test]
    fn embedded_prompts_are_exactly_as_long_as_asked_for() {
        assert!(EMBEDDED.words.is_exact());
        check_exact_lengths(&EMBEDDED, &Tokenizer::embedded());
    }

    #[test]
    fn embedded_prompts_of_a_data_set_and_of_a_trace_are_exactly_as_long() {
        let tokenizer = Arc::new(Tokenizer::open(None).unwrap());
        let lengths = RandomLengths {
            prefix_tokens: 30,
            ..RandomLengths::default()
        };
        let workload = Arc::new(Workload::new(&tokenizer, 1));
        let random = Random::new(lengths, Arc::clone(&workload)).unwrap();
        let row = row(100, &[1, 2, 3]);
        let of_data_set = random.request(0);
        let of_trace = workload.prompt(PromptSpec::of_row(0, &row));
        assert_eq!(tokenizer.count(&of_data_set.text), of_data_set.tokens);
        assert_eq!(tokenizer.count(&of_trace.text), Some(of_trace.tokens));
    }

    #[test]
    fn hugging_face_prompts_are_exactly_as_long_as_asked_for() {
        for name in ["qwen3", "gptoss"] {
            let Some(path) = shared_file(&format!("tokenizers/{name}/tokenizer.json.gz")) else {
                return;
            };
            let folder = path.parent().unwrap();
            let tokenizer = Arc::new(Tokenizer::load(folder).unwrap());
            let workload = Workload::new(&tokenizer, 1);
            assert!(workload.words.is_exact(), "{name}");
            check_exact_lengths(&workload, &tokenizer);
            let row = row(100, &[1, 2, 3]);
            let prompt = workload.prompt(PromptSpec::of_row(0, &row));
            assert_eq!(tokenizer.count(&prompt.text), Some(100));
        }
    }

    #[test]
    fn a_seed_means_the_same_prompt_in_every_version() {
        let lengths = RandomLengths {
            input_tokens: 12,
            prefix_tokens: 4,
            ..RandomLengths::default()
        };
        assert_eq!(
            random(lengths).request(2).text,
            "upgrade calls ble hip thank mw teams cert dia para comme dict pour geb du procedure"
        );
    }

    #[test]
    fn a_prompt_depends_on_seed_and_index_alone() {
        let other_seed = Workload::new(&Arc::new(Tokenizer::embedded()), 2);
        let mut seen = HashSet::new();
        for index in 0..1000 {
            let spec = PromptSpec::random(index, 20);
            let prompt = EMBEDDED.prompt(spec);
            assert_eq!(prompt, EMBEDDED.prompt(spec));
            assert_ne!(prompt, other_seed.prompt(spec));
            let start: Vec<&str> = prompt.text.split(' ').take(4).collect();
            assert!(seen.insert(start.join(" ")), "two prompts begin alike");
        }
    }

    #[test]
    fn prompts_of_another_length_or_salt_begin_otherwise() {
        let begins = |prompt: &str| prompt.split(' ').take(3).collect::<Vec<_>>().join(" ");
        let salted = |salt| Workload::new(&Arc::new(Tokenizer::embedded()), 1).with_salt(salt);
        let (one, two) = (salted(1), salted(2));
        let blocks = row(40, &[1, 2, 3]);
        let mut seen = HashSet::new();
        for workload in [&*EMBEDDED, &one, &two] {
            for tokens in [10, 20, 40] {
                let prompt = workload.prompt(PromptSpec::random(3, tokens)).text;
                assert!(seen.insert(begins(&prompt)), "{prompt}");
            }
            let prompt = workload.prompt(PromptSpec::of_row(3, &blocks)).text;
            assert!(seen.insert(begins(&prompt)), "{prompt}");
        }
        // Lengths, and with them the load, are those of the seed.
        let lengths = RandomLengths {
            range_ratio: 0.5,
            ..RandomLengths::default()
        };
        let lengths_of = |workload: Workload| {
            let random = Random::new(lengths.clone(), Arc::new(workload)).unwrap();
            let contents = (0..50).map(move |index| random.request(index));
            contents
                .map(|content| (content.tokens, content.output_tokens))
                .collect::<Vec<_>>()
        };
        assert_eq!(lengths_of(one), lengths_of(two));
    }

    #[test]
    fn equal_blocks_are_equal_text() {
        let text = |row: &TraceRow| EMBEDDED.prompt(PromptSpec::of_row(9, row)).text;
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        let one = words(&text(&row(48, &[1, 2, 3])));
        let two = words(&text(&row(48, &[1, 2, 4])));
        assert_eq!(one[..32], two[..32]);
        assert_ne!(one[32..], two[32..]);
        // A last block that is cut is the beginning of the whole one.
        let cut = words(&text(&row(40, &[1, 2, 3])));
        assert_eq!(cut[..], one[..40]);
        // What the blocks do not cover is the request's own.
        let floor = row(50, &[1, 2, 3]);
        let mine = words(&EMBEDDED.prompt(PromptSpec::of_row(1, &floor)).text);
        let yours = words(&EMBEDDED.prompt(PromptSpec::of_row(2, &floor)).text);
        assert_eq!(mine[..48], yours[..48]);
        assert_ne!(mine[48..], yours[48..]);
    }

    #[test]
    fn blocks_of_different_lengths_are_each_the_beginning_of_their_text() {
        let mut mixed = row(40, &[1, 7, 2]);
        mixed.block_tokens = vec![10, 24, 6];
        let words = |row: &TraceRow| -> Vec<String> {
            let text = EMBEDDED.prompt(PromptSpec::of_row(9, row)).text;
            text.split(' ').map(str::to_owned).collect()
        };
        let (mixed, first, second) = (words(&mixed), words(&row(16, &[1])), words(&row(16, &[2])));
        assert_eq!(mixed.len(), 40);
        assert_eq!(mixed[..10], first[..10]);
        assert_eq!(mixed[34..], second[..6]);
    }

    #[test]
    fn blocks_of_another_scope_are_other_text() {
        let mut one = row(16, &[1]);
        one.block_scope = BlockScope::Session;
        one.session_id = Some("a".to_owned());
        let mut two = one.clone();
        let text = |row: &TraceRow| EMBEDDED.prompt(PromptSpec::of_row(0, row)).text;
        assert_eq!(text(&one), text(&two));
        two.session_id = Some("b".to_owned());
        assert_ne!(text(&one), text(&two));
        two.block_scope = BlockScope::Trace;
        assert_ne!(text(&one), text(&two));
    }

    #[test]
    fn random_prompts_share_the_prefix_and_nothing_else() {
        let random = random(RandomLengths {
            input_tokens: 20,
            output_tokens: 5,
            range_ratio: 0.5,
            prefix_tokens: 30,
        });
        let prefix = |text: &str| -> String { text.split(' ').take(30).collect() };
        let first = random.request(0);
        assert_eq!(first.prefix_tokens, Some(0));
        for index in 1..100 {
            let prompt = random.request(index);
            assert_eq!(prompt.prefix_tokens, Some(30));
            assert!((40..=60).contains(&prompt.tokens.unwrap()));
            assert!((2..=8).contains(&prompt.output_tokens));
            assert_eq!(prefix(&prompt.text), prefix(&first.text));
            let mut own = prompt.text.split(' ').skip(30).take(3);
            assert!(!own.all(|word| first.text.split(' ').skip(30).any(|other| other == word)));
        }
    }

    /// A tokenizer in which every letter is a token, and a space is one too.
    const LETTERS: &str = r#"{
        "version": "1.0", "truncation": {"max_length": 5, "strategy": "LongestFirst", "stride": 0,
        "direction": "Right"}, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "?", "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": {"?": 0, " ": 1, "a": 2, "b": 3, "e": 4}, "merges": []}}"#;

    #[test]
    fn without_words_of_one_token_a_prompt_is_measured_and_corrected() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(LETTERS.as_bytes()).unwrap();
        let tokenizer = Arc::new(Tokenizer::load(file.path()).unwrap());
        let workload = Workload::new(&tokenizer, 1);
        assert!(!workload.words.is_exact());
        for (index, tokens) in (0..100).chain([1000]).enumerate() {
            let prompt = workload.prompt(PromptSpec::random(index as u64, tokens));
            assert_eq!(prompt.tokens, tokens);
            assert_eq!(
                tokenizer.count(&prompt.text),
                Some(tokens),
                "the file's truncation is not in force"
            );
        }
    }

    #[test]
    fn what_is_no_tokenizer_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let load = |path: &Path| Tokenizer::load(path).unwrap_err();
        let error = load(Path::new("Qwen/Qwen3-8B"));
        assert_eq!(
            error.to_string(),
            "tokenizer `Qwen/Qwen3-8B` does not exist"
        );
        assert!(error.hint().unwrap().contains("download"));
        assert!(matches!(
            load(folder.path()),
            WorkloadError::NoTokenizerInFolder { .. }
        ));
        let file = folder.path().join("tokenizer.json");
        std::fs::write(&file, "{}").unwrap();
        assert!(matches!(
            load(folder.path()),
            WorkloadError::BadTokenizer { .. }
        ));
        std::fs::write(&file, "version https://git-lfs.github.com/spec/v1").unwrap();
        assert!(load(&file).to_string().contains("Git LFS pointer"));
    }
}
