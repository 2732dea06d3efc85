//! What servers, exporters and machines said of themselves: beside what the client saw, and in time.

use super::format;
use super::grid::{Field, Grid};
use super::language::{said, say};
use super::warning::{Advice, warning};
use crate::analyze::{Analysis, Energy, RunFacts, ServerCounts, ServerLatencies};
use crate::backend::{self, Inputs};
use crate::plan::RunPlan;

/// Longest time without an answer of a source that is no gap: scrapes are a second apart.
const GAP_NS: i64 = 3_000_000_000;

/// Lays out the tables of what was scraped; none where nothing was.
pub(super) fn grids(analysis: &Analysis) -> Vec<Grid> {
    let is_single = analysis.runs.len() == 1;
    let all = [latencies(analysis), counts(analysis), energy(analysis)];
    let shown = all.into_iter().filter(|grid| !grid.rows.is_empty());
    shown.map(|grid| grid.without_run(is_single)).collect()
}

fn latencies(analysis: &Analysis) -> Grid {
    let headings = [
        "run",
        "server",
        "mean of",
        "#n, server",
        "#server",
        "#n, client",
        "#client",
        "#client − server",
    ];
    let mut grid = Grid::new(
        "Latencies as the server and as the client have them, in milliseconds",
        &headings,
    );
    for row in analysis.rows::<ServerLatencies<'_>>() {
        grid.push(vec![
            Field::foreign(format::name(row.run)),
            Field::foreign(format::name(row.server.unwrap_or(format::NONE))),
            Field::plain(latency_name(row.metric)),
            Field::plain(format::optional(row.n, 0)),
            Field::plain(format::fine_milliseconds(row.mean_ns)),
            Field::plain(format::optional(row.client_n, 0)),
            Field::plain(format::fine_milliseconds(row.client_mean_ns)),
            Field::plain(format::fine_milliseconds(row.difference_ns)),
        ]);
    }
    grid.notes.push(said(
        "The server's are means of its own histograms over the run, warm-ups, failed requests and \
         requests of others included. What the client has more is the way there and back, and what \
         the server does before and after it counts.",
    ));
    grid
}

fn counts(analysis: &Analysis) -> Grid {
    let headings = [
        "run",
        "server",
        "counted",
        "unit",
        "#server",
        "#client",
        "#of others",
    ];
    let mut grid = Grid::new("Requests and tokens as the server counted them", &headings);
    for row in analysis.rows::<ServerCounts<'_>>() {
        grid.push(vec![
            Field::foreign(format::name(row.run)),
            Field::foreign(format::name(row.server.unwrap_or(format::NONE))),
            Field::plain(quantity_name(row.quantity)),
            Field::plain(row.unit.unwrap_or_default()),
            Field::plain(format::optional(row.server_count, 0)),
            Field::plain(format::optional(row.client_count, 0)),
            Field::plain(format::optional(row.of_others, 0)),
        ]);
    }
    grid
}

fn energy(analysis: &Analysis) -> Grid {
    let headings = [
        "run",
        "of",
        "#J",
        "#W",
        "#J/output token",
        "#J/request",
        "#output tokens/J",
        "#prefill, J",
        "#decode, J",
    ];
    let mut grid = Grid::new("Energy of the run; lower is better", &headings);
    let rows = analysis.rows::<Energy<'_>>();
    // Who scraped no power has not asked for it.
    let is_known = rows.iter().any(|row| row.covered_share.is_some());
    for row in rows.into_iter().filter(|_| is_known) {
        let part = match row.part {
            Some("gpu") => "GPUs",
            Some("cpu") => "processors and their memory",
            _ => "all of it",
        };
        if let Some(note) = row.note {
            let run = format::name(row.run);
            grid.notes.push(format!("{run}: {}.", said(note)));
        }
        let numbers = [
            (row.joules, 1),
            (row.mean_w, 1),
            (row.joules_per_output_token, 3),
            (row.joules_per_request, 2),
            (row.tokens_per_joule, 3),
            (row.prefill_joules, 1),
            (row.decode_joules, 1),
        ];
        let mut cells = vec![Field::foreign(format::name(row.run)), Field::plain(part)];
        let fields = numbers.map(|(value, places)| Field::plain(format::optional(value, places)));
        cells.extend(fields);
        grid.push(cells);
    }
    grid.notes.push(said(
        "Power over the time from the first send to the last end of a request, of all devices that \
         were scraped. Prefill and decode have it by the time that requests in flight spent before \
         their first token and after it; what is left was used while none was in flight.",
    ));
    grid
}

fn latency_name(metric: Option<&str>) -> String {
    match metric {
        Some("queue") => said("wait in the queue"),
        Some("prefill") => said("prefill"),
        Some("decode") => said("decode"),
        other => format::name(other.unwrap_or(format::NONE)).to_uppercase(),
    }
}

fn quantity_name(quantity: Option<&str>) -> String {
    match quantity {
        Some("requests") => said("requests"),
        Some("input_tokens") => said("input tokens"),
        Some("output_tokens") => said("output tokens"),
        Some("prefix_queries") => said("tokens looked up in the prefix cache"),
        Some("prefix_hits") => said("tokens found in the prefix cache"),
        Some("preemptions") => said("preemptions"),
        other => format::name(other.unwrap_or(format::NONE)),
    }
}

/// Warns of gaps in what was scraped, and of a server that served others too.
pub(super) fn of_server(analysis: &Analysis, run: &RunFacts, found: &mut Vec<Advice>) {
    for source in &run.manifest.metric_sources {
        if source.failed == 0 && source.longest_gap_ns <= GAP_NS {
            continue;
        }
        let gap_s = std::time::Duration::from_nanos(source.longest_gap_ns.unsigned_abs());
        found.push(warning(
            say!(
                "{answered} of {scrapes} scrapes of `{source}` had metrics, and the longest time without was {gap}",
                answered = source.scrapes,
                scrapes = source.scrapes.saturating_add(source.failed),
                source = format::name(&source.source),
                gap = format::duration(gap_s.as_secs_f64() * format::NS_PER_S)
            ),
            "what the server said of itself is not known in a gap",
            "see `metric_sources` in the manifest for the reason, and whether the page is slow under load",
        ));
    }
    let others = analysis.rows_of::<ServerCounts<'_>>(&run.run);
    let others = others
        .iter()
        .find_map(|row| Some((row.of_others?, row.quantity)));
    if let Some((count, quantity)) = others {
        let what = say!(
            "the server counted {count} {what} more than this client did",
            what = quantity_name(quantity),
            count = format::decimal(count, 0)
        );
        found.push(if asks_without_language(&run.manifest.plan) {
            warning(
                what,
                "it served others too, or finds out the language of each recording by a request of its own",
                "name the language with `--extra-body '{\"language\":\"en\"}'`, and repeat the run on a server that nobody else uses",
            )
        } else {
            warning(
                what,
                "it served others too: the load was not this run's alone, and the server's own numbers are not either",
                "repeat the run on a server that nobody else uses",
            )
        });
    }
}

/// Whether requests are recordings alone, whose language the server has to find out.
fn asks_without_language(plan: &RunPlan) -> bool {
    let has_audio_alone =
        backend::of_plan(plan).is_ok_and(|backend| backend.inputs() == Inputs::Audio);
    has_audio_alone && !plan.extra_body.contains_key("language")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture_server::scraped;
    use super::super::language::Language;
    use super::*;

    fn spelled(grid: &Grid) -> Vec<String> {
        let rows = grid.rows.iter().map(|row| {
            let cells = row.iter().map(|field| field.text.as_str());
            cells.collect::<Vec<_>>().join(" | ")
        });
        rows.collect()
    }

    #[test]
    fn the_client_stands_beside_the_server() {
        let grids = grids(&scraped());
        assert_eq!(
            spelled(&grids[0]),
            [
                "SGLang | TTFT | 1,000 | 91.250 | 990 | 94.920 | 3.670",
                "SGLang | wait in the queue | 1,000 | 4.500 | – | – | –",
            ]
        );
        assert_eq!(
            spelled(&grids[1]),
            [
                "SGLang | requests | requests | 1,300 | 1,000 | 300",
                "SGLang | tokens found in the prefix cache | tokens | 2,048 | – | –",
            ]
        );
        assert_eq!(
            spelled(&grids[2]),
            ["GPUs | 22,134.0 | 700.0 | 0.123 | 22.36 | 8.096 | 5,100.0 | 17,034.0"]
        );
    }

    #[test]
    fn gaps_and_others_are_warned_of() {
        let analysis = scraped();
        let mut found = Vec::new();
        of_server(&analysis, &analysis.runs[0], &mut found);
        let what: Vec<&str> = found.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(
            what,
            [
                "25 of 33 scrapes of `http://127.0.0.1:8000/metrics` had metrics, and the longest time without was 8 s",
                "the server counted 300 requests more than this client did",
            ]
        );
        Language::Chinese.speaking(|| {
            let mut found = Vec::new();
            of_server(&analysis, &analysis.runs[0], &mut found);
            assert!(found.iter().all(|one| !one.what.is_ascii()));
        });
    }

    #[test]
    fn a_language_that_the_server_finds_out_by_requests_of_its_own_is_told_where_none_is_named() {
        let mut analysis = scraped();
        let mut advised = |plan| {
            analysis.runs[0].manifest.plan = serde_json::from_value(plan).unwrap();
            let mut found = Vec::new();
            of_server(&analysis, &analysis.runs[0], &mut found);
            found.pop().unwrap().act.contains("language")
        };
        assert!(advised(json!({ "backend": "openai-audio" })));
        let named = json!({ "backend": "openai-audio", "extra_body": { "language": "de" } });
        assert!(!advised(named));
        assert!(!advised(json!({ "backend": "openai-chat" })));
    }
}
