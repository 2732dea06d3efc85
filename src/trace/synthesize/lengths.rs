//! Scales the length of a prompt and the blocks that it is cut into: pure functions of one row.
//!
//! A block is mapped to as many blocks as its place in the prompt says, so that prompts which share
//! their first blocks share them afterwards too, and what was shared stays shared in the same measure.

use crate::draw::{Draw, field};
use crate::trace::decode::TOKENS_MAX;

/// Most blocks of one prompt after scaling, so that those of a batch of rows can be counted.
const BLOCKS_MAX: u64 = 1 << 17;

/// How a trace counts the blocks of a prompt whose last block is not full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    /// The last block counts.
    Up,
    /// It does not.
    Down,
}

/// A prompt's blocks before scaling, and what decides how many there are afterwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks<'a> {
    /// The ids, in order.
    pub(super) ids: &'a [u64],
    /// Tokens in a block, at least 1.
    pub(super) size: u32,
    /// Tokens of the prompt before scaling.
    pub(super) tokens_before: u32,
    /// Tokens of the prompt after scaling.
    pub(super) tokens_after: u32,
}

/// Scales a length in tokens, to at least 1; none where it is more than can be counted.
///
/// An unknown length, which only a failed request has, stays 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked before the cast"
)]
pub(super) fn scale_tokens(tokens: u32, factor: f64) -> Option<u32> {
    if tokens == 0 {
        return Some(0);
    }
    let scaled = (f64::from(tokens) * factor).round().max(1.0);
    (scaled <= f64::from(TOKENS_MAX)).then_some(scaled as u32)
}

/// Says which way a prompt's blocks are counted; none where they fit both ways or neither.
pub(super) fn rounding_of(tokens: u32, blocks: usize, size: u32) -> Option<Rounding> {
    let blocks = u64::try_from(blocks).unwrap_or(u64::MAX);
    let (up, down) = (ceil(tokens, size), floor(tokens, size));
    match (blocks == up, blocks == down) {
        (true, false) => Some(Rounding::Up),
        (false, true) => Some(Rounding::Down),
        _ => None,
    }
}

/// Scales a prompt's blocks; none where there would be more than [`BLOCKS_MAX`].
///
/// `salt` tells the new ids from those of any other trace.
pub(super) fn scale_blocks(
    blocks: Blocks<'_>,
    factor: f64,
    usual: Rounding,
    salt: u64,
) -> Option<Vec<u64>> {
    let wanted = wanted(blocks, factor, usual);
    if wanted > BLOCKS_MAX {
        return None;
    }
    let wanted = usize::try_from(wanted).ok()?;
    let mut scaled = Vec::with_capacity(wanted);
    let mut next_unit = 0;
    for (at, &id) in (0_u32..).zip(blocks.ids) {
        let units = place(u64::from(at) + 1, factor) - place(u64::from(at), factor);
        for unit in 0..units {
            if scaled.len() == wanted {
                return Some(scaled);
            }
            scaled.push(unit_id(id, unit, salt));
        }
        next_unit = units;
    }
    // Rounding left room at the end: the last block takes it.
    if let Some(&last) = blocks.ids.last() {
        while scaled.len() < wanted {
            scaled.push(unit_id(last, next_unit, salt));
            next_unit += 1;
        }
    }
    Some(scaled)
}

/// Returns how many blocks a scaled prompt has: counted as before where that is known.
fn wanted(blocks: Blocks<'_>, factor: f64, usual: Rounding) -> u64 {
    let Blocks {
        size,
        tokens_before,
        tokens_after,
        ..
    } = blocks;
    let count = u64::try_from(blocks.ids.len()).unwrap_or(u64::MAX);
    let fits = count == ceil(tokens_before, size) || count == floor(tokens_before, size);
    let rounding = rounding_of(tokens_before, blocks.ids.len(), size).unwrap_or(usual);
    match rounding {
        Rounding::Up if fits => ceil(tokens_after, size),
        Rounding::Down if fits => floor(tokens_after, size),
        // A list that covers only a part of its prompt covers the same part afterwards.
        _ => place(count, factor).min(ceil(tokens_after, size)),
    }
}

/// Returns where the block at `at` begins after scaling, in blocks.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a prompt has far fewer than 2^53 blocks, factors are bounded, and the cast saturates"
)]
fn place(at: u64, factor: f64) -> u64 {
    (at as f64 * factor).round() as u64
}

/// Returns the id of one of the blocks that `id` is mapped to; the first one keeps it.
fn unit_id(id: u64, unit: u64, salt: u64) -> u64 {
    if unit == 0 {
        return id;
    }
    new_id(id, unit, salt, field::SCALED_BLOCK)
}

/// Returns the id that the block `id` has in a copy of its session.
pub(super) fn copy_id(id: u64, copy: u32, salt: u64) -> u64 {
    if copy == 0 {
        return id;
    }
    new_id(id, u64::from(copy), salt, field::COPIED_BLOCK)
}

/// Makes an id, with its highest bit unset: not every reader of Parquet has unsigned numbers.
///
/// Two of them are equal by chance with a probability of about n² / 2^64 among n ids.
fn new_id(id: u64, which: u64, salt: u64, field: u64) -> u64 {
    Draw::new(salt.wrapping_add(which), id, field).next() >> 1
}

fn ceil(tokens: u32, size: u32) -> u64 {
    u64::from(tokens.div_ceil(size.max(1)))
}

fn floor(tokens: u32, size: u32) -> u64 {
    u64::from(tokens / size.max(1))
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "counts of a few blocks")]
mod tests {
    use proptest::prelude::*;

    use super::{Blocks, Rounding, TOKENS_MAX, copy_id, rounding_of, scale_blocks, scale_tokens};

    fn scaled(ids: &[u64], tokens: u32, factor: f64) -> Vec<u64> {
        let blocks = Blocks {
            ids,
            size: 512,
            tokens_before: tokens,
            tokens_after: scale_tokens(tokens, factor).unwrap(),
        };
        scale_blocks(blocks, factor, Rounding::Up, 7).unwrap()
    }

    #[test]
    fn lengths_are_rounded_and_never_0() {
        assert_eq!(scale_tokens(3, 0.5), Some(2));
        assert_eq!(scale_tokens(1, 0.001), Some(1));
        assert_eq!(scale_tokens(100, 1.0), Some(100));
        assert_eq!(scale_tokens(TOKENS_MAX, 1.0), Some(TOKENS_MAX));
        assert_eq!(scale_tokens(TOKENS_MAX, 1.1), None);
        assert_eq!(scale_tokens(0, 2.0), Some(0));
    }

    #[test]
    fn a_factor_of_one_changes_no_block() {
        assert_eq!(scaled(&[4, 8, 15], 1400, 1.0), [4, 8, 15]);
    }

    #[test]
    fn prompts_that_share_blocks_share_them_after_scaling() {
        let one = scaled(&[1, 2, 3, 40], 2000, 2.5);
        let two = scaled(&[1, 2, 3, 50, 51], 2500, 2.5);
        let shared = one.iter().zip(&two).take_while(|(a, b)| a == b).count();
        // Three blocks of two and a half each, half a block rounded up.
        assert_eq!(shared, 8);
        assert_eq!((one.len(), two.len()), (10, 13));
        let half = scaled(&[1, 2, 3, 40], 2000, 0.5);
        assert_eq!(half, [1, 3]);
    }

    #[test]
    fn a_list_that_covers_a_part_of_its_prompt_goes_on_to() {
        // 2 blocks of 10: neither way of counting.
        assert_eq!(scaled(&[1, 2], 5000, 2.0).len(), 4);
        assert_eq!(scaled(&[1, 2, 3, 4], 5000, 0.5).len(), 2);
        assert_eq!(scaled(&[], 5000, 2.0), [0_u64; 0]);
    }

    #[test]
    fn a_trace_that_leaves_the_last_block_out_goes_on_to() {
        assert_eq!(rounding_of(700, 1, 512), Some(Rounding::Down));
        assert_eq!(rounding_of(700, 2, 512), Some(Rounding::Up));
        assert_eq!(rounding_of(1024, 2, 512), None);
        assert_eq!(rounding_of(9000, 2, 512), None);
        assert_eq!(scaled(&[9], 700, 2.0).len(), 2);
        assert_eq!(scaled(&[9, 10], 700, 2.0).len(), 3);
    }

    #[test]
    fn a_list_of_too_many_blocks_is_refused() {
        let blocks = Blocks {
            ids: &[1],
            size: 1,
            tokens_before: 1,
            tokens_after: 2_000_000,
        };
        assert_eq!(scale_blocks(blocks, 2e6, Rounding::Up, 0), None);
    }

    #[test]
    fn a_copy_has_ids_of_its_own_and_the_first_one_the_old() {
        assert_eq!(copy_id(5, 0, 1), 5);
        assert_ne!(copy_id(5, 1, 1), copy_id(5, 2, 1));
        assert_ne!(copy_id(5, 1, 1), copy_id(5, 1, 2));
        assert!(copy_id(5, 1, 1) < 1 << 63);
    }

    proptest! {
        #[test]
        fn the_number_of_blocks_is_counted_as_before(
            tokens in 1_u32..200_000,
            size in 1_u32..2000,
            factor in 0.01_f64..5.0,
            rounds_up in any::<bool>(),
        ) {
            let rounding = if rounds_up { Rounding::Up } else { Rounding::Down };
            let count = |tokens: u32| match rounding {
                Rounding::Up => tokens.div_ceil(size),
                Rounding::Down => tokens / size,
            };
            let ids: Vec<u64> = (0..u64::from(count(tokens))).collect();
            let tokens_after = scale_tokens(tokens, factor).unwrap();
            let blocks = Blocks { ids: &ids, size, tokens_before: tokens, tokens_after };
            let Some(scaled) = scale_blocks(blocks, factor, rounding, 3) else {
                prop_assert!(count(tokens_after) > 1 << 17);
                return Ok(());
            };
            // Nothing can be made of a prompt that had no block.
            let expected = if ids.is_empty() { 0 } else { count(tokens_after) as usize };
            prop_assert_eq!(scaled.len(), expected);
            let distinct: std::collections::HashSet<u64> = scaled.iter().copied().collect();
            prop_assert_eq!(distinct.len(), scaled.len());
        }

        #[test]
        fn a_shared_start_is_scaled_alike(
            shared in 0_usize..40,
            (own, other) in (1_usize..40, 1_usize..40),
            factor in 0.1_f64..4.0,
        ) {
            let prompt = |own: usize, first: u64| -> Vec<u64> {
                let own = (0..own as u64).map(|id| first + id);
                (0..shared as u64).chain(own).collect()
            };
            let (one, two) = (prompt(own, 1000), prompt(other, 2000));
            let tokens = |ids: &[u64]| 512 * u32::try_from(ids.len()).unwrap();
            let one = scaled(&one, tokens(&one), factor);
            let two = scaled(&two, tokens(&two), factor);
            let common = one.iter().zip(&two).take_while(|(a, b)| a == b).count();
            let exact = shared as f64 * factor;
            let most = one.len().min(two.len()) as f64;
            prop_assert!((common as f64 - exact.min(most)).abs() <= 1.0, "{} of {}", common, exact);
        }
    }
}
