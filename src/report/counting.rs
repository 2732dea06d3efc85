//! How surely tokens are known: a table, and warnings where they are less certain than they look.
//!
//! What is advised follows from the numbers that are told with it, and from what the plan has: what
//! was asked for already is not advised.

use serde_json::Value;

use super::format;
use super::grid::{Field, Grid};
use super::language::{said, say};
use super::warning::{Advice, warning};
use crate::analyze::{Analysis, LatencyPercentiles, RunFacts, RunSummary, TokenCounts};
use crate::backend::{self, Inputs};
use crate::capture::manifest::SessionCounts;
use crate::plan::{OutputLength, RunPlan};

/// Share of requests from which on something is no exception.
const MANY: f64 = 0.05;

/// Tokens a chunk from which on ITL is no longer what it is called.
const SEVERAL_TOKENS: f64 = 1.05;

/// Asks for usage in every event.
const ASK_FOR_RUNNING_USAGE: &str = "ask for usage in every event where the server has it: `--backend vllm` or `vllm-chat`, or `--extra-body '{\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true}}'`";

/// Collects what there is to say of a run's counts.
pub(super) fn of_counting(
    analysis: &Analysis,
    run: &RunFacts,
    summary: RunSummary<'_>,
    found: &mut Vec<Advice>,
) {
    of_unread_texts(run, found);
    let counts = analysis.rows_of::<TokenCounts<'_>>(&run.run);
    let plan = &run.manifest.plan;
    if let Some(counts) = counts.first() {
        of_sources(*counts, plan, found);
        let latencies = analysis.rows_of::<LatencyPercentiles<'_>>(&run.run);
        let has_pace = latencies.iter().any(|row| row.metric == Some("tpot"));
        of_places(*counts, (plan, has_pace), found);
    }
    if let Some(share) = summary.unresolved_share.filter(|share| *share > 0.1) {
        found.push(warning(
            say!(
                "{share} of the gaps have an end in a shared read",
                share = format::percent(Some(share))
            ),
            "events that arrive together carry one time stamp, so gaps read as zero or as a sum",
            "read inter-token times beside their resolved form; look for a proxy that buffers, and run once more with --no-keep-alive: a server that leaves Nagle's algorithm on holds its first events back on connections that it keeps",
        ));
    }
    if let Some(counts) = counts.first() {
        of_replies(run.manifest.counts.without_reply, found);
        of_sessions(run.manifest.sessions.unwrap_or_default(), found);
        of_answers(*counts, plan, found);
        of_prompts(*counts, run, found);
    }
}

/// Lays out how the output tokens of answers are known, and where in an answer they lie; `None` where
/// no request succeeded.
pub(super) fn count_grid(analysis: &Analysis) -> Option<Grid> {
    let headings = [
        "run",
        "counted by",
        "#usage not believed",
        "#counts over 1 % apart",
        "#answers without text",
        "#tokens before the first event, mean",
        "#p99",
        "#tokens after the last, mean",
    ];
    let mut grid = Grid::new("How output tokens are known", &headings);
    for row in analysis.rows::<TokenCounts<'_>>() {
        let count = |n| Field::plain(format::optional(n, 0));
        let mean = |tokens| Field::plain(format::optional(tokens, 1));
        grid.push(vec![
            Field::foreign(format::name(row.run)),
            Field::plain(sources(row)),
            count(row.usage_refuted),
            count(row.off),
            count(row.without_text),
            mean(row.before_first),
            mean(row.before_first_p99),
            mean(row.after_last),
        ]);
    }
    (!grid.rows.is_empty()).then(|| grid.without_run(analysis.runs.len() == 1))
}

/// Says how many answers are counted by what.
fn sources(counts: TokenCounts<'_>) -> String {
    let named = [
        (counts.by_usage, said("usage")),
        (counts.by_ids, said("ids")),
        (counts.by_limit, said("chunks, as many as the limit")),
        (counts.by_tokenizer, said("tokenizer")),
        (counts.by_chunks, said("chunks")),
    ];
    let parts: Vec<String> = named
        .into_iter()
        .filter_map(|(answers, name)| {
            let answers = answers.filter(|n| *n > 0.0)?;
            Some(format!("{name} {}", format::decimal(answers, 0)))
        })
        .collect();
    parts.join(&said(", "))
}

/// Warns of events whose text has a name that the backend does not know.
fn of_unread_texts(run: &RunFacts, found: &mut Vec<Advice>) {
    for (field, events) in &run.manifest.unread_texts {
        let what = say!(
            "{events} events have a text in `{field}`, which the backend does not read",
            events,
            field = format::name(field)
        );
        let act = match field.as_str() {
            "delta" => {
                "these look like events of the Responses API: take the backend for it, see `--help`"
            }
            "delta.text" | "delta.thinking" | "delta.partial_json" => {
                "these look like events of Anthropic's Messages API: use --backend anthropic"
            }
            "content" | "message.content" | "response" | "token.text" | "text" => {
                "these look like events of the server's own API; see the other backends in `--help`, or use its OpenAI endpoint"
            }
            _ => "look at the server's events; latencies do not see that text",
        };
        found.push(warning(
            what,
            "such a text is no token here, so that TTFT may be late, there is no TPOT, and an answer may look empty",
            act,
        ));
    }
}

/// Warns where the number of output tokens is not the server's, and where the server's can't be.
fn of_sources(counts: TokenCounts<'_>, plan: &RunPlan, found: &mut Vec<Advice>) {
    let some = |n: Option<f64>| n.filter(|n| *n > 0.0);
    let answers = || format::decimal(counts.answers.unwrap_or(0.0), 0);
    if let Some(refuted) = some(counts.usage_refuted) {
        found.push(warning(
            say!(
                "in {refuted} of {answers} answers the server's usage can't be true: 0 beside tokens that came, or more than the limit that was asked for",
                refuted = format::decimal(refuted, 0),
                answers = answers()
            ),
            "a gateway may have made it up; these answers are counted without it",
            "drive the engine without the gateway, and compare",
        ));
    }
    if some(counts.off_ids).is_some() {
        found.push(warning(
            say!(
                "in {off} of {answers} answers usage and the token ids are more than 1 % apart",
                off = format::decimal(counts.off_ids.unwrap_or(0.0), 0),
                answers = answers()
            ),
            "one of the two counts is wrong, and usage is the one that is taken",
            "compare `usage_output_tokens` and `ids_output_tokens` in `requests`",
        ));
    }
    if some(counts.by_chunks).is_some() {
        found.push(warning(
            "output tokens were counted by chunks, for some requests at least",
            "there was no usage to believe, and a chunk can hold several tokens or half of one",
            if plan.own_tokenizer().is_some() {
                "ask the server for usage, if it has it"
            } else {
                "name the model's tokenizer with --tokenizer"
            },
        ));
    }
    if let Some(counted) = some(counts.by_tokenizer) {
        found.push(warning(
            say!(
                "{counted} of {answers} answers have no usage to believe: the tokenizer counted their tokens",
                counted = format::decimal(counted, 0),
                answers = answers()
            ),
            "a text that is tokenized anew can have other tokens than the model made",
            "ask the server for usage, if it has it; ICL and E2EL need no count",
        ));
    }
    if let Some(silent) = some(counts.without_text) {
        found.push(warning(
            say!(
                "{silent} of {answers} answers brought no text, and the server counted tokens in them",
                silent = format::decimal(silent, 0),
                answers = answers()
            ),
            "these tokens count in rates; such an answer has no TTFT, TPOT or ITL",
            "see what they are: white space that the server swallows, the end of text as the first token, or reasoning that a gateway leaves out",
        ));
    }
}

/// Warns where it is not known when tokens came to be.
fn of_places(counts: TokenCounts<'_>, (plan, has_pace): (&RunPlan, bool), found: &mut Vec<Advice>) {
    let is_asked = |value: Option<&Value>| value == Some(&Value::Bool(true));
    let stream_options = plan.extra_body.get("stream_options");
    let backend = backend::of_plan(plan);
    let can_ask_for_usage = (backend.as_ref()).is_ok_and(|backend| backend.has_stream_options());
    let asks_for_usage = (backend.as_ref()).is_ok_and(|backend| backend.asks_for_running_usage())
        || is_asked(stream_options.and_then(|options| options.get("continuous_usage_stats")));
    let asks_for_ids = is_asked(plan.extra_body.get("return_token_ids"));
    let is_told = counts.placed.is_some_and(|share| share > 0.5);
    if let Some(tokens) = counts
        .tokens_a_chunk
        .filter(|tokens| *tokens >= SEVERAL_TOKENS && !is_told)
    {
        found.push(warning(
            say!(
                "the server counted {tokens} tokens for each chunk, and not which chunk holds how many",
                tokens = format::trimmed(tokens, 2)
            ),
            if has_pace {
                "each chunk stands for one token: ITL is ICL, and TPOT takes the first chunk for one token"
            } else {
                "an answer that comes at once has no time between tokens, and its TTFT is its end"
            },
            match (asks_for_usage, asks_for_ids) {
                _ if !has_pace => {
                    "look for what holds answers back: a server that streams by lines, or a proxy that buffers"
                }
                (false, _) if can_ask_for_usage => ASK_FOR_RUNNING_USAGE,
                (true, false) => {
                    "the server sends no usage in its events; where it knows token ids, pass `--extra-body '{\"return_token_ids\":true}'`"
                }
                _ => "this server does not tell; read ICL in place of ITL",
            },
        ));
    }
    if let Some(tokens) = counts.before_first.filter(|tokens| *tokens >= 0.5) {
        found.push(warning(
            say!(
                "{tokens} tokens on average came to be before the first event of an answer",
                tokens = format::trimmed(tokens, 1)
            ),
            "the server held their text back, as a parser of tool calls may do: TTFT is later than the server's first token by what they took, and TPOT leaves them out",
            "compare TTFT only with runs whose server holds text back in the same way",
        ));
    }
}

/// Warns of rows whose answers were not those of the trace, where they were to be.
fn of_replies(without_reply: u64, found: &mut Vec<Advice>) {
    if without_reply > 0 {
        found.push(warning(
            say!(
                "rows of the trace without a reply, which the server answered as it liked: {rows}",
                rows = without_reply
            ),
            "what they were answered, and how long it was, is not what the trace had",
            "replay a trace in which each row has a `reply`, or read these requests apart",
        ));
    }
}

/// Warns of sessions that did not go as planned.
fn of_sessions(sessions: SessionCounts, found: &mut Vec<Advice>) {
    if sessions.ended_early > 0 {
        found.push(warning(
            say!(
                "{ended} of {started} sessions ended at a turn that failed; turns that were not sent for that: {unsent}",
                ended = sessions.ended_early,
                started = sessions.started,
                unsent = sessions.turns_unsent
            ),
            "later turns, which are the long ones, are too few in these numbers",
            "look at what the failed turns say, and compare first and later turns apart; `--on-failed-turn` has other ways",
        ));
    }
    if sessions.made_up_replies > 0 {
        found.push(warning(
            say!(
                "replies without text in whose place made-up text stands in later turns: {made_up}",
                made_up = sessions.made_up_replies
            ),
            "these turns are not what a client would have sent",
            "find out why the server said nothing: answers of reasoning or tool calls alone, or a limit that cuts them off",
        ));
    }
}

/// Warns of answers whose length is not the planned one.
fn of_answers(counts: TokenCounts<'_>, plan: &RunPlan, found: &mut Vec<Advice>) {
    if backend::of_plan(plan).is_ok_and(|backend| !backend.has_tokens()) {
        return;
    }
    // A text that is forced has the tokens that it has.
    let length = plan.trace.as_ref().map(|trace| trace.output_length);
    if length == Some(OutputLength::TraceText) {
        return;
    }
    let many = |share: Option<f64>| share.filter(|share| *share > MANY);
    if let Some(share) = many(counts.output_short) {
        let share = format::percent(Some(share));
        let asks = plan.ignore_eos == Some(true)
            || plan.extra_body.get("ignore_eos") == Some(&Value::Bool(true));
        found.push(if asks {
            warning(
                say!(
                    "{share} of the answers are shorter than planned, though --ignore-eos was passed",
                    share
                ),
                "the server does not know `ignore_eos`, a router before it drops the field, or they ended for another reason",
                "see their `finish_reason` in `requests`",
            )
        } else {
            warning(
                say!("{share} of the answers are shorter than planned", share),
                "the model stopped by itself, so the load is not the one that was planned",
                "pass --ignore-eos where the server knows it",
            )
        });
    }
    if let Some(share) = many(counts.output_cut) {
        found.push(warning(
            say!(
                "{share} of the answers ended at a limit before they had the planned length",
                share = format::percent(Some(share))
            ),
            "the server has a limit of its own, such as its context, or counts tokens in another way",
            "see `usage_output_tokens` beside `max_output_tokens` in `requests`",
        ));
    }
    if let Some(share) = many(counts.output_long) {
        let what = say!(
            "{share} of the answers are longer than planned",
            share = format::percent(Some(share))
        );
        let has_audio_alone =
            backend::of_plan(plan).is_ok_and(|backend| backend.inputs() == Inputs::Audio);
        found.push(if has_audio_alone {
            warning(
                what,
                "the limit holds for each part that the server cuts a recording into, often one of 30 s; or the server does not keep to it",
                "send recordings of 30 s at most, or see `max_output_tokens` beside `output_tokens` in `requests`",
            )
        } else {
            warning(
                what,
                "the server does not keep to the limit in the request, or counts tokens that it leaves out",
                "see `max_output_tokens` beside `output_tokens` in `requests`; servers differ in the field of the limit, and `--extra-body` sets another",
            )
        });
    }
}

/// Whether prompts are counted as the server has them: what a chat template adds is known.
fn counts_whole_prompts(run: &RunFacts) -> bool {
    let plan = &run.manifest.plan;
    let is_chat = backend::of_plan(plan).is_ok_and(|backend| backend.is_chat());
    plan.own_tokenizer().is_some() && (run.manifest.chat_template.is_some() || !is_chat)
}

/// Warns where the server and the tokenizer count other tokens in the same prompts.
fn of_whole_prompts(counts: TokenCounts<'_>, found: &mut Vec<Advice>) {
    let (Some(both), Some(off)) = (counts.input_both, counts.input_off) else {
        return;
    };
    if off < both * MANY {
        return;
    }
    let whole = |count: Option<f64>| format::optional(count, 0);
    found.push(warning(
        say!(
            "in {off} of {both} prompts the server and the tokenizer are more than 1 % apart: {server} tokens by the server in all of them, {tokenizer} by the tokenizer",
            off = whole(Some(off)),
            both = whole(Some(both)),
            server = whole(counts.input_by_usage),
            tokenizer = whole(counts.input_by_tokenizer)
        ),
        "the tokenizer that was named is not the server's, or the server has another chat template",
        "compare prompt by prompt with `tokentape tokenize --base-url`, and name the server's files with --tokenizer and --chat-template",
    ));
}

/// Warns of prompts whose length is not the planned one. One and the same difference in all of them
/// is the chat template's, and a matter of course.
fn of_prompts(counts: TokenCounts<'_>, run: &RunFacts, found: &mut Vec<Advice>) {
    let plan = &run.manifest.plan;
    if counts_whole_prompts(run) && counts.input_both.is_some_and(|n| n > 0.0) {
        of_whole_prompts(counts, found);
        return;
    }
    let Some(share) = counts.input_exact.filter(|share| *share < 1.0 - MANY) else {
        return;
    };
    let Some((least, most)) = counts.input_over_min.zip(counts.input_over_max) else {
        return;
    };
    if (most - least).abs() < 0.5 {
        return;
    }
    let what = say!(
        "only {share} of the prompts have the planned length: {least} to {most} tokens more",
        share = format::percent(Some(share)),
        least = format::decimal(least, 0),
        most = format::decimal(most, 0)
    );
    found.push(if plan.own_tokenizer().is_some() {
        warning(
            what,
            "the tokenizer that was named is not the server's, or its chat template adds more to some",
            "see whether --tokenizer is the file that the server loads",
        )
    } else {
        warning(
            what,
            "the server counts tokens in another way, or adds a chat template",
            "name the model's own tokenizer with --tokenizer",
        )
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::analyze::Cell;
    use crate::report::fixture;

    /// What is said and advised of a run with `plan` and these numbers in `token_counts`.
    fn said(plan: Value, numbers: &[(&str, f64)]) -> Vec<(String, String)> {
        said_of(fixture::single(), plan, numbers)
    }

    fn said_of(
        mut analysis: Analysis,
        plan: Value,
        numbers: &[(&str, f64)],
    ) -> Vec<(String, String)> {
        analysis.runs[0].manifest.plan = serde_json::from_value(plan).unwrap();
        for table in &mut analysis.tables {
            if table.name != "token_counts" {
                continue;
            }
            for (column, number) in numbers {
                let at = table.columns.iter().position(|it| it.name == *column);
                table.rows[0][at.expect(column)] = Cell::Float(*number);
            }
        }
        let run = &analysis.runs[0];
        let summaries = analysis.rows_of::<RunSummary<'_>>(&run.run);
        let mut found = Vec::new();
        of_counting(&analysis, run, summaries[0], &mut found);
        found.into_iter().map(|it| (it.what, it.act)).collect()
    }

    fn whats(numbers: &[(&str, f64)]) -> Vec<String> {
        let told = said(json!({}), numbers);
        told.into_iter().map(|(what, _)| what).collect()
    }

    #[test]
    fn a_run_whose_counts_are_sure_has_no_warning() {
        assert!(whats(&[]).is_empty());
    }

    #[test]
    fn chunks_of_several_tokens_are_told_with_the_flag_that_is_not_yet_given() {
        let several = [("tokens_a_chunk", 2.8), ("placed", 0.0)];
        let advised = |plan| said(plan, &several).remove(0);
        let (what, act) = advised(json!({"backend": "openai-chat"}));
        assert_eq!(
            what,
            "the server counted 2.8 tokens for each chunk, and not which chunk holds how many"
        );
        assert_eq!(act, ASK_FOR_RUNNING_USAGE);
        for other in ["anthropic", "openai-responses", "transformers"] {
            let (_, act) = advised(json!({"backend": other}));
            assert!(act.contains("ICL in place of ITL"), "{act}");
        }
        for plan in [
            json!({"backend": "vllm"}),
            json!({"extra_body": {"stream_options": {"continuous_usage_stats": true}}}),
        ] {
            let (_, act) = advised(plan);
            assert!(act.contains("return_token_ids"), "{act}");
        }
        let both = json!({"backend": "vllm-chat", "extra_body": {"return_token_ids": true}});
        assert!(advised(both).1.contains("read ICL"));
        // Where chunks tell, and where the server counted nothing, there is nothing to say.
        assert!(whats(&[("tokens_a_chunk", 2.8), ("placed", 1.0)]).is_empty());
        assert!(whats(&[("placed", 0.0), ("by_usage", 0.0)]).is_empty());
    }

    #[test]
    fn one_chunk_an_answer_is_told_though_there_is_no_gap_at_all() {
        let mut analysis = fixture::single();
        for table in &mut analysis.tables {
            let is_pace = |row: &Vec<Cell>| {
                let words = row.iter().filter_map(Cell::text);
                words
                    .into_iter()
                    .any(|word| ["tpot", "itl", "icl"].contains(&word))
            };
            table.rows.retain(|row| !is_pace(row));
        }
        let told = said_of(
            analysis,
            json!({}),
            &[("tokens_a_chunk", 24.0), ("placed", 0.0)],
        );
        assert!(
            told[0].0.starts_with("the server counted 24 tokens"),
            "{told:?}"
        );
        assert!(told[0].1.contains("holds answers back"), "{told:?}");
    }

    #[test]
    fn ignore_eos_is_not_advised_to_who_passed_it_nor_for_longer_answers() {
        let short = [("output_short", 0.4)];
        assert!(said(json!({}), &short)[0].1.contains("--ignore-eos"));
        let passed = said(json!({"ignore_eos": true}), &short);
        assert!(passed[0].0.contains("though --ignore-eos was passed"));
        let by_hand = json!({"extra_body": {"ignore_eos": true}});
        assert!(!said(by_hand, &short)[0].1.contains("--ignore-eos"));
        assert!(!passed[0].1.contains("--ignore-eos"));
        let long = said(json!({"ignore_eos": true}), &[("output_long", 1.0)]);
        assert!(long[0].0.contains("longer than planned"), "{long:?}");
        assert!(!long[0].1.contains("--ignore-eos"));
    }

    #[test]
    fn the_limit_of_each_part_of_a_recording_is_told() {
        let long = |backend: &str| said(json!({ "backend": backend }), &[("output_long", 1.0)]);
        assert!(long("openai-audio")[0].1.contains("30 s"));
        assert!(!long("openai-chat")[0].1.contains("30 s"));
    }

    #[test]
    fn what_a_chat_template_adds_to_each_prompt_needs_no_advice() {
        let off = |least, most| {
            [
                ("input_exact", 0.0),
                ("input_over_min", least),
                ("input_over_max", most),
            ]
        };
        assert!(whats(&off(8.0, 8.0)).is_empty());
        let embedded = said(json!({"tokenizer": "o200k, embedded"}), &off(5.0, 30.0));
        assert!(embedded[0].1.contains("name the model's own tokenizer"));
        let named = said(json!({"tokenizer": "qwen.json"}), &off(5.0, 30.0));
        assert!(
            named[0].1.contains("the file that the server loads"),
            "{named:?}"
        );
    }

    #[test]
    fn counts_that_are_not_the_servers_are_told() {
        for (column, start) in [
            (
                "usage_refuted",
                "in 3 of 990 answers the server's usage can't be true",
            ),
            ("by_tokenizer", "3 of 990 answers have no usage to believe"),
            ("by_chunks", "output tokens were counted by chunks"),
            ("without_text", "3 of 990 answers brought no text"),
            ("off_ids", "in 3 of 990 answers usage and the token ids"),
            ("before_first", "3 tokens on average came to be before"),
        ] {
            let what = whats(&[(column, 3.0)]);
            assert!(what.len() == 1 && what[0].starts_with(start), "{what:?}");
        }
        // As many chunks as the limit allowed are a sure count.
        assert!(whats(&[("by_limit", 3.0)]).is_empty());
    }

    #[test]
    fn rows_whose_answers_could_not_be_forced_are_counted() {
        let mut analysis = fixture::single();
        analysis.runs[0].manifest.counts.without_reply = 3;
        let run = &analysis.runs[0];
        let summaries = analysis.rows_of::<RunSummary<'_>>(&run.run);
        let mut found = Vec::new();
        of_counting(&analysis, run, summaries[0], &mut found);
        assert_eq!(
            found[0].what,
            "rows of the trace without a reply, which the server answered as it liked: 3"
        );
    }

    #[test]
    fn sessions_that_did_not_go_as_planned_are_counted() {
        let mut analysis = fixture::single();
        analysis.runs[0].manifest.sessions = Some(SessionCounts {
            started: 9,
            ended_early: 2,
            turns_unsent: 5,
            made_up_replies: 4,
            ..SessionCounts::default()
        });
        let run = &analysis.runs[0];
        let summaries = analysis.rows_of::<RunSummary<'_>>(&run.run);
        let mut found = Vec::new();
        of_counting(&analysis, run, summaries[0], &mut found);
        let ended =
            "2 of 9 sessions ended at a turn that failed; turns that were not sent for that: 5";
        assert_eq!(found[0].what, ended);
        assert!(
            found[1].what.ends_with("in later turns: 4"),
            "{}",
            found[1].what
        );
    }

    #[test]
    fn a_text_that_is_not_read_is_named_with_its_field() {
        let mut analysis = fixture::single();
        let texts = &mut analysis.runs[0].manifest.unread_texts;
        texts.insert("delta.thoughts".to_owned(), 12);
        let run = &analysis.runs[0];
        let summaries = analysis.rows_of::<RunSummary<'_>>(&run.run);
        let mut found = Vec::new();
        of_counting(&analysis, run, summaries[0], &mut found);
        assert_eq!(
            found[0].what,
            "12 events have a text in `delta.thoughts`, which the backend does not read"
        );
    }
}
