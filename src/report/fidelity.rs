//! The tables that say how faithful a run was to its schedule (pace, bursts), and those of sessions
//! and of the prefixes that their turns share.

use crate::analyze::{
    Analysis, ArrivalFidelity, LatencyByTurn, PrefixHits, ScheduleFidelity, SessionFidelity,
    TtftByTurn,
};

use super::few::percentile;
use super::format;
use super::grid::{Field, Grid};
use super::language::said;

/// Turns that have a line each, at most.
const MOST_TURNS: f64 = 16.0;

/// Returns the tables of the schedule; all but the first are left out where they have no row.
pub(super) fn grids(analysis: &Analysis) -> Vec<Grid> {
    let is_single = analysis.runs.len() == 1;
    let pace = pace(analysis).without_run(is_single);
    let mut grids = vec![pace];
    grids.extend(with_rows(analysis, [arrivals(analysis)]));
    grids
}

/// Returns the tables of sessions; none where there are no sessions and no shared prefixes.
pub(super) fn session_grids(analysis: &Analysis) -> Vec<Grid> {
    let all = [
        sessions(analysis),
        turns(analysis),
        turn_by_turn(analysis),
        prefixes(analysis),
    ];
    with_rows(analysis, all).collect()
}

fn with_rows<const N: usize>(
    analysis: &Analysis,
    grids: [Grid; N],
) -> impl Iterator<Item = Grid> + use<N> {
    let is_single = analysis.runs.len() == 1;
    grids
        .into_iter()
        .filter(|grid| !grid.rows.is_empty())
        .map(move |grid| grid.without_run(is_single))
}

fn run(name: &str) -> Field {
    Field::foreign(format::name(name))
}

fn count(value: Option<f64>) -> Field {
    Field::plain(format::optional(value, 0))
}

fn pace(analysis: &Analysis) -> Grid {
    let headings = [
        "run",
        "#n",
        "#slip p50",
        "#slip p99",
        "#slip max",
        "#wait p50",
        "#wait p99",
        "#wait max",
        "#due/s",
        "#sent/s",
    ];
    let mut grid = Grid::new("Slip and wait in milliseconds; lower is better", &headings);
    for row in analysis.rows::<ScheduleFidelity<'_>>() {
        let ms = |ns| Field::plain(format::fine_milliseconds(ns));
        let rate = |rate| Field::plain(format::optional(rate, 2));
        grid.push(vec![
            run(row.run),
            count(row.n),
            ms(row.slip_p50_ns),
            ms(row.slip_p99_ns),
            ms(row.slip_max_ns),
            ms(row.queued_p50_ns),
            ms(row.queued_p99_ns),
            ms(row.queued_max_ns),
            rate(row.intended_rate_per_s),
            rate(row.achieved_rate_per_s),
        ]);
    }
    grid
}

fn arrivals(analysis: &Analysis) -> Grid {
    let headings = [
        "run",
        "#within 1 ms",
        "#KS of gaps",
        "#peak 1 s, due",
        "#peak 1 s, sent",
        "#off a second, mean",
        "#off a second, max",
    ];
    let mut grid = Grid::new("Arrivals as due and as sent", &headings);
    for row in analysis.rows::<ArrivalFidelity<'_>>() {
        grid.push(vec![
            run(row.run),
            Field::plain(format::percent(row.within_1ms)),
            Field::plain(format::optional(row.gap_ks, 3)),
            count(row.peak_1s_due),
            count(row.peak_1s_sent),
            Field::plain(format::optional(row.count_off_mean, 2)),
            count(row.count_off_max),
        ]);
    }
    grid.notes.push(said("KS is the largest distance between the distribution of gaps that were due and that of gaps \
         as sent, in whole milliseconds: 0 is the same, 1 is all different."));
    grid
}

fn sessions(analysis: &Analysis) -> Grid {
    let headings = [
        "run",
        "#sessions",
        "#turns that follow",
        "#out of order",
        "#before the reply",
        "#pause p50, s",
        "#pause p90, s",
    ];
    let mut grid = Grid::new("Sessions", &headings);
    for row in analysis.rows::<SessionFidelity<'_>>() {
        let seconds = |ns: Option<f64>| Field::plain(format::optional(ns.map(|ns| ns / 1e9), 3));
        grid.push(vec![
            run(row.run),
            count(row.sessions),
            count(row.turns),
            count(row.out_of_order),
            count(row.before_reply),
            seconds(row.pause_p50_ns),
            seconds(row.pause_p90_ns),
        ]);
    }
    grid
}

fn turns(analysis: &Analysis) -> Grid {
    let headings = [
        "run",
        "turns",
        "#n",
        "#input tokens, mean",
        "#cached",
        "#ideally cached",
        "#TTFT p50",
        "#TTFT p99",
        "#TPOT p50",
        "#E2EL p50",
    ];
    let mut grid = Grid::new(
        "By turn; latencies in milliseconds from the send",
        &headings,
    );
    for row in analysis.rows::<LatencyByTurn<'_>>() {
        let name = match row.turns {
            Some("first") => "first of a session",
            _ => "later ones",
        };
        let n = row.n.unwrap_or_default();
        let at = |ns, rank| percentile(ns, n, rank);
        grid.push(vec![
            run(row.run),
            Field::plain(name),
            count(row.n),
            Field::plain(format::optional(row.input_tokens_mean, 1)),
            Field::plain(format::percent(row.cached_share)),
            Field::plain(format::percent(row.ideal_cached_share)),
            at(row.ttft_p50_ns, 0.5),
            at(row.ttft_p99_ns, 0.99),
            at(row.tpot_p50_ns, 0.5),
            at(row.e2el_p50_ns, 0.5),
        ]);
    }
    grid
}

/// The turns one by one, where a session has more than two.
fn turn_by_turn(analysis: &Analysis) -> Grid {
    let headings = [
        "run",
        "#turn",
        "#n",
        "#input tokens, mean",
        "#cached",
        "#ideally cached",
        "#TTFT p50",
        "#TTFT p90",
        "#TTFT p99",
    ];
    let title = "Turn by turn; time to first token in milliseconds from the send";
    let mut grid = Grid::new(title, &headings);
    let rows = analysis.rows::<TtftByTurn<'_>>();
    let turns = || rows.iter().filter_map(|row| row.turn);
    if !turns().any(|turn| turn > 1.0) {
        return grid;
    }
    if turns().any(|turn| turn >= MOST_TURNS) {
        grid.notes.push(said(
            "Later turns are in the query `ttft_by_turn`, up to the 64th.",
        ));
    }
    let shown = |row: &&TtftByTurn<'_>| row.turn.is_some_and(|turn| turn < MOST_TURNS);
    for row in rows.iter().filter(shown) {
        let n = row.n.unwrap_or_default();
        let at = |ns, rank| percentile(ns, n, rank);
        grid.push(vec![
            run(row.run),
            count(row.turn.map(|turn| turn + 1.0)),
            count(row.n),
            Field::plain(format::optional(row.input_tokens_mean, 1)),
            Field::plain(format::percent(row.cached_share)),
            Field::plain(format::percent(row.ideal_cached_share)),
            at(row.ttft_p50_ns, 0.5),
            at(row.ttft_p90_ns, 0.9),
            at(row.ttft_p99_ns, 0.99),
        ]);
    }
    grid
}

fn prefixes(analysis: &Analysis) -> Grid {
    let headings = [
        "run",
        "#requests",
        "#tokens planned",
        "#ideal hit",
        "#told by the server",
        "#tokens cached",
        "#achieved hit",
    ];
    let mut grid = Grid::new(
        "Prefix cache: what the trace allows and what the server had",
        &headings,
    );
    grid.notes.push(said("Shares of tokens, not of blocks as `trace inspect` counts them; the last block of a prompt may \
         be short."));
    for row in analysis.rows::<PrefixHits<'_>>() {
        grid.push(vec![
            run(row.run),
            count(row.n),
            count(row.input_planned),
            Field::plain(format::percent(row.ideal_hit)),
            count(row.n_told),
            count(row.cached),
            Field::plain(format::percent(row.achieved_hit)),
        ]);
    }
    grid
}
