//! How far apart the times of a trace lie that its clock can tell: the quantum inside which rows with
//! equal times really came.

/// Gaps between different times that it takes to see a pattern in them.
const GAPS_MIN: usize = 8;
/// How much a gap may be off a multiple of the period, as one part of it.
const PERIOD_PART: i64 = 100;

/// Finds the quantum of a trace from the times of its first rows, in nanoseconds.
///
/// Where rows come in batches, two a time or more on average, and nearly all batches are a whole
/// number of periods apart, that is the period: Mooncake's conversations come about every 3 seconds,
/// though its clock tells milliseconds. Else it is the greatest step that all gaps are multiples of,
/// and at least what the format declares.
pub(super) fn quantum_ns(times_ns: &mut Vec<i64>, declared_ns: Option<i64>) -> i64 {
    let rows = times_ns.len();
    times_ns.sort_unstable();
    times_ns.dedup();
    let mut gaps: Vec<i64> = times_ns
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]))
        .collect();
    gaps.sort_unstable();
    let declared_ns = declared_ns.filter(|&ns| ns > 0);
    if gaps.len() < GAPS_MIN {
        return declared_ns.unwrap_or(1);
    }
    let median_ns = gaps[gaps.len() / 2];
    let is_batched = rows >= 2 * times_ns.len();
    let fitting = gaps.iter().filter(|&&gap| is_multiple(gap, median_ns));
    if is_batched && fitting.count() * 20 >= gaps.len() * 19 {
        return median_ns;
    }
    let step_ns = gaps.iter().fold(0, |step, &gap| greatest_step(step, gap));
    step_ns.max(declared_ns.unwrap_or(1))
}

/// Returns whether a gap is about a whole number of periods.
fn is_multiple(gap_ns: i64, period_ns: i64) -> bool {
    let periods = gap_ns.saturating_add(period_ns / 2) / period_ns;
    let off_ns = (gap_ns - periods.saturating_mul(period_ns)).abs();
    periods >= 1 && off_ns <= period_ns / PERIOD_PART
}

/// The greatest common divisor.
fn greatest_step(mut one: i64, mut other: i64) -> i64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::quantum_ns;

    const MS: i64 = 1_000_000;
    const SECOND: i64 = 1_000 * MS;

    #[test]
    fn batches_that_are_nearly_a_period_apart_have_that_period() {
        let jitter = [0, 2, -3, 1, 3, -1, 0, 2, -2, 1, 0];
        let mut times: Vec<i64> = jitter
            .iter()
            .chain(&jitter)
            .enumerate()
            .filter(|(batch, _)| *batch != 4)
            .flat_map(|(batch, off)| [(i64::try_from(batch).unwrap() * 3_000 + off) * MS; 3])
            .collect();
        let quantum = quantum_ns(&mut times, Some(MS));
        assert!((2_990 * MS..3_010 * MS).contains(&quantum), "{quantum}");
    }

    #[test]
    fn without_a_period_the_step_is_at_least_the_declared_one() {
        let mut times: Vec<i64> = (0..50).map(|row| row * row % 37 * SECOND).collect();
        assert_eq!(quantum_ns(&mut times, Some(SECOND)), SECOND);
    }

    #[test]
    fn the_greatest_step_of_all_gaps_is_found() {
        let mut times: Vec<i64> = (0..50).map(|row| row * row * 250 * MS).collect();
        assert_eq!(quantum_ns(&mut times.clone(), None), 250 * MS);
        assert_eq!(
            quantum_ns(&mut times, Some(MS)),
            250 * MS,
            "coarser than declared"
        );
        assert_eq!(quantum_ns(&mut vec![5, 5, 5], None), 1);
        assert_eq!(quantum_ns(&mut vec![], Some(7)), 7);
    }

    #[test]
    fn an_even_schedule_has_its_own_step() {
        let mut times: Vec<i64> = (0..50).map(|row| row * 100 * MS).collect();
        // It is spread all the same: nobody knows that the clock is not as coarse as that.
        assert_eq!(quantum_ns(&mut times, Some(1)), 100 * MS);
    }
}
