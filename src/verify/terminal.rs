//! The answer for people: one table a loop, and in plain words what it means.

use super::cores::listed;
use super::ladder::{Metric, Verification};
use super::measure::Measurement;
use crate::analyze::Standing;
use crate::plan::Loop;
use crate::report::columns::{WIDTH, push_line, rule, table, wrap};
use crate::report::grid::{Field, Grid, Tone};
use crate::report::{FEW, carries, format};

const HEADINGS: [&str; 10] = [
    "#streams",
    "error",
    "#n",
    "#p50 ms",
    "#p99 ms",
    "#p99.9 ms",
    "#max ms",
    "#events/s",
    "#CPU %",
    "standing",
];

/// Renders all that was measured for a terminal, at most 100 columns wide.
pub(crate) fn terminal(verification: &Verification, color: bool) -> String {
    let mut out = String::new();
    paragraph(&mut out, &first_line(verification));
    let mut is_any_weak = false;
    for arrival_loop in [Loop::Closed, Loop::Open] {
        let rungs = verification.of_loop(arrival_loop);
        if rungs.is_empty() {
            continue;
        }
        rule(&mut out, '-', &format!(" {} loop ", name(arrival_loop)));
        let grid = grid(verification, &rungs);
        is_any_weak |= grid
            .rows
            .iter()
            .flatten()
            .any(|field| field.tone == Tone::Faint);
        table(&mut out, &grid, WIDTH, color);
        reasons(&mut out, verification, &rungs);
    }
    rule(&mut out, '-', "");
    if is_any_weak {
        paragraph(&mut out, FEW);
    }
    notes(&mut out, verification);
    for arrival_loop in [Loop::Closed, Loop::Open] {
        if let Some(sentence) = meaning(verification, arrival_loop) {
            paragraph(&mut out, &sentence);
        }
    }
    out
}

fn paragraph(out: &mut String, text: &str) {
    for line in wrap(text, WIDTH, "  ") {
        push_line(out, &line);
    }
}

fn name(arrival_loop: Loop) -> &'static str {
    match arrival_loop {
        Loop::Closed => "Closed",
        Loop::Open => "Open",
    }
}

fn first_line(verification: &Verification) -> String {
    let server = match &verification.target {
        Some(target) => format!("`{}`", format::clean(target)),
        None => "a simulated server".to_owned(),
    };
    let cores = verification.cores.as_ref().map_or(String::new(), |cores| {
        format!(
            "; server on core {}, client on {}",
            listed(&cores.server),
            listed(&cores.client)
        )
    });
    format!("This client's own error against {server}{cores}")
}

fn grid(verification: &Verification, rungs: &[&Measurement]) -> Grid {
    let mut grid = Grid::new("", &HEADINGS);
    for measured in rungs {
        let throughput = measured.throughput();
        let (word, tone) = match measured.standing() {
            Standing::Valid => ("valid", Tone::Good),
            Standing::ClientLimited => ("LIMITED", Tone::Bad),
            Standing::NotChecked | Standing::NoResult => ("unknown", Tone::Plain),
        };
        let mut rung = vec![
            Field::plain(format::decimal(f64::from(measured.rung.streams), 0)),
            Field::plain(format::optional(
                throughput.and_then(|row| row.events_per_s),
                0,
            )),
            Field::plain(format::optional(
                throughput
                    .and_then(|row| row.cpu_share)
                    .map(|share| share * 100.0),
                0,
            )),
            Field::plain(word).toned(tone),
        ];
        for metric in verification.metrics() {
            // What belongs to the rung stands in its first row alone.
            let mut about_rung = std::mem::take(&mut rung).into_iter();
            let mut next = || about_rung.next().unwrap_or_else(|| Field::plain(""));
            let mut row = vec![next()];
            row.extend(error_fields(measured, metric));
            row.extend([next(), next(), next()]);
            grid.push(row);
        }
    }
    grid
}

/// The name of a metric, its number of values, and its percentiles with the maximum.
fn error_fields(measured: &Measurement, metric: Metric) -> Vec<Field> {
    let row = measured.error(metric.key);
    let n = row.and_then(|row| row.n).unwrap_or(0.0);
    let mut fields = vec![
        Field::plain(metric.name),
        Field::plain(format::decimal(n, 0)),
    ];
    let percentiles = [
        (0.5, row.and_then(|row| row.p50_ns)),
        (0.99, row.and_then(|row| row.p99_ns)),
        (0.999, row.and_then(|row| row.p999_ns)),
    ];
    for (share, value) in percentiles {
        let text = format::fine_milliseconds(value);
        fields.push(if value.is_none() || carries(n, share) {
            Field::plain(text)
        } else {
            Field::plain(format!("†{text}")).toned(Tone::Faint)
        });
    }
    fields.push(Field::plain(format::fine_milliseconds(
        row.and_then(|row| row.max_ns),
    )));
    fields
}

/// Says of each rung that is not simply good what is wrong with it.
fn reasons(out: &mut String, verification: &Verification, rungs: &[&Measurement]) {
    for measured in rungs {
        let verdict = measured.verdict();
        let streams = streams(measured.rung.streams);
        if verdict.standing != Standing::Valid {
            let said = format!("{} at {streams}: {}", verdict.word, verdict.numbers());
            paragraph(out, &said);
        }
        let unstamped = measured.error("itl_error").and_then(|row| row.unstamped);
        if let Some(unstamped) = unstamped.filter(|count| *count > 0.0) {
            let said = format!(
                "At {streams}, {} inter-token times had no stamp on both sides and are left out.",
                format::decimal(unstamped, 0)
            );
            paragraph(out, &said);
        }
        if verification.is_short(measured) {
            let said = format!(
                "At {streams} the events came slower than asked for: the server was at its limit, too, or was held up by the client."
            );
            paragraph(out, &said);
        }
    }
}

fn notes(out: &mut String, verification: &Verification) {
    let lag = match verification.lag_left_out() {
        None => {
            "read lag: when the client stamped an event, less when the server sent it. ".to_owned()
        }
        Some(reason) => format!("read lag is left out: {reason}. "),
    };
    paragraph(
        out,
        &format!(
            "{lag}TTFT and inter-token: how far the client's time is from the server's own. late send: \
             when a request was sent, less when it was due. events/s, and the CPU of the thread that \
             reads them (with one core of the one that sends, too), are those of the steady part, \
             times to first tokens included."
        ),
    );
    if !verification.of_loop(Loop::Closed).is_empty() {
        let burst = "In a closed loop all streams begin at once: its late sends and its TTFT are those \
                     of a burst.";
        paragraph(out, burst);
    }
}

/// Says in plain words what a loop's table means.
fn meaning(verification: &Verification, arrival_loop: Loop) -> Option<String> {
    let rungs = verification.of_loop(arrival_loop);
    let most = rungs.last()?;
    let loop_name = name(arrival_loop);
    let error = most.error("itl_error").and_then(|row| row.p99_ns);
    let error = error.map_or_else(String::new, |error_ns| {
        format!(
            "at {} x {} tokens/s this client adds at most {} ms to an inter-token time at p99. ",
            streams(most.rung.streams),
            format::trimmed(most.rung.rate_per_s, 2),
            format::fine_milliseconds(Some(error_ns)),
        )
    });
    let believed = verification.believed_up_to(arrival_loop);
    let standing = match believed {
        Some(up_to) if up_to == most.rung.streams => {
            format!("Its numbers may be believed up to {}.", streams(up_to))
        }
        Some(up_to) => format!(
            "Its numbers may be believed up to {}, not beyond.",
            streams(up_to)
        ),
        None => "Its numbers may not be believed at any of these rungs.".to_owned(),
    };
    let disturbed = verification.disturbed(arrival_loop);
    let but = if disturbed.is_empty() {
        String::new()
    } else {
        let rungs: Vec<String> = disturbed.into_iter().map(streams).collect();
        format!(
            " Not those at {}: what held the client up there was not the load, of which it bore more.",
            rungs.join(", ")
        )
    };
    Some(format!("{loop_name} loop: {error}{standing}{but}"))
}

fn streams(count: u32) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} stream{plural}", format::decimal(f64::from(count), 0))
}
