//! How often each session of a trace is taken, and how much later in each copy.

use crate::draw::{Draw, field};
use crate::trace::select::Selection;

/// How often each session is taken.
#[derive(Debug, Clone)]
pub(super) struct Copies {
    /// Copies of the trace, the last of which may be thinned.
    pub(super) count: u32,
    /// Which sessions the last one has; none where it has all.
    thinning: Option<Selection>,
}

impl Copies {
    /// Returns how often a factor above 0 takes sessions, by draws of `seed`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a factor is above 0 and far below the bound of the type"
    )]
    pub(super) fn of(rate_scale: f64, seed: u64) -> Self {
        let whole = rate_scale.floor();
        let share = rate_scale - whole;
        let thinning = (share > 0.0).then(|| Selection {
            sample: Some(share),
            seed,
            ..Selection::default()
        });
        Self {
            count: whole as u32 + u32::from(thinning.is_some()),
            thinning,
        }
    }

    /// Returns whether a session is in a copy; one without a name is known by its first row.
    pub(super) fn holds(&self, copy: u32, session: Option<&str>, first_number: u64) -> bool {
        let is_thinned = copy + 1 == self.count;
        match &self.thinning {
            Some(thinning) if is_thinned => thinning.is_sampled(session, first_number),
            _ => true,
        }
    }
}

/// Draws how much later each copy is: by even steps, each up to a quarter of a step off.
pub(super) fn shifts_ns(count: u32, step_ns: i64, seed: u64) -> Vec<i64> {
    let quarter = u64::try_from(step_ns / 4).unwrap_or(0);
    (0..count)
        .map(|copy| {
            if copy == 0 {
                return 0;
            }
            let mut draw = Draw::new(seed, u64::from(copy), field::COPY_SHIFT);
            let off = draw.below(2 * quarter + 1);
            let off_ns = i64::try_from(off).unwrap_or(0) - step_ns / 4;
            step_ns.saturating_mul(i64::from(copy)) + off_ns
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Copies, shifts_ns};

    #[test]
    fn a_factor_is_whole_copies_and_a_thinned_one() {
        assert_eq!(Copies::of(1.0, 0).count, 1);
        assert_eq!(Copies::of(3.0, 0).count, 3);
        let copies = Copies::of(2.5, 0);
        assert_eq!(copies.count, 3);
        let in_copy = |copy| {
            (0..1000)
                .filter(|&row| copies.holds(copy, None, row))
                .count()
        };
        assert_eq!((in_copy(0), in_copy(1)), (1000, 1000));
        // Five standard deviations of a binomial with n = 1000 and p = 0.5.
        assert!(in_copy(2).abs_diff(500) < 80);
        let thin = Copies::of(0.25, 0);
        assert_eq!(thin.count, 1);
        assert!((0..1000).any(|row| !thin.holds(0, None, row)));
    }

    proptest! {
        #[test]
        fn copies_keep_half_a_step_between_them(
            count in 2_u32..200,
            step_ns in 0_i64..100_000_000_000,
            seed in any::<u64>(),
        ) {
            let shifts = shifts_ns(count, step_ns, seed);
            prop_assert_eq!(shifts[0], 0);
            for pair in shifts.windows(2) {
                prop_assert!(pair[1] - pair[0] >= step_ns / 2);
            }
        }
    }
}
