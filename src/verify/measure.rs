//! Drives one rung against a stamping server and reads the errors off its tape.

use std::sync::Arc;

use super::VerifyError;
use super::rung::Rung;
use crate::analyze::{
    Analysis, ClientError, ClientThroughput, Options, Span, Standing, analyze, standing,
};
use crate::backend::{Backend, ExactLength};
use crate::capture::manifest::State;
use crate::load::{LoadError, Private, Run, RunListener, RunReport, Setup, run};
use crate::plan::RunPlan;
use crate::report::verdict::{Verdict, verdict};
use crate::runtime::block_on;
use crate::wire::{WireKind, is_loopback};

/// What a rung is read for.
const QUERIES: [&str; 3] = ["client_error", "client_throughput", "validity"];

/// A server that writes its send times into its answers, and how it is asked.
#[derive(Debug, Clone)]
pub(crate) struct StampingServer {
    /// Where requests go, and what goes with them.
    pub(crate) private: Private,
    /// What takes them there.
    pub(crate) wire: WireKind,
    /// Connections are kept for the next request.
    pub(crate) keeps_alive: bool,
    /// Threads that read, where the user named a number.
    pub(crate) readers: Option<u32>,
    /// Protocol of the server.
    pub(crate) backend: Backend,
    /// Model to ask for.
    pub(crate) model: String,
    /// The address, without credentials.
    pub(crate) shown: String,
}

impl StampingServer {
    /// True when the server is on this machine, so that both read one clock.
    pub(crate) fn shares_clock(&self) -> bool {
        self.private.urls.iter().all(is_loopback)
    }
}

/// Where the tape of a rung goes, and what is known of it before.
pub(crate) struct LadderSetup {
    /// The command line, with secrets masked.
    pub(crate) command: String,
    /// The run, beside its plan.
    pub(crate) run: Setup,
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
    pub(crate) fn errors(&self) -> Vec<ClientError<'_>> {
        self.analysis.rows_of(self.run())
    }

    /// The row of `client_error` for one metric.
    pub(crate) fn error(&self, metric: &str) -> Option<ClientError<'_>> {
        self.errors()
            .into_iter()
            .find(|row| row.metric == Some(metric))
    }

    /// The row of `client_throughput`.
    pub(crate) fn throughput(&self) -> Option<ClientThroughput<'_>> {
        self.analysis.row_of(self.run())
    }

    /// Whether the client kept up.
    pub(crate) fn standing(&self) -> Standing {
        standing(&self.analysis, self.run())
    }

    /// Whether the client kept up, and why not, in words.
    pub(crate) fn verdict(&self) -> Verdict {
        verdict(&self.analysis, self.run())
    }

    fn is_stamped(&self) -> bool {
        let lag = self.error("read_lag");
        lag.and_then(|row| row.n).unwrap_or(0.0) > 0.0
    }
}

/// Drives one rung and reads the client's errors off its tape. `listeners` get its events.
///
/// # Errors
///
/// [`VerifyError::Interrupted`] when the user stopped it, [`VerifyError::NoSuccess`] when no request
/// succeeded, [`VerifyError::NoStamps`] when no answer had a stamp; and whatever keeps a run from
/// being driven, or a tape from being read.
pub(crate) fn measure(
    server: &StampingServer,
    rung: &Rung,
    setup: LadderSetup,
    listeners: Vec<Arc<dyn RunListener>>,
) -> Result<Measurement, VerifyError> {
    let tape = setup.run.tape.clone();
    let report = drive(server, rung, setup, listeners)?;
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
    setup: LadderSetup,
    listeners: Vec<Arc<dyn RunListener>>,
) -> Result<RunReport, VerifyError> {
    rung.check()?;
    let report = run(planned(server, rung, setup)?, listeners)?;
    if report.manifest.state == State::Interrupted {
        return Err(VerifyError::Interrupted);
    }
    if report.ok == 0 {
        return Err(VerifyError::NoSuccess(Box::new(report)));
    }
    Ok(report)
}

/// The run that a rung is.
fn planned(server: &StampingServer, rung: &Rung, setup: LadderSetup) -> Result<Run, LoadError> {
    let plan = RunPlan {
        command: Some(setup.command),
        url: Some(server.shown.clone()),
        backend: Some(server.backend.name().into()),
        ignore_eos: Some(server.backend.exact_length() != ExactLength::Never),
        model: Some(server.model.clone()),
        wire: Some(server.wire.name().into()),
        keep_alive: Some(server.keeps_alive),
        readers: server.readers,
        ..rung.plan()
    };
    Run::planned(plan, server.private.clone(), setup.run)
}
