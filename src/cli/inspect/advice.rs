//! What to know before a trace is replayed, and before its numbers are believed.

use super::numbers::{count, fine, float};
use crate::report::format::trimmed;
use crate::trace::{Inspected, LOOK_AHEAD_ROWS};

/// Step of a clock from which on its ties are the clock's own, in nanoseconds.
const COARSE_STEP_NS: u64 = 100_000_000;

/// Returns what is worth knowing, a clause each, without a period.
pub(super) fn advice(inspected: &Inspected) -> Vec<String> {
    [
        nothing(inspected),
        ties(inspected),
        failed(inspected),
        new_only(inspected),
        unread(inspected),
        restarts(inspected),
        disorder(inspected),
        too_late(inspected),
        left_out(inspected),
        estimated(inspected),
        rounded(inspected),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn nothing(inspected: &Inspected) -> Option<String> {
    (inspected.contents.rows == 0).then(|| {
        format!(
            "none of the {} rows that were read is in the window and the sample that were asked for",
            count(inspected.rows_read)
        )
    })
}

fn ties(inspected: &Inspected) -> Option<String> {
    let arrivals = &inspected.arrivals;
    let instants = &arrivals.instants;
    let step_ns = instants
        .step_ns
        .filter(|step_ns| *step_ns >= COARSE_STEP_NS);
    if let Some((period_ns, rows)) = instants.batches(arrivals.rows)
        && !instants.is_step(period_ns)
    {
        return Some(format!(
            "arrivals come in batches about every {}, of {} rows on average; a replay sends each \
             batch at once, and `--ties uniform` spreads it",
            fine(period_ns),
            trimmed(rows, 1)
        ));
    }
    let step = fine(float(step_ns?));
    (instants.tied_rows > 0).then(|| {
        format!(
            "the clock counts in steps of {step}, and {} rows share a time with another: when they \
             came inside a step is not known; a replay sends them at once, and `--ties uniform` \
             spreads them",
            count(instants.tied_rows)
        )
    })
}

fn failed(inspected: &Inspected) -> Option<String> {
    let failed = inspected.contents.failed;
    (failed > 0).then(|| {
        format!(
            "{} rows are marked as failed; they count in all numbers here, and a replay leaves them \
             out unless it has `--failed replay`",
            count(failed)
        )
    })
}

fn new_only(inspected: &Inspected) -> Option<String> {
    let prompts = &inspected.prompts;
    (prompts.rows > 0).then(|| {
        format!(
            "the turns of sessions hold only what is new in them: with the prompts and replies before \
             them, the {} tokens of {} rows are {}, which is what the numbers here are of and what a \
             replay sends; `--session-prompts whole` takes them as they are",
            count(prompts.new_tokens),
            count(prompts.rows),
            count(prompts.whole_tokens)
        )
    })
}

fn unread(inspected: &Inspected) -> Option<String> {
    (!inspected.unread.is_empty())
        .then(|| format!("neither read nor sent: {}", inspected.unread.join(", ")))
}

fn restarts(inspected: &Inspected) -> Option<String> {
    let restarts = inspected.clock_restarts;
    let times = match restarts {
        0 => return None,
        1 => "once".to_owned(),
        _ => format!("{} times", count(restarts)),
    };
    Some(format!(
        "the clock starts anew {times}, as where several recordings stand one behind the other; here \
         it goes on from where it was, and with `--restarts continue` in a replay; if this is one \
         recording that is out of order, `tokentape trace convert --sort` puts it right first"
    ))
}

fn disorder(inspected: &Inspected) -> Option<String> {
    let put_right = inspected.out_of_order - inspected.too_late;
    (put_right > 0).then(|| {
        format!(
            "{} rows stand after a younger one and were put in order",
            count(put_right)
        )
    })
}

fn too_late(inspected: &Inspected) -> Option<String> {
    let too_late = inspected.too_late;
    (too_late > 0).then(|| {
        format!(
            "{} rows stand further back than a look-ahead of {} rows can put right; they count with \
             a gap of nothing where they stand, so that rates, gaps and peaks are not exact; \
             `tokentape trace convert --sort` puts the file in order",
            count(too_late),
            count(u64::try_from(LOOK_AHEAD_ROWS).unwrap_or(u64::MAX))
        )
    })
}

fn left_out(inspected: &Inspected) -> Option<String> {
    let prefixes = &inspected.contents.prefixes;
    (prefixes.rows_left_out > 0).then(|| {
        format!(
            "the prefix-cache hits are those of the first {} rows with blocks: the other {} came \
             after more different blocks than are kept",
            count(prefixes.rows),
            count(prefixes.rows_left_out)
        )
    })
}

fn estimated(inspected: &Inspected) -> Option<String> {
    inspected.contents.sessions.is_estimated.then(|| {
        "there are more sessions than are kept: their number is an estimate, and their turns are \
         those of a sample"
            .to_owned()
    })
}

fn rounded(inspected: &Inspected) -> Option<String> {
    let contents = &inspected.contents;
    let found = [
        ("input tokens", contents.input_tokens),
        ("output tokens", contents.output_tokens),
        ("think times", contents.think_ns),
        (
            "gaps between distinct times",
            inspected.arrivals.instants.gap_ns,
        ),
    ];
    let rounded: Vec<&str> = found
        .iter()
        .filter(|(_, found)| found.is_some_and(|found| !found.is_exact))
        .map(|(name, _)| *name)
        .collect();
    (!rounded.is_empty()).then(|| {
        format!(
            "there are more different values than are kept of {}: their percentiles are rounded by \
             up to 0.025 %",
            rounded.join(", ")
        )
    })
}
