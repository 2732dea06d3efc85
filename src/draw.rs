//! The only source of randomness: counter-based draws.
//!
//! A draw is a pure function of (seed, request index, field). There is no shared generator whose
//! state depends on who asked first, so the same seed gives the same schedule and the same prompts
//! on any number of threads or machines, and request 7 can be made again without requests 0 to 6.
//!
//! The three numbers are absorbed one after the other with the finalizer of SplitMix64, a
//! bijection. Two different (index, field) pairs of one seed therefore never start from the same
//! state. From there xoshiro256++ gives as many words as the caller wants.

use std::convert::Infallible;

use rand::TryRng;

/// Names what a draw is for, so that two uses of one request's index never share words.
///
/// A number is never given to another use: that would change what an old seed means.
pub(crate) mod field {
    /// Time between one arrival and the next.
    pub(crate) const ARRIVAL_GAP: u64 = 1;
    /// Length of a prompt, in tokens.
    pub(crate) const INPUT_LENGTH: u64 = 3;
    /// Length of an answer, in tokens.
    pub(crate) const OUTPUT_LENGTH: u64 = 4;
    /// Words of a prompt's own part.
    pub(crate) const PROMPT_WORDS: u64 = 5;
    /// Words of the prefix that all prompts share.
    pub(crate) const SHARED_PREFIX: u64 = 6;
    /// Words of a prefix block.
    pub(crate) const BLOCK_WORDS: u64 = 7;
    /// Whether a session is in the sample.
    pub(crate) const SAMPLE: u64 = 8;
    /// Rows of the bundled sample traces, which a test makes.
    #[cfg(test)]
    pub(crate) const BUNDLED_TRACE: u64 = 9;
    /// Scope inside which a prefix block's id has meaning.
    pub(crate) const BLOCK_SCOPE: u64 = 10;
    /// Place of a row inside the quantum that its time stands for.
    pub(crate) const TIE: u64 = 31;
    /// How much later a copy of a trace is.
    pub(crate) const COPY_SHIFT: u64 = 11;
    /// Id of a prefix block in a copy of its session.
    pub(crate) const COPIED_BLOCK: u64 = 12;
    /// Id of a prefix block that another one is stretched to.
    pub(crate) const SCALED_BLOCK: u64 = 13;
    /// Choice and seed of one of ServeGen's clients.
    pub(crate) const SERVEGEN_CLIENT: u64 = 14;
    /// Time between one request of such a client and the next.
    pub(crate) const SERVEGEN_GAP: u64 = 15;
    /// A length of such a request.
    pub(crate) const SERVEGEN_LENGTH: u64 = 16;
    /// Seed of the words of prompts, where a run has a salt of its own.
    pub(crate) const PROMPT_SALT: u64 = 18;
    /// Seed of the words of prompts of one length.
    pub(crate) const PROMPT_LENGTH: u64 = 19;
    /// Place of a row of a data set in the order in which rows are sent.
    pub(crate) const DATASET_ROW: u64 = 20;
    /// The LoRA adapter that a request asks for.
    pub(crate) const ADAPTER: u64 = 22;
    /// Whether the client hangs up on a request.
    pub(crate) const HANG_UP: u64 = 21;
    /// Sound that is made up.
    pub(crate) const AUDIO: u64 = 24;
    /// How much sooner a request goes out again.
    pub(crate) const RETRY: u64 = 23;
    /// Order of the prefixes in a round of them.
    pub(crate) const PREFIX_ORDER: u64 = 25;
    /// Seed of the prompts of one pattern that are made of templates.
    pub(crate) const PROMPTS_PATTERN: u64 = 60;
    /// Lengths of such a prompt and of its answer.
    pub(crate) const PROMPTS_LENGTH: u64 = 61;
    /// Domain of the first of such prompts.
    pub(crate) const PROMPTS_DOMAIN: u64 = 62;
    /// Seed of the words of such prompts, which is another where an earlier prompt is equal.
    pub(crate) const PROMPTS_ATTEMPT: u64 = 63;
    /// Words of such a prompt.
    pub(crate) const PROMPTS_WORDS: u64 = 64;
    /// Lines of a text that a prompt has.
    pub(crate) const SONNET_LINES: u64 = 40;
    /// Part of a mix that a request is of.
    pub(crate) const DATASET_PART: u64 = 41;
    /// Seed of a part of a mix.
    pub(crate) const PART_SEED: u64 = 42;
    /// Number of turns of a conversation.
    pub(crate) const CONVERSATION_TURNS: u64 = 70;
    /// Lengths of the messages of a conversation.
    pub(crate) const CONVERSATION_LENGTH: u64 = 71;
    /// Lengths of the answers of a conversation.
    pub(crate) const CONVERSATION_OUTPUT: u64 = 72;
    /// Pauses of a conversation.
    pub(crate) const THINK_TIME: u64 = 73;
    /// Which of several system prompts a conversation has.
    pub(crate) const CONVERSATION_PREFIX: u64 = 74;
    /// Length of a prefix that conversations share.
    pub(crate) const PREFIX_LENGTH: u64 = 75;
    /// Length of what a conversation has before its first question, of its own.
    pub(crate) const OWN_PREFIX_LENGTH: u64 = 76;
    /// Which blocks of time a sample with replacement has.
    pub(crate) const RESAMPLE: u64 = 17;
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator that belongs to one field of one request.
///
/// Implements `rand`'s `Rng`, so distributions of `rand_distr` draw from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draw {
    state: [u64; 4],
}

impl Draw {
    /// Returns the generator of `field` of request `index` under `seed`.
    pub(crate) fn new(seed: u64, index: u64, field: u64) -> Self {
        let seed = mix(seed.wrapping_add(GOLDEN));
        let index = mix(seed ^ index.wrapping_add(GOLDEN));
        let field = mix(index ^ field.wrapping_add(GOLDEN));
        // Injective in (index, field), and never all zero, the one state that xoshiro stays in:
        // words 0 and 1 are two different inputs of a bijection.
        Self {
            state: [
                mix(field),
                mix(field.wrapping_add(GOLDEN)),
                mix(index ^ field.rotate_left(32)),
                mix(index.wrapping_add(GOLDEN)),
            ],
        }
    }

    /// Returns the next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Returns a number in `0..bound`, or 0 where the bound is 0.
    ///
    /// The high half of a 128-bit product: the bias is below `bound` in 2^64, far under what any
    /// number of requests could show.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).expect("the high half of 128 bits fits 64")
    }

    /// Returns a number in `0.0..1.0` with 53 random bits.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in a double")]
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl TryRng for Draw {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::try_from(self.next() >> 32).expect("the high half of 64 bits fits 32"))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        for part in into.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes()[..part.len()]);
        }
        Ok(())
    }
}

/// Returns a hash of a text that stays the same between versions and machines.
pub(crate) fn hash_text(text: &str) -> u64 {
    let fnv_1a = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv_1a)
}

/// The finalizer of SplitMix64: a bijection in which every input bit reaches every output bit.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::Rng;

    use super::{Draw, field, hash_text, mix};

    #[test]
    fn mix_is_the_finalizer_of_splitmix64() {
        // First outputs of the reference generator from state 1234567.
        let mut state = 1_234_567_u64;
        let outputs: Vec<u64> = (0..3)
            .map(|_| {
                state = state.wrapping_add(super::GOLDEN);
                mix(state)
            })
            .collect();
        assert_eq!(
            outputs,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn words_are_those_of_xoshiro256_plus_plus() {
        // First outputs of the reference generator from state 1, 2, 3, 4.
        let mut draw = Draw {
            state: [1, 2, 3, 4],
        };
        let words: Vec<u64> = (0..4).map(|_| draw.next()).collect();
        assert_eq!(
            words,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386
            ]
        );
    }

    #[test]
    fn same_seed_index_and_field_give_the_same_words() {
        let mut one = Draw::new(7, 100, field::PROMPT_WORDS);
        let mut two = Draw::new(7, 100, field::PROMPT_WORDS);
        assert!((0..100).all(|_| one.next() == two.next()));
    }

    #[test]
    fn every_seed_index_and_field_has_words_of_its_own() {
        let mut seen = HashSet::new();
        for seed in 0..10 {
            for index in 0..100 {
                for field in 0..10 {
                    assert!(seen.insert(Draw::new(seed, index, field).next()));
                }
            }
        }
    }

    #[test]
    fn bounded_draws_are_even() {
        let mut counts = [0_u32; 10];
        for index in 0..100_000 {
            let drawn = Draw::new(1, index, field::INPUT_LENGTH).below(10);
            counts[usize::try_from(drawn).unwrap()] += 1;
        }
        // Five standard deviations of a binomial with n = 100,000 and p = 0.1.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 475));
        assert_eq!(Draw::new(1, 1, 1).below(0), 0);
    }

    #[test]
    fn fractions_are_even_and_below_one() {
        let fractions: Vec<f64> = (0..100_000)
            .map(|index| Draw::new(3, index, field::ARRIVAL_GAP).fraction())
            .collect();
        assert!(fractions.iter().all(|value| (0.0..1.0).contains(value)));
        let mean = fractions.iter().sum::<f64>() / 100_000.0;
        // Five standard errors of a uniform mean.
        assert!((mean - 0.5).abs() < 0.0046, "mean {mean}");
    }

    #[test]
    fn rand_sees_the_same_words() {
        let mut plain = Draw::new(1, 2, 3);
        let mut through_rand = Draw::new(1, 2, 3);
        assert_eq!(plain.next(), through_rand.next_u64());
        let mut bytes = [0_u8; 11];
        through_rand.fill_bytes(&mut bytes);
        assert_eq!(bytes[..8], plain.next().to_le_bytes());
        assert_eq!(bytes[8..], plain.next().to_le_bytes()[..3]);
    }

    #[test]
    fn text_hashes_do_not_change_between_versions() {
        assert_eq!(hash_text("a"), mix(0xaf63_dc4c_8601_ec8c));
        assert_ne!(hash_text(""), hash_text("a"));
    }
}
