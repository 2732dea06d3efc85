//! Groups of requests: runs that repeat each other, and parts of one tape.
//!
//! What `--by` names is looked up as a label of the tapes, then as a label of their steps, then as
//! a column of `requests`. Tapes with one value of their label are repeats of each other and stay
//! runs of their own. The parts of a tape become runs too, each with the requests of one value, so
//! that every query answers for each of them.

use datafusion::common::{Column, DataFusionError, ScalarValue};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::prelude::SessionContext;

use super::error::{SqlError, message};
use super::opened_tape::OpenedTape;
use super::order::by_value;
use super::views::requests_of;
use crate::capture::schema::RequestRow;
use crate::server_names::short_names;

/// The most parts that tapes are split into.
const MOST_PARTS: usize = 32;

/// The name that stands for the number of a step.
const STEP: &str = "step";

/// The column that has the server of a request.
const TARGET: &str = "target";

/// A value that parts tapes, and the requests that have it.
struct Part {
    value: ScalarValue,
    filter: Expr,
}

/// Groups tapes, or splits them, by what `by` names.
pub(super) async fn split(
    context: &SessionContext,
    mut tapes: Vec<OpenedTape>,
    by: &str,
) -> Result<Vec<OpenedTape>, SqlError> {
    let label = |tape: &OpenedTape| tape.manifest.labels.get(by).cloned();
    if tapes.iter().any(|tape| label(tape).is_some()) {
        for tape in &mut tapes {
            tape.group = label(tape).ok_or_else(|| SqlError::NoLabel {
                run: tape.run.clone(),
                label: by.to_owned(),
            })?;
        }
        // A label of numbers is an axis: the smallest is what others are held against. Words are
        // in the order in which their tapes were named.
        let is_axis = tapes.iter().all(|tape| tape.group.parse::<f64>().is_ok());
        if is_axis {
            tapes.sort_by(|a, b| by_value(&a.group, &b.group));
        }
        return Ok(tapes);
    }
    let mut found = Vec::new();
    for tape in &tapes {
        for part in parts_of(context, tape, by, &tapes).await? {
            if found.len() >= MOST_PARTS {
                return Err(SqlError::ManyParts {
                    by: by.to_owned(),
                    most: MOST_PARTS,
                });
            }
            found.push((tape, part));
        }
    }
    let values: Vec<&ScalarValue> = found.iter().map(|(_, part)| &part.value).collect();
    let words = words(by, &values);
    let is_only = tapes.len() == 1;
    let named = found.into_iter().zip(words);
    let mut parts: Vec<_> = named
        .map(|((tape, part), word)| named_part(tape, part, format!("{by}={word}"), is_only))
        .collect();
    // The first part of the first tape is what others are held against: the smallest value.
    parts.sort_by(|(a, _), (b, _)| by_value(&a.to_string(), &b.to_string()));
    Ok(parts.into_iter().map(|(_, tape)| tape).collect())
}

/// The values in words, in their order: servers by what tells them apart.
fn words(by: &str, values: &[&ScalarValue]) -> Vec<String> {
    let known = values.iter().filter(|value| !value.is_null());
    let mut words: Vec<String> = known.map(|value| value.to_string()).collect();
    if by == TARGET {
        let addresses: Vec<&str> = words.iter().map(String::as_str).collect();
        words = short_names(&addresses);
    }
    let mut words = words.into_iter();
    let word = |value: &&ScalarValue| match value.is_null() {
        true => "none".to_owned(),
        false => words.next().unwrap_or_default(),
    };
    values.iter().map(word).collect()
}

fn named_part(
    tape: &OpenedTape,
    part: Part,
    group: String,
    is_only: bool,
) -> (ScalarValue, OpenedTape) {
    let tape = OpenedTape {
        run: if is_only {
            group.clone()
        } else {
            format!("{} {group}", tape.run)
        },
        group,
        part: Some(part.filter),
        ..tape.clone()
    };
    (part.value, tape)
}

async fn parts_of(
    context: &SessionContext,
    tape: &OpenedTape,
    by: &str,
    all: &[OpenedTape],
) -> Result<Vec<Part>, SqlError> {
    let column = |name: &str| Expr::Column(Column::from_name(name));
    let has_step_label = |tape: &OpenedTape| {
        let mut steps = tape.manifest.steps.iter();
        steps.any(|step| step.labels.contains_key(by))
    };
    if all.iter().any(has_step_label) {
        let mut parts: Vec<Part> = Vec::new();
        for step in &tape.manifest.steps {
            let value = ScalarValue::Utf8(step.labels.get(by).cloned());
            let is_in = column(STEP).eq(lit(step.step));
            match parts.iter_mut().find(|part| part.value == value) {
                Some(part) => part.filter = part.filter.clone().or(is_in),
                None => parts.push(Part {
                    value,
                    filter: is_in,
                }),
            }
        }
        return Ok(parts);
    }
    if RequestRow::schema().field_with_name(by).is_err() {
        return Err(unknown(by, all));
    }
    let failed = |error| SqlError::View {
        name: "tape_requests".to_owned(),
        reason: message(&error),
    };
    let requests = requests_of(tape)?;
    let values = values(context, requests, by).await.map_err(failed)?;
    Ok(values
        .into_iter()
        .map(|value| Part {
            filter: if value.is_null() {
                column(by).is_null()
            } else {
                column(by).eq(lit(value.clone()))
            },
            value,
        })
        .collect())
}

/// The values that measured requests have in a column, at most one more than is allowed.
async fn values(
    context: &SessionContext,
    requests: LogicalPlan,
    by: &str,
) -> Result<Vec<ScalarValue>, DataFusionError> {
    let column = |name: &str| Expr::Column(Column::from_name(name));
    let plan = LogicalPlanBuilder::from(requests)
        .filter(column("phase").eq(lit("measure")))?
        .aggregate(vec![column(by)], vec![count(lit(1)).alias("requests")])?
        .limit(0, Some(MOST_PARTS + 1))?
        .build()?;
    let mut values = Vec::new();
    for batch in super::statements::collect(context, plan).await? {
        let column = batch.column(0);
        for row in 0..batch.num_rows() {
            values.push(ScalarValue::try_from_array(column, row)?);
        }
    }
    Ok(values)
}

fn unknown(by: &str, tapes: &[OpenedTape]) -> SqlError {
    let mut labels: Vec<String> = tapes
        .iter()
        .flat_map(|tape| {
            let steps = tape.manifest.steps.iter();
            let of_steps = steps.flat_map(|step| step.labels.keys());
            tape.manifest.labels.keys().chain(of_steps).cloned()
        })
        .collect();
    labels.sort();
    labels.dedup();
    SqlError::NoGroup {
        by: by.to_owned(),
        labels,
    }
}
