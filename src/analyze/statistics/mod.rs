//! How surely a number is known, and whether two of them differ.
//!
//! SQL counts what each block of time brought (`queries/block_latencies.sql`, `block_rates.sql`);
//! here blocks are drawn again and again, which SQL cannot do the same way twice.

mod bootstrap;
mod difference;
mod pair;
mod series;
#[cfg(test)]
mod tests;

pub(super) use bootstrap::{
    Drawing, FEWEST_BLOCKS, Grouped, InsufficientData, Sampled, Spread, group,
};
pub(super) use difference::{ALARM, Difference, Raised, Side, difference, holm};
pub(super) use pair::Pair;
pub(super) use series::{Bin, Block, Scale, Series, Statistic, count};
