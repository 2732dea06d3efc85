//! Rows of results as types: one struct a table, with a field a column.
//!
//! What reads a result reads it here, so that a column that a query no longer has is found when
//! the program is built or tested, and not as a dash in somebody's report.

use super::rows::Row;
use super::{Analysis, Percentile, Table};

/// A row of one table of an analysis.
pub trait ResultRow<'a>: Sized {
    /// Name of the table.
    const TABLE: &'static str;
    /// Names of the columns that are read of it.
    const COLUMNS: &'static [&'static str];

    /// Reads a row.
    #[doc(hidden)]
    fn read(row: Row<'a>) -> Self;

    /// Returns the run that the row belongs to.
    fn run(&self) -> &'a str;
}

impl Analysis {
    /// Returns all rows of a table; none where the analysis lacks it.
    pub fn rows<'a, R: ResultRow<'a>>(&'a self) -> Vec<R> {
        let rows = super::rows::rows(self, R::TABLE).into_iter();
        rows.map(R::read).collect()
    }

    /// Returns the rows of a table that belong to `run`.
    pub fn rows_of<'a, R: ResultRow<'a>>(&'a self, run: &str) -> Vec<R> {
        let rows = super::rows::rows_of(self, R::TABLE, run).into_iter();
        rows.map(R::read).collect()
    }

    /// Returns the numbers of a run by the definition of another tool, whose table this is.
    pub fn definition<'a>(&'a self, table: &str, run: &str) -> Vec<DefinitionNumber<'a>> {
        let rows = super::rows::rows_of(self, table, run).into_iter();
        rows.map(DefinitionNumber::read).collect()
    }

    /// Returns the percentiles that the latencies of this analysis have: those that are always
    /// there, and those that were asked for.
    pub fn percentiles(&self) -> Vec<Percentile> {
        let table = self.table(LatencyPercentiles::TABLE);
        let columns = table.map_or(&[][..], |table| &table.columns).iter();
        columns
            .filter_map(|column| Percentile::named(column.name.strip_suffix("_ns")?))
            .collect()
    }

    /// Returns the first row of a table that belongs to `run`.
    pub fn row_of<'a, R: ResultRow<'a>>(&'a self, run: &str) -> Option<R> {
        self.rows_of(run).into_iter().next()
    }
}

/// Returns the rows of a table that is no part of an analysis yet.
pub(super) fn of_table<'a, R: ResultRow<'a>>(table: &'a Table) -> impl Iterator<Item = R> {
    super::rows::of_table(table).map(R::read)
}

/// Declares rows. A text, a number or a truth value that is missing or null is `None`, a number
/// also where it is not finite. `all` keeps the row itself, for columns that a user asked for.
macro_rules! result_rows {
    ($($name:ident $table:literal {
        $(text: $($text:ident),+;)?
        $(number: $($number:ident),+;)?
        $(flag: $($flag:ident),+;)?
        $(all: $all:ident;)?
    })+) => {
        $(
            #[doc = concat!("A row of `", $table, "`; the fields are its columns.")]
            #[derive(Debug, Clone, Copy)]
            pub struct $name<'a> {
                pub run: &'a str,
                $($(pub $text: Option<&'a str>,)+)?
                $($(pub $number: Option<f64>,)+)?
                $($(pub $flag: Option<bool>,)+)?
                $($all: Row<'a>,)?
            }

            impl<'a> ResultRow<'a> for $name<'a> {
                const TABLE: &'static str = $table;
                const COLUMNS: &'static [&'static str] = &[
                    $($(stringify!($text),)+)?
                    $($(stringify!($number),)+)?
                    $($(stringify!($flag),)+)?
                ];

                fn read(row: Row<'a>) -> Self {
                    Self {
                        run: row.run(),
                        $($($text: row.text(stringify!($text)),)+)?
                        $($($number: row.number(stringify!($number)),)+)?
                        $($($flag: row.flag(stringify!($flag)),)+)?
                        $($all: row,)?
                    }
                }

                fn run(&self) -> &'a str {
                    self.run
                }
            }
        )+

        /// Names of the tables whose rows have a type, each with the columns that are read.
        #[cfg(test)]
        pub(super) const READ: &[(&str, &[&str])] = &[
            $((<$name<'_> as ResultRow<'_>>::TABLE, <$name<'_> as ResultRow<'_>>::COLUMNS),)+
        ];
    };
}

result_rows! {
    DefinitionNumber "definition_*" {
        text: metric, stat, unit, note;
        number: value;
    }
    ArrivalFidelity "arrival_fidelity" {
        number: n, gap_ks, within_1ms, peak_1s_due, peak_1s_sent, count_off_mean, count_off_max;
    }
    ClientError "client_error" {
        text: metric;
        number: n, unstamped, min_ns, p50_ns, p99_ns, p999_ns, max_ns;
    }
    ClientHealth "client_health" {
        number: at_ns, in_flight, queued, runtime_lag_max_ns, cpu_share, rss_bytes,
            channel_fill, reads, events, capture_stalls;
    }
    ClientThroughput "client_throughput" {
        text: window_name;
        number: seconds, events, events_per_s, cpu_share, requests, ok;
    }
    Comparison "comparison" {
        text: metric, stat, unit;
        number: baseline, value, difference, ratio;
    }
    Concurrency "concurrency" {
        text: window_name;
        number: seconds, mean, min, p50, p90, p99, max;
    }
    Cost "cost" {
        text: window_name, basis;
        number: seconds, cost, cost_per_m_output, cost_per_m_total, cost_per_request, gpu_share;
    }
    Deadlines "deadlines" {
        number: reader_tps, n, tokens, in_time_share, kept_up_share, in_time_p10, deadlines,
            fluidity, fluidity_p50, fluidity_p10, fluidity_p1, fluid_share;
    }
    ErrorsOverTime "errors_over_time" {
        text: status, error_kind;
        number: at_ns, width_ns, http_status, attempts, retried;
    }
    FailedAttempts "failed_attempts" {
        text: target, error_kind;
        number: http_status, attempts, requests, later_ok;
    }
    Energy "energy" {
        text: part, note;
        number: seconds, covered_share, joules, mean_w, joules_per_output_token,
            joules_per_request, tokens_per_joule, prefill_joules, decode_joules;
    }
    Goodput "goodput" {
        text: window_name;
        number: offered, good, attainment, goodput_rps, ttft_met, tpot_met, e2el_met, tpot_n,
            ok, offered_rps, ok_rps, good_tokens, goodput_tps, token_attainment;
    }
    ItlHeatmap "itl_heatmap" {
        number: at_ns, width_ns, low_ns, high_ns, n;
    }
    Jitter "jitter" {
        number: n, mean_ns, p50_ns, p90_ns, p99_ns, max_ns;
    }
    LatencyByLength "latency_by_length" {
        text: side;
        number: from_tokens, to_tokens, n, ttft_p50_ns, ttft_p99_ns, tpot_p50_ns, tpot_p99_ns,
            e2el_p50_ns, e2el_p99_ns;
    }
    LatencyByLoad "latency_by_load" {
        number: quarter, n, in_flight_min, in_flight_p50, in_flight_max, ttft_p50_ns,
            ttft_p99_ns, tpot_n, tpot_p50_ns, tpot_p99_ns;
    }
    LatencyByServer "latency_by_server" {
        text: target;
        number: requests, requests_share, ok, attempts, failed_attempts, n, ttft_p50_ns,
            ttft_p99_ns, tpot_n, tpot_p50_ns, tpot_p99_ns, e2el_p50_ns, output_tokens, output_tps;
    }
    LatencyByStep "latency_by_step" {
        text: phase, labels, metric;
        number: step, n, mean_ns, p50_ns, p90_ns, p99_ns, max_ns;
    }
    LatencyByTurn "latency_by_turn" {
        text: turns;
        number: n, input_tokens_mean, cached_share, ideal_cached_share, ttft_p50_ns, ttft_p90_ns, ttft_p99_ns,
            tpot_p50_ns, e2el_p50_ns, e2el_p99_ns;
    }
    LatencyCurve "latency_curve" {
        text: metric;
        number: p, value_ns, n;
    }
    LatencyOverTime "latency_over_time" {
        number: at_ns, width_ns, n, ttft_p50_ns, ttft_p99_ns, ttft_max_ns, itl_p50_ns,
            itl_p99_ns, itl_max_ns;
    }
    LatencyPercentiles "latency_percentiles" {
        text: metric;
        number: n, mean_ns, std_ns, min_ns, p50_ns, p90_ns, p95_ns, p99_ns, p999_ns, max_ns;
        all: row;
    }
    LatencyRanks "latency_ranks" {
        text: metric;
        number: n, with_input, with_in_flight;
    }
    PrefixHits "prefix_hits" {
        number: n, input_planned, prefix_planned, ideal_hit, n_told, input_told, cached,
            achieved_hit;
    }
    RequestSpeeds "request_speeds" {
        text: metric, unit;
        number: n, mean, min, p1, p10, p50, p90, p99, max;
    }
    RequestsByOutcome "requests_by_outcome" {
        text: status, error_kind, example_message;
        number: http_status, requests, first_ns;
    }
    RunSummary "run_summary" {
        text: output_tokens_source;
        number: requests, ok, failed, interrupted, cancelled, hung_up, not_sent, ok_share, warmups,
            chunks, first_sent_ns, last_token_ns, last_end_ns, duration_s, input_tokens,
            output_tokens, peak_in_flight, mean_in_flight, unresolved_share, resends, retried, retries;
    }
    ScheduleFidelity "schedule_fidelity" {
        number: n, slip_p50_ns, slip_p99_ns, slip_max_ns, queued_p50_ns, queued_p99_ns,
            queued_max_ns, intended_rate_per_s, achieved_rate_per_s;
    }
    SchedulePairs "schedule_pairs" {
        number: requests, baseline_requests, matched;
        flag: is_pair;
    }
    ServerCounts "server_counts" {
        text: server, quantity, unit;
        number: server_count, client_count, of_others;
    }
    ServerLatencies "server_latencies" {
        text: server, metric;
        number: n, mean_ns, client_n, client_mean_ns, difference_ns;
    }
    ServerOverTime "server_over_time" {
        number: at_ns, width_ns, running, waiting, kv_use, gpu_use, gpu_power_w, cpu_use,
            memory_use, cpu_power_w;
    }
    SessionFidelity "session_fidelity" {
        number: sessions, turns, out_of_order, before_reply, pause_p50_ns, pause_p90_ns;
    }
    Stalls "stalls" {
        number: bound_ns, n, stalled, stalled_share, gaps, stalls, stalls_share,
            stalled_time_share, longest_p50_ns, longest_p90_ns, longest_p99_ns, longest_max_ns;
    }
    StartupBurst "startup_burst" {
        number: warmup_ns, n, ttft_p99_ns, later_n, later_ttft_p99_ns;
    }
    ThroughputByStep "throughput_by_step" {
        text: labels;
        number: step, from_ns, to_ns, seconds, offered, offered_rps, ok, ok_share, requests,
            rps, output_tokens, output_tps, in_flight_mean;
    }
    ThroughputOverTime "throughput_over_time" {
        number: at_ns, width_ns, offered, sent, completed, failed, output_tokens, output_tps,
            in_flight, retried;
    }
    ThroughputPeaks "throughput_peaks" {
        number: output_tokens_peak_1s, from_ns, to_ns;
    }
    ThroughputWindows "throughput_windows" {
        text: window_name, basis, note;
        number: from_ns, to_ns, seconds, requests, rps, input_tokens, input_tps, output_tokens,
            output_tps, total_tps;
    }
    TokenCounts "token_counts" {
        number: input_planned, input_got, output_planned, output_got, input_exact, output_exact,
            input_over_min, input_over_max, output_short, output_cut, output_long, answers,
            by_usage, by_ids, by_limit, by_tokenizer, by_chunks, usage_refuted, off, off_ids,
            off_chunks, off_tokenizer, without_text, input_both, input_by_usage, input_by_tokenizer,
            input_off, placed, tokens_a_chunk, before_first, before_first_p99, after_last;
    }
    TtftByLength "ttft_by_length" {
        number: from_tokens, to_tokens, low_ns, high_ns, n;
    }
    TtftByTurn "ttft_by_turn" {
        number: turn, n, input_tokens_mean, cached_share, ideal_cached_share, ttft_p50_ns, ttft_p90_ns, ttft_p99_ns;
    }
    Validity "validity" {
        text: check_name, unit;
        number: value, limit_value;
        flag: ok;
    }
    WarmupEnd "warmup_end" {
        text: rule, basis;
        number: given_ns, n, batches, cut, found_ns, steady_from_ns, steady_to_ns, left_out;
    }
    Waterfall "waterfall" {
        text: picked, status;
        number: place, request_id, intended_ns, tried_ns, sent_ns, first_token_ns, end_ns, input_tokens,
            output_tokens;
    }
    Intervals "intervals" {
        text: metric, stat, unit, lack;
        number: value, low, high, blocks;
    }
    Differences "differences" {
        text: baseline, metric, stat, unit, verdict, lack;
        number: runs, baseline_runs, baseline_value, value, difference, low, high, p, p_holm,
            tested_low, tested_high, tested_confidence, smallest_seen, times_as_long, runs_needed,
            client_ns;
        flag: paired;
    }
    Stationarity "stationarity" {
        text: metric, stat, unit, verdict, lack;
        number: first_half, second_half, difference, low, high, p;
    }
}

impl LatencyPercentiles<'_> {
    /// Returns a percentile, of those that are always there or of those that were asked for, in
    /// nanoseconds.
    pub fn percentile(&self, percentile: Percentile) -> Option<f64> {
        self.row.number(&percentile.column())
    }
}
