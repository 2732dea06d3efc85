//! The lengths of the prompts that were made, as a table.

use crate::report::columns::{WIDTH, table};
use crate::report::format::{decimal, trimmed};
use crate::report::grid::{Field, Grid};
use crate::workload::{PromptSummary, Spread};

/// Renders the table, and below it how the lengths are known.
pub(super) fn render(summary: &PromptSummary, counted_with: Option<&str>, color: bool) -> String {
    let input = if counted_with.is_some() {
        "input tokens"
    } else {
        "input tokens (estimated)"
    };
    let headings = ["pattern", "", "#n", "#min", "#mean", "#p50", "#p95", "#max"];
    let mut grid = Grid::new("", &headings);
    for pattern in summary.patterns() {
        let mut row = |name: &str, what: &str, spread: Spread| {
            grid.push(vec![
                Field::verbatim(name),
                Field::verbatim(what),
                Field::verbatim(whole(spread.n)),
                Field::verbatim(whole(u64::from(spread.min))),
                Field::verbatim(decimal(spread.mean, 1)),
                Field::verbatim(trimmed(spread.p50, 1)),
                Field::verbatim(trimmed(spread.p95, 1)),
                Field::verbatim(whole(u64::from(spread.max))),
            ]);
        };
        row(pattern.pattern.name(), input, pattern.input);
        row("", "planned output tokens", pattern.output);
    }
    let mut out = String::new();
    table(&mut out, &grid, WIDTH, color);
    out.push_str(&known(summary, counted_with));
    out
}

/// Says how exact the lengths are.
fn known(summary: &PromptSummary, counted_with: Option<&str>) -> String {
    let Some(tokenizer) = counted_with else {
        return "Lengths of prompts are estimates, from their words and characters: `--tokenizer` counts \
                them.\n"
            .to_owned();
    };
    match summary.missed() {
        (0, _) => format!(
            "Every prompt has exactly the length that was drawn for it, counted with `{tokenizer}`.\n"
        ),
        (missed, by) => format!(
            "Lengths of {missed} prompts are not those that were drawn for them, but up to {by} off, \
             counted with `{tokenizer}`.\n"
        ),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "people read no more than a float has"
)]
fn whole(number: u64) -> String {
    decimal(number as f64, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{MadePrompt, Pattern, PromptLanguage};

    #[test]
    fn the_table_has_two_rows_a_pattern_and_says_how_lengths_are_known() {
        let mut summary = PromptSummary::default();
        for (pattern, input, output) in [
            (Pattern::ShortInLongOut, 30, 200),
            (Pattern::ShortInLongOut, 41, 1700),
            (Pattern::LongInShortOut, 500, 10),
        ] {
            summary.add(&MadePrompt {
                pattern,
                domain: "law",
                language: PromptLanguage::English,
                text: String::new(),
                input_tokens: input,
                wanted_tokens: 30.max(input - 1),
                output_tokens: output,
            });
        }
        let shown = [
            render(&summary, Some("qwen3"), false),
            render(&PromptSummary::default(), None, false),
        ];
        insta::assert_snapshot!(shown.join("\n"), @r"
        pattern                                   n  min   mean   p50    p95    max
        short-in-long-out  input tokens           2   30   35.5  35.5   40.5     41
                           planned output tokens  2  200  950.0   950  1,625  1,700
        long-in-short-out  input tokens           1  500  500.0   500    500    500
                           planned output tokens  1   10   10.0    10     10     10
        Lengths of 2 prompts are not those that were drawn for them, but up to 1 off, counted with `qwen3`.

        pattern    n  min  mean  p50  p95  max
        Lengths of prompts are estimates, from their words and characters: `--tokenizer` counts them.
        ");
    }
}
