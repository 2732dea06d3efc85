//! Drives one rung against a stamping server and reads the errors off its tape.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::VerifyError;
use super::rung::{Rung, SEED};
use crate::analyze::{Analysis, Options, Span, analyze};
use crate::backend::BackendKind;
use crate::capture::Manifest;
use crate::capture::manifest::State;
use crate::load::{
    Feed, Limits, LoadError, OutputLength, RequestTemplate, Run, RunReport, Stats, Stop,
    max_in_flight, run,
};
use crate::report::rows::{Row, rows_of};
use crate::report::verdict::{Verdict, verdict};
use crate::sql::block_on;
use crate::wire::{Target, WireKind, is_loopback};
use crate::workload::{RandomLengths, Tokenizer, Workload};

/// Tokens of each prompt: small, because it is reading that is measured.
const PROMPT_TOKENS: u32 = 32;

/// Time that a request may take beyond the one that it should.
const SLACK_NS: i64 = 30_000_000_000;

/// Time that requests in flight have after Ctrl-C.
const DRAIN_NS: i64 = 5_000_000_000;

/// What a rung is read for.
const QUERIES: [&str; 3] = ["client_error", "client_throughput", "validity"];

/// A server that writes its send times into its answers, and how it is asked.
#[derive(Debug, Clone)]
pub(crate) struct StampingServer {
    /// Where requests go.
    pub(crate) target: Target,
    /// What takes them there.
    pub(crate) wire: WireKind,
    /// Protocol of the server.
    pub(crate) backend: BackendKind,
    /// Model to ask for.
    pub(crate) model: String,
    /// The address, without credentials.
    pub(crate) shown: String,
}

impl StampingServer {
    /// True when the server is on this machine, so that both read one clock.
    pub(crate) fn shares_clock(&self) -> bool {
        is_loopback(&self.target.url)
    }
}

/// Where the tape of a rung goes, and what it is driven with.
pub(crate) struct Setup {
    /// Folder of the tape.
    pub(crate) tape: PathBuf,
    /// A tape that is there already may be replaced.
    pub(crate) replaces: bool,
    /// The manifest as far as it is known before the rung is: name, machine, command.
    pub(crate) manifest: Manifest,
    /// Measures prompts.
    pub(crate) tokenizer: Arc<Tokenizer>,
    /// The user's wish to stop.
    pub(crate) stop: watch::Receiver<Stop>,
}

/// What a rung came to.
#[derive(Debug)]
pub(crate) struct Measurement {
    /// The rung.
    pub(crate) rung: Rung,
    /// The run.
    pub(crate) report: RunReport,
    /// The tables of [`QUERIES`].
    pub(crate) analysis: Analysis,
}

impl Measurement {
    fn run(&self) -> &str {
        self.analysis.runs.first().map_or("", |run| &run.run)
    }

    /// The rows of `client_error`, one a metric.
    pub(crate) fn errors(&self) -> Vec<Row<'_>> {
        rows_of(&self.analysis, "client_error", self.run())
    }

    /// The row of `client_error` for one metric.
    pub(crate) fn error(&self, metric: &str) -> Option<Row<'_>> {
        self.errors()
            .into_iter()
            .find(|row| row.text("metric") == Some(metric))
    }

    /// The row of `client_throughput`.
    pub(crate) fn throughput(&self) -> Option<Row<'_>> {
        rows_of(&self.analysis, "client_throughput", self.run())
            .into_iter()
            .next()
    }

    /// Whether the client kept up, and why not.
    pub(crate) fn verdict(&self) -> Verdict {
        verdict(&self.analysis, self.run())
    }

    fn is_stamped(&self) -> bool {
        let lag = self.error("read_lag");
        lag.and_then(|row| row.number("n")).unwrap_or(0.0) > 0.0
    }
}

/// Drives one rung and reads the client's errors off its tape. `watch` is given the live counters.
///
/// # Errors
///
/// [`VerifyError::Interrupted`] when the user stopped it, [`VerifyError::NoSuccess`] when no request
/// succeeded, [`VerifyError::NoStamps`] when no answer had a stamp; and whatever keeps a run from
/// being driven, or a tape from being read.
pub(crate) fn measure(
    server: &StampingServer,
    rung: &Rung,
    setup: Setup,
    watch: impl FnOnce(Arc<Stats>),
) -> Result<Measurement, VerifyError> {
    let tape = setup.tape.clone();
    let report = drive(server, rung, setup, watch)?;
    let options = Options {
        span: Span {
            warmup_ns: rung.warmup_ns(),
            ..Span::default()
        },
        only: QUERIES.map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let analysis = block_on(async { analyze(&[tape], &options).await })
        .map_err(|error| LoadError::System("SQL engine", error))??;
    let measurement = Measurement {
        rung: *rung,
        report,
        analysis,
    };
    if measurement.is_stamped() {
        Ok(measurement)
    } else {
        Err(VerifyError::NoStamps {
            target: server.shown.clone(),
        })
    }
}

/// Drives one rung and reads nothing off its tape, as to warm a server.
///
/// # Errors
///
/// As [`measure`], but for what the tape says.
pub(crate) fn drive(
    server: &StampingServer,
    rung: &Rung,
    setup: Setup,
    watch: impl FnOnce(Arc<Stats>),
) -> Result<RunReport, VerifyError> {
    rung.check()?;
    let report = run(planned(server, rung, setup)?, watch)?;
    if report.manifest.state == State::Interrupted {
        return Err(VerifyError::Interrupted);
    }
    if report.ok == 0 {
        return Err(VerifyError::NoSuccess(Box::new(report)));
    }
    Ok(report)
}

/// The run that a rung is.
fn planned(server: &StampingServer, rung: &Rung, setup: Setup) -> Result<Run, VerifyError> {
    let lengths = RandomLengths {
        input_tokens: PROMPT_TOKENS,
        output_tokens: rung.output_tokens(),
        range_ratio: 0.0,
        prefix_tokens: 0,
    };
    let workload = Workload::new(&setup.tokenizer, SEED).with_lengths(lengths)?;
    let limits = Limits {
        gives_up: false,
        max_concurrency: rung.slots(),
        max_in_flight: max_in_flight(),
        drain_ns: DRAIN_NS,
        request_timeout_ns: rung.request_ns().saturating_mul(5).saturating_add(SLACK_NS),
        first_timeout_ns: None,
        idle_timeout_ns: Some(SLACK_NS),
    };
    let template = RequestTemplate {
        backend: server.backend,
        model: server.model.clone(),
        ignore_eos: true,
        output_length: OutputLength::Limited,
        temperature: None,
        extra_body: Map::new(),
        workload,
        keeps_text: true,
        count_tokens: None,
    };
    Ok(Run {
        tape: setup.tape,
        replaces: setup.replaces,
        manifest: manifest(server, rung, setup.manifest),
        target: server.target.clone(),
        wire: server.wire,
        feed: Feed {
            source: rung.source()?,
            template,
            warmups: 0,
        },
        duration_ns: None,
        limits,
        self_check: None,
        count_tokens: None,
        stop: setup.stop,
    })
}

fn manifest(server: &StampingServer, rung: &Rung, known: Manifest) -> Manifest {
    let mut plan = json!({
        "verb": "verify",
        "url": server.shown,
        "model": server.model,
        "arrivals": { "process": match rung.slots() {
            Some(_) => "closed loop",
            None => "poisson",
        } },
        "streams": rung.streams,
        "rate_per_s": rung.rate_per_s,
        "input_tokens": PROMPT_TOKENS,
        "output_tokens": rung.output_tokens(),
        "max_concurrency": rung.slots(),
        "keeps_text": true,
        "wire": server.wire.name(),
    });
    if let (Value::Object(plan), Value::Object(known)) = (&mut plan, known.plan) {
        plan.extend(known);
    }
    Manifest {
        arrival_loop: rung.arrival_loop,
        labels: BTreeMap::from([("streams".to_owned(), rung.streams.to_string())]),
        plan,
        seed: SEED,
        target: server.shown.clone(),
        ..known
    }
}
