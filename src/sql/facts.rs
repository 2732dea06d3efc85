//! What the manifests and the settings say, as relations of literal rows.
//!
//! Literal plans need no file and no memory table, so that a query over them could also run on a
//! cluster.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, lit};

use super::opened_tape::OpenedTape;
use super::settings::{Settings, SloFrom};
use super::utc::{Offset, offsets, utc_type};
use crate::plan::{Loop, RunPlan};

/// Into how many blocks of time a window is cut, for intervals and verdicts.
pub(crate) const WINDOW_BLOCKS: i64 = 320;

/// Returns one row a tape: what its manifest says, and how it is judged.
pub(super) fn runs(
    tapes: &[OpenedTape],
    settings: &Settings,
) -> Result<LogicalPlan, DataFusionError> {
    let (window_from_ns, window_to_ns) = settings.span.asked_ns();
    let rows = tapes.iter().zip(0_i64..).map(|(tape, index)| {
        let manifest = &tape.manifest;
        let is_open = manifest.arrival_loop == Loop::Open;
        let is_intended = settings
            .slo_from
            .map_or(is_open, |from| from == SloFrom::Intended);
        let plan = &manifest.plan;
        let [slots, places] = slots(tape);
        let state = serde_json::to_value(manifest.state).unwrap_or_default();
        vec![
            text(&tape.run),
            index.into(),
            text(&tape.tape),
            text(&manifest.run_id),
            text(state.as_str().unwrap_or_default()),
            text(if is_open { "open" } else { "closed" }),
            text(&manifest.target),
            ScalarValue::Utf8(plan.model.clone()),
            text(&manifest.tool_version),
            i64::from(manifest.schema_version).into(),
            manifest.seed.into(),
            json(&manifest.labels),
            json(plan),
            text(&manifest.host.name),
            i64::from(manifest.host.cores).into(),
            slots.into(),
            plan.sessions.is_some().into(),
            places.into(),
            ScalarValue::Utf8(session_replies(plan)),
            settings.span.warmup_ns.into(),
            text(warmup_rule(settings)),
            window_from_ns.into(),
            window_to_ns.into(),
            text(if is_intended { "intended" } else { "sent" }),
            utc(0, &offsets(&manifest.clock_anchors)),
            unwritten(tape).into(),
        ]
    });
    literals(
        &[
            ("run", DataType::Utf8),
            ("run_index", DataType::Int64),
            ("tape", DataType::Utf8),
            ("run_id", DataType::Utf8),
            ("state", DataType::Utf8),
            ("loop", DataType::Utf8),
            ("target", DataType::Utf8),
            ("model", DataType::Utf8),
            ("tool_version", DataType::Utf8),
            ("schema_version", DataType::Int64),
            ("seed", DataType::UInt64),
            ("labels", DataType::Utf8),
            ("plan", DataType::Utf8),
            ("host", DataType::Utf8),
            ("cores", DataType::Int64),
            ("max_concurrency", DataType::Int64),
            ("starts_sessions", DataType::Boolean),
            ("max_sessions", DataType::Int64),
            ("session_replies", DataType::Utf8),
            ("warmup_ns", DataType::Int64),
            ("warmup_rule", DataType::Utf8),
            ("window_from_ns", DataType::Int64),
            ("window_to_ns", DataType::Int64),
            ("slo_from", DataType::Utf8),
            ("started_utc", utc_type()),
            ("unwritten_requests", DataType::Int64),
        ],
        rows.collect(),
    )
}

/// How the end of the warm-up is known.
fn warmup_rule(settings: &Settings) -> &'static str {
    match settings.span.finds_warmup {
        true => "auto",
        false => "given",
    }
}

/// Requests and sessions at once at most. They are those of the whole tape, not of a part of it.
fn slots(tape: &OpenedTape) -> [Option<i64>; 2] {
    let plan = &tape.manifest.plan;
    let places = plan
        .sessions
        .as_ref()
        .and_then(|sessions| sessions.max_sessions);
    let is_whole = tape.part.is_none();
    [plan.max_concurrency, places].map(|slots| slots.filter(|_| is_whole).map(i64::from))
}

/// Whose replies the turns hold that were sent with what was said before them; none where no turns were.
fn session_replies(plan: &RunPlan) -> Option<String> {
    let replies = match (&plan.sessions, &plan.trace) {
        (Some(sessions), _) => sessions.replies,
        (None, Some(trace)) if plan.session_prompts.as_deref() == Some("new") => {
            trace.session_replies
        }
        (None, _) => return None,
    };
    let word = serde_json::to_value(replies).unwrap_or_default();
    word.as_str().map(str::to_owned)
}

/// Requests that were due, never sent, and have no row; of a part of a tape none, as they are nobody's.
fn unwritten(tape: &OpenedTape) -> i64 {
    match tape.part {
        None => i64::try_from(tape.manifest.counts.unwritten).unwrap_or(i64::MAX),
        Some(_) => 0,
    }
}

/// Returns one row a step of each tape.
pub(super) fn steps(tapes: &[OpenedTape]) -> Result<LogicalPlan, DataFusionError> {
    let rows = tapes.iter().flat_map(|tape| {
        let clock = offsets(&tape.manifest.clock_anchors);
        tape.manifest.steps.iter().map(move |step| {
            vec![
                text(&tape.run),
                i64::from(step.step).into(),
                json(&step.labels),
                step.from_ns.into(),
                utc(step.from_ns, &clock),
                step.to_ns.into(),
                utc(step.to_ns, &clock),
            ]
        })
    });
    literals(
        &[
            ("run", DataType::Utf8),
            ("step", DataType::Int64),
            ("labels", DataType::Utf8),
            ("from_ns", DataType::Int64),
            ("from_utc", utc_type()),
            ("to_ns", DataType::Int64),
            ("to_utc", utc_type()),
        ],
        rows.collect(),
    )
}

/// Returns one row a reading of the wall clock.
pub(super) fn clock_anchors(tapes: &[OpenedTape]) -> Result<LogicalPlan, DataFusionError> {
    let rows = tapes.iter().flat_map(|tape| {
        tape.manifest.clock_anchors.iter().map(|anchor| {
            vec![
                text(&tape.run),
                anchor.monotonic_ns.into(),
                anchor.utc_ns.into(),
            ]
        })
    });
    literals(
        &[
            ("run", DataType::Utf8),
            ("monotonic_ns", DataType::Int64),
            ("utc_ns", DataType::Int64),
        ],
        rows.collect(),
    )
}

/// Returns one row a goal.
pub(super) fn slos(settings: &Settings) -> Result<LogicalPlan, DataFusionError> {
    let rows = settings
        .goals
        .iter()
        .map(|goal| vec![text(&goal.metric), goal.limit_ns.into()]);
    literals(
        &[("metric", DataType::Utf8), ("limit_ns", DataType::Int64)],
        rows.collect(),
    )
}

/// Returns one row: what numbers are held against.
pub(super) fn settings(settings: &Settings) -> Result<LogicalPlan, DataFusionError> {
    let report_settings = &settings.report_settings;
    let row = vec![
        report_settings.stall_ns.into(),
        report_settings.reader_tps.into(),
        report_settings.price_input.into(),
        report_settings.price_output.into(),
        report_settings.gpu_hour.into(),
        i64::from(report_settings.gpus).into(),
        WINDOW_BLOCKS.into(),
    ];
    literals(
        &[
            ("stall_ns", DataType::Int64),
            ("reader_tps", DataType::Float64),
            ("price_input", DataType::Float64),
            ("price_output", DataType::Float64),
            ("gpu_hour", DataType::Float64),
            ("gpus", DataType::Int64),
            ("blocks", DataType::Int64),
        ],
        vec![row],
    )
}

/// Makes a relation of literal rows.
fn literals(
    columns: &[(&str, DataType)],
    rows: Vec<Vec<ScalarValue>>,
) -> Result<LogicalPlan, DataFusionError> {
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
        .collect();
    let schema = Arc::new(DFSchema::try_from(Schema::new(fields))?);
    if rows.is_empty() {
        return Ok(LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: false,
            schema,
        }));
    }
    let rows = rows
        .into_iter()
        .map(|row| row.into_iter().map(lit).collect())
        .collect();
    let values = LogicalPlanBuilder::values_with_schema(rows, &schema)?;
    let names: Vec<_> = values
        .schema()
        .columns()
        .into_iter()
        .zip(columns)
        .map(|(column, (name, _))| Expr::Column(column).alias(*name))
        .collect();
    values.project(names)?.build()
}

fn text(value: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(value.into()))
}

fn json(value: &impl serde::Serialize) -> ScalarValue {
    ScalarValue::Utf8(serde_json::to_string(value).ok())
}

fn utc(at_ns: i64, clock: &[Offset]) -> ScalarValue {
    ScalarValue::TimestampNanosecond(Offset::utc_ns(clock, at_ns), Some("UTC".into()))
}
