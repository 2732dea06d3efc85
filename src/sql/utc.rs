//! Wall-clock columns: turns a time on a tape's own axis into UTC.
//!
//! A time uses the offset of the last anchor at or before it; a time before the first anchor uses
//! the first one. So a wall clock that is set in the middle of a run shows from the anchor on that
//! was taken when that was noticed, and never changes what came before; no latency is computed
//! from these columns. The rule needs no join: it becomes one `CASE` expression per column, a balanced
//! tree over the anchors, that costs nothing where the column is not asked for.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::{Expr, cast, lit, when};

use crate::capture::manifest::ClockAnchor;

/// Most branches in one column's expression, so that a day's anchors do not slow the planner.
const MOST_OFFSETS: usize = 64;

/// From when on an offset holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    /// Start on the tape's axis.
    from_ns: i64,
    /// What is added to get nanoseconds since 1970.
    add_ns: i64,
}

impl Offset {
    /// Returns the wall clock at a point on the tape's axis; `None` without anchors.
    pub(super) fn utc_ns(clock: &[Self], at_ns: i64) -> Option<i64> {
        let after = clock.partition_point(|offset| offset.from_ns <= at_ns);
        let offset = clock.get(after.saturating_sub(1))?;
        at_ns.checked_add(offset.add_ns)
    }
}

/// Returns the type of every `_utc` column.
pub(super) fn utc_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// Reduces anchors to the offsets that matter, in order of time.
///
/// An anchor that moves the clock by less than a tolerance is left out. The tolerance is 1 us,
/// doubled until at most 64 are left.
pub(super) fn offsets(anchors: &[ClockAnchor]) -> Vec<Offset> {
    let mut all: Vec<Offset> = anchors
        .iter()
        .map(|anchor| Offset {
            from_ns: anchor.monotonic_ns,
            add_ns: anchor.utc_ns.saturating_sub(anchor.monotonic_ns),
        })
        .collect();
    all.sort_by_key(|offset| offset.from_ns);
    let mut tolerance_ns = 1_000;
    loop {
        let mut kept: Vec<Offset> = Vec::new();
        for offset in &all {
            let moved_ns = kept.last().map(|last| last.add_ns.abs_diff(offset.add_ns));
            if moved_ns.is_none_or(|moved_ns| moved_ns > tolerance_ns) {
                kept.push(*offset);
            }
        }
        if kept.len() <= MOST_OFFSETS {
            return kept;
        }
        tolerance_ns = u64::saturating_mul(tolerance_ns, 2);
    }
}

/// Builds the expression that turns the point in time `at` into UTC; null without anchors.
///
/// # Errors
///
/// Passes on what DataFusion says of the expression.
pub(super) fn to_utc(at: Expr, offsets: &[Offset]) -> Result<Expr, DataFusionError> {
    if offsets.is_empty() {
        return Ok(lit(ScalarValue::TimestampNanosecond(
            None,
            Some("UTC".into()),
        )));
    }
    let sum = at.clone() + added(&at, offsets)?;
    Ok(cast(sum, utc_type()))
}

fn added(at: &Expr, offsets: &[Offset]) -> Result<Expr, DataFusionError> {
    let (before, after) = offsets.split_at(offsets.len() / 2);
    match after.first() {
        Some(first) if !before.is_empty() => {
            when(at.clone().lt(lit(first.from_ns)), added(at, before)?).otherwise(added(at, after)?)
        }
        Some(only) => Ok(lit(only.add_ns)),
        None => Ok(lit(0_i64)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Offset, offsets};
    use crate::capture::manifest::ClockAnchor;

    fn anchor(monotonic_ns: i64, add_ns: i64) -> ClockAnchor {
        ClockAnchor {
            monotonic_ns,
            utc_ns: monotonic_ns + add_ns,
        }
    }

    #[test]
    fn keeps_only_anchors_that_move_the_clock() {
        let anchors = [anchor(10, 5_000), anchor(0, 5_000), anchor(20, -9_000)];
        let expected =
            [(0, 5_000), (20, -9_000)].map(|(from_ns, add_ns)| Offset { from_ns, add_ns });
        assert_eq!(offsets(&anchors), expected);
    }

    #[test]
    fn a_clock_that_jumps_as_far_as_it_can_has_one_offset_left() {
        let jumping = (0..100).map(|at_ns| ClockAnchor {
            monotonic_ns: at_ns,
            utc_ns: if at_ns % 2 == 0 { i64::MAX } else { i64::MIN },
        });
        assert_eq!(offsets(&jumping.collect::<Vec<_>>()).len(), 1);
    }

    #[test]
    fn a_clock_that_is_set_changes_what_comes_after_and_nothing_before() {
        const S: i64 = 1_000_000_000;
        const HOUR_NS: i64 = 3_600 * S;
        for step_ns in [HOUR_NS, -HOUR_NS] {
            // Slewed a little all the time, and set at 14.95 s, which is noticed at 15 s.
            let slewed = |at_ns: i64| 7 * HOUR_NS + at_ns / 2_000;
            let before = [0, 10].map(|at_s| anchor(at_s * S, slewed(at_s * S)));
            let after = [15, 25, 35].map(|at_s| anchor(at_s * S, slewed(at_s * S) + step_ns));
            let clock = offsets(&[before.as_slice(), after.as_slice()].concat());
            let shown = |at_ns: i64| Offset::utc_ns(&clock, at_ns).unwrap();
            for at_ns in (-S..40 * S).step_by(100_000_000) {
                let step_ns = if at_ns < 15 * S { 0 } else { step_ns };
                let true_ns = at_ns + slewed(at_ns) + step_ns;
                let off_ns = shown(at_ns).abs_diff(true_ns);
                assert!(off_ns <= 5_000_000, "{off_ns} ns off at {at_ns} ns");
            }
            // Between two rows on the same side of it, the same time passes as on the tape's axis.
            assert_eq!(shown(14 * S) - shown(11 * S), 3 * S);
            assert_eq!(shown(20 * S) - shown(16 * S), 4 * S);
        }
    }

    #[test]
    fn bounds_the_number_of_offsets() {
        let anchors: Vec<_> = (0..8_640).map(|k| anchor(k * 10, k * 50_000)).collect();
        let kept = offsets(&anchors);
        assert!((1..=64).contains(&kept.len()), "{}", kept.len());
    }
}
