//! The report as Markdown that reads well in a pull request.
//!
//! Text from outside stands in code spans: there it can neither be HTML, nor a link, nor a mention
//! of somebody. Tables are as wide as they need to be; what most readers skip is folded.

use minijinja::Value;

use crate::analyze::Analysis;

use super::ReportError;
use super::export::{Exporter, Render};
use super::format;
use super::language::said;
use super::model::{Report, report};
use super::page::{self, PageOptions};

/// Longest text, in bytes: GitHub takes comments of up to 65,536 letters.
const LIMIT: usize = 65_535;

/// Sections that are left out only when nothing else is left to leave out.
const FIRST: [&str; 3] = ["latency", "throughput", "comparison"];

/// Fewest rows that a table keeps.
const ROWS: usize = 6;

/// Markdown.
pub(super) const MARKDOWN: Exporter = Exporter {
    flag: "markdown",
    value_name: "FILE",
    help: "Write a Markdown report",
    render: Render::File(|exported| markdown(exported.analysis, exported.page)),
};

/// Renders the analysis as Markdown, without pictures, fit for a comment on GitHub.
///
/// What there is no room for is left out, the least important first, and named at the end.
///
/// # Errors
///
/// Fails where a template and the view model do not fit: with the built-in templates that is a
/// fault of this program.
pub fn markdown(analysis: &Analysis, options: &PageOptions) -> Result<String, ReportError> {
    options.language.speaking(|| rendered(analysis, options))
}

fn rendered(analysis: &Analysis, options: &PageOptions) -> Result<String, ReportError> {
    let mut environment = page::environment(options)?;
    environment.add_filter("code", |text: String| code(&text));
    environment.add_filter("prose", |text: String| prose(&text));
    environment.add_filter("sentence", |text: String| sentence(&text));
    environment.add_filter("field", |field: Value| {
        let part = |name| {
            field
                .get_attr(name)
                .map(|value| value.to_string())
                .unwrap_or_default()
        };
        let text = part("text");
        let interval = part("interval");
        if part("tone") == "foreign" {
            code(&text)
        } else if interval.is_empty() {
            prose(&text)
        } else {
            format!("{} ({})", prose(&text), prose(&interval))
        }
    });
    let mut report = report(analysis)?;
    loop {
        let text = squeeze(&page::fill(&environment, "report.md", &report)?);
        if text.len() <= LIMIT || !shorten(&mut report) {
            return Ok(text);
        }
    }
}

/// Leaves out the least important part that is left; false where nothing is.
fn shorten(report: &mut Report) -> bool {
    let is_extra = |id: &str| !FIRST.contains(&id);
    let last = |report: &Report, is_one: &dyn Fn(&str) -> bool| {
        let mut sections = report.sections.iter();
        sections.rposition(|section| is_one(section.id))
    };
    if !report.definitions.is_empty() {
        report.definitions.clear();
        report.left_out.push(said("Definitions"));
    } else if let Some(at) = last(report, &is_extra) {
        drop_section(report, at);
    } else if report.runs.iter().any(|run| !run.card.is_empty()) {
        report.runs.iter_mut().for_each(|run| run.card.clear());
        report.left_out.push(said("Run cards"));
    } else if halve_long(report) {
        note_once(report, &said("Rows of tables"));
    } else if report.runs.iter().any(|run| !run.advice.is_empty()) {
        for run in &mut report.runs {
            run.advice.clear();
            run.diagnoses.clear();
        }
        report.left_out.push(said("Warnings"));
    } else if let Some(at) = last(report, &|_| true) {
        drop_section(report, at);
    } else if report.runs.len() > 1 {
        report.runs.truncate(report.runs.len().div_ceil(2));
        note_once(report, &said("Some of the runs"));
    } else {
        return false;
    }
    true
}

/// Cuts every table that is long in half; false where all are short.
fn halve_long(report: &mut Report) -> bool {
    let sections = report.sections.iter_mut();
    let mut is_any = false;
    for grid in sections.flat_map(|section| &mut section.grids) {
        let kept = (grid.rows.len() / 2).max(ROWS);
        is_any |= kept < grid.rows.len();
        grid.rows.truncate(kept);
    }
    is_any
}

/// Leaves a section out, and names it where it would have been shown.
fn drop_section(report: &mut Report, at: usize) {
    let section = report.sections.remove(at);
    if !section.grids.is_empty() || section.id == "over-time" {
        report.left_out.push(section.heading);
    }
}

fn note_once(report: &mut Report, what: &str) {
    if !report.left_out.iter().any(|known| known == what) {
        report.left_out.push(what.to_owned());
    }
}

/// Puts text into a code span that nothing inside can end, fit for a table's cell.
fn code(text: &str) -> String {
    if text.trim().is_empty() || text == format::NONE {
        return format::NONE.to_owned();
    }
    let longest = text
        .split(|letter| letter != '`')
        .map(str::len)
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    let inner = text.replace('|', "\\|").replace(['\n', '\r'], " ");
    format!("{fence}{space}{inner}{space}{fence}")
}

/// Escapes what Markdown, HTML and GitHub would read as more than text.
fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => out.extend(['\\', letter]),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("@<!-- -->"),
            '\n' | '\r' => out.push(' '),
            letter => out.push(letter),
        }
    }
    out.replace("://", ":<!-- -->//")
}

/// Begins text with a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// Leaves at most one blank line in a row.
fn squeeze(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blanks = 0;
    for line in text.lines() {
        let line = line.trim_end();
        blanks = if line.is_empty() { blanks + 1 } else { 0 };
        if blanks < 2 {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::language::Language;
    use crate::report::tests::all;

    #[test]
    fn a_code_span_cannot_be_left_from_inside() {
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code("x `y` ``z``"), "``` x `y` ``z`` ```");
        assert_eq!(code(""), format::NONE);
    }

    #[test]
    fn prose_mentions_nobody_and_links_nowhere() {
        assert_eq!(
            prose("@root <b> a_b ht://x"),
            "@<!-- -->root &lt;b&gt; a\\_b ht:<!-- -->//x"
        );
    }

    #[test]
    fn begins_with_the_verdict_and_the_headline() {
        let text = markdown(&fixture::single(), &PageOptions::default()).unwrap();
        let head: Vec<&str> = text.lines().take(30).collect();
        insta::assert_snapshot!(head.join("\n"), @r#"
        # tokentape: `demo`

        burstgpt.csv at 4× its speed · model demo-7b at 127.0.0.1:8000 · 2026-09-21 14:13:20 UTC · 31.62 s · 1,000 requests

        > **VALID** – the client kept up: p99 send slip 0.220 ms (limit 1.000 ms); p99 runtime lag 0.340 ms (limit 1.000 ms); probes over 90 % CPU 0.0 % (limit 5.0 %); the client adds at most 0.182 ms at p99 (self-check)
        >
        > 891 of 1,000 requests met every goal: attainment 89.1 %. Met: TTFT ≤ 200 ms: 90.2 %, TPOT ≤ 50 ms: 98.1 %
        >
        > - **8 of 1,000 requests failed (0.8 %):** latencies cover successful requests only, and a server that refuses work looks fast. *See the errors by kind before you quote a latency.*
        >
        > - **2 requests were cancelled or never sent:** the slowest requests are the ones that are cut off, so the tail is too good. *Allow more time with --drain, or lower the load.*
        >
        > - **Seen: 1 % of the gaps between tokens are over 217.32 ms, where the median is 19.8 ms; gaps are longer when more requests begin.** Likely: prompts are read in the same steps in which answers are written, and hold those up. *Chunk long prompts, give a step a smaller budget of tokens, or prefill on machines of its own.*
        >
        > Graded by built-in rules of thumb: TTFT p50 84.40 ms **excellent**, TPOT p50 21.50 ms **excellent**, TPOT p99 ÷ p50 2.49 **fair**, success 99.0 % **good**

        | Output, tokens/s | Requests, /s | TTFT p50, ms | TTFT p99, ms | TPOT p50, ms | Succeeded |
        | ---: | ---: | ---: | ---: | ---: | ---: |
        | **5,683** | **31.40** | **84.40** | **644.45** | **21.50** | **99.0 %** |
        | steady window | steady window | from intended | from intended | per output token | 990 of 1,000 requests |

        ## Latency

        Milliseconds; lower is better

        | metric | from | n | mean | p50 | p90 | p95 | p99 | p99.9 | max |
        | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
        | TTFT | send | 990 | 94.92 | 84.00 | 128.05 | 187.24 | 450.25 | †591.09 | 610.00 |
        | TTFT | intended | 990 | 95.37 | 84.40 | 132.91 | 225.03 | 644.45 | †869.73 | 900.00 |
        | TTFA | send | 990 | 96.05 | 85.00 | 129.54 | 189.18 | 454.10 | †595.95 | 615.00 |
        "#);
    }

    #[test]
    fn every_row_of_a_table_has_as_many_cells_as_its_head() {
        for analysis in [fixture::single(), fixture::several(3), fixture::hostile()] {
            let text = markdown(&analysis, &PageOptions::default()).unwrap();
            let mut width = None;
            for line in text.lines() {
                if !line.starts_with('|') {
                    width = None;
                    continue;
                }
                let cells = line.replace("\\|", "").matches('|').count();
                assert_eq!(*width.get_or_insert(cells), cells, "{line}");
            }
        }
    }

    #[test]
    fn has_no_picture_and_survives_an_empty_run() {
        for n in [0, 1, 2] {
            let text = markdown(&fixture::of_size(n), &PageOptions::default()).unwrap();
            assert!(!text.contains("![") && !text.contains("NaN"), "{text}");
        }
    }

    #[test]
    fn fits_into_a_comment_whatever_it_shows() {
        for language in [Language::English, Language::Chinese] {
            let options = PageOptions {
                language,
                ..PageOptions::default()
            };
            for (name, analysis) in all() {
                let text = markdown(&analysis, &options).unwrap();
                assert!(text.len() <= LIMIT, "{name}: {} bytes", text.len());
            }
            let text = markdown(&fixture::several(40), &options).unwrap();
            assert!(text.len() <= LIMIT, "40 runs: {} bytes", text.len());
            assert!(text.contains("VALID"), "{text}");
        }
    }

    #[test]
    fn says_what_it_had_no_room_for_and_keeps_what_matters_most() {
        let mut report = report(&fixture::several(3)).unwrap();
        let mut lasts = Vec::new();
        while shorten(&mut report) {
            lasts.extend(report.left_out.last().cloned());
        }
        lasts.dedup();
        assert_eq!(
            lasts[..3],
            ["Definitions", "Health of the client", "Outcomes and errors"]
        );
        assert_eq!(
            lasts[lasts.len() - 3..],
            ["Latency", "Comparison", "Some of the runs"]
        );
        assert_eq!(report.runs.len(), 1);
        let text = markdown(&fixture::several(40), &PageOptions::default()).unwrap();
        assert!(text.contains("There was no room here for these"), "{text}");
        let short = markdown(&fixture::single(), &PageOptions::default()).unwrap();
        assert!(!short.contains("There was no room"));
    }

    #[test]
    fn shows_courses_over_time_as_lines_of_letters() {
        let text = markdown(&fixture::single(), &PageOptions::default()).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains('█')).collect();
        assert_eq!(lines.len(), 12);
        insta::assert_snapshot!(lines[4], @"| Requests in flight | `▁▃▄▇▇█████████▇▇▇▆▆▆▅▅▅▅▅▄▄▄▄▅▅▅▅▅▆▆▆▇▇▇` | 0.00 | 159.30 | requests |");
    }
}
