//! Formats: the mappings that are shipped, their headers, and how a file's format is recognised.
//!
//! A format is one SQL file with a header of `-- key: value` lines. It is recognised by the names
//! of a file's columns, never by their position: published traces put new columns in the middle.

use std::path::Path;

use serde_json::{Map, Value};

use super::error::TraceError;

/// The mappings that are shipped, in the order in which they are listed.
const SHIPPED: [&str; 24] = [
    include_str!("../../queries/traces/aibrix.sql"),
    include_str!("../../queries/traces/apex.sql"),
    include_str!("../../queries/traces/azure.sql"),
    include_str!("../../queries/traces/bailian.sql"),
    include_str!("../../queries/traces/burstgpt.sql"),
    include_str!("../../queries/traces/canonical.sql"),
    include_str!("../../queries/traces/copilot.sql"),
    include_str!("../../queries/traces/evalscope.sql"),
    include_str!("../../queries/traces/freeinference.sql"),
    include_str!("../../queries/traces/freeinference-requests.sql"),
    include_str!("../../queries/traces/guidellm.sql"),
    include_str!("../../queries/traces/llmservingsim.sql"),
    include_str!("../../queries/traces/llmservingsim-run.sql"),
    include_str!("../../queries/traces/mlperf-agentic.sql"),
    include_str!("../../queries/traces/mooncake.sql"),
    include_str!("../../queries/traces/mooncake-sessions.sql"),
    include_str!("../../queries/traces/otel-spans.sql"),
    include_str!("../../queries/traces/otlp.sql"),
    include_str!("../../queries/traces/ragpulse.sql"),
    include_str!("../../queries/traces/tracelab.sql"),
    include_str!("../../queries/traces/tracelab-replay.sql"),
    include_str!("../../queries/traces/vidur.sql"),
    include_str!("../../queries/traces/vllm-timed-trace.sql"),
    include_str!("../../queries/traces/weka.sql"),
];

/// What a trace's clock does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceClock {
    /// Arrivals are dates, or otherwise of one clock: a row that stands far back is out of order.
    Absolute,
    /// Arrivals are dates, or count from 0: a later file that begins at 0, as an earlier one did, is a
    /// recording of its own.
    FromZero,
    /// Arrivals count from somewhere: a clock that starts again is told of, because nobody knows how
    /// the two parts lie to each other.
    Relative,
    /// The clock of a file may start again, and then goes on where it was.
    Restarts,
}

/// What of a JSON line goes into the request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyField {
    /// The field of this name.
    Own(String),
    /// All fields of the object of this name.
    AllOf(String),
}

impl BodyField {
    /// Parses a name, or `name.*`.
    fn parse(text: &str) -> Self {
        match text.strip_suffix(".*") {
            Some(name) => Self::AllOf(name.to_owned()),
            None => Self::Own(text.to_owned()),
        }
    }

    /// Returns the column that it is read from.
    pub(super) fn column(&self) -> &str {
        match self {
            Self::Own(name) | Self::AllOf(name) => name,
        }
    }
}

/// A trace format: a mapping's header and its SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatInfo {
    /// What `--format` calls it.
    pub name: String,
    /// One line on what it is.
    pub purpose: String,
    /// Columns without which a file is not of this format.
    pub requires: Vec<String>,
    /// Columns of which a file of this format has at least one; empty where that is not asked for.
    pub requires_one_of: Vec<String>,
    /// Columns that the mapping reads where the file has them; else they are null.
    pub optional: Vec<String>,
    /// Columns that a file of this format does not have.
    pub rejects: Vec<String>,
    /// Objects of JSON lines that have what a file may lack: its columns are found as if they stood
    /// in it.
    pub like: Vec<Map<String, Value>>,
    /// Paths in JSON lines, with dots, at which whatever stands there is read as JSON text.
    pub raw: Vec<String>,
    /// Fields of JSON lines that are sent in the request's body as they are.
    pub body: Vec<BodyField>,
    /// Whether JSON lines are single messages of conversations, which the mapping reads as
    /// `__message`.
    pub has_messages: bool,
    /// What a session's prompts hold, where the format says it.
    pub new_only: Option<bool>,
    /// What the trace's clock does.
    pub clock: TraceClock,
    /// Whether the mapping was made from a published schema, without rows of a real file at hand.
    pub is_from_schema: bool,
    /// Step of the trace's clock, in nanoseconds; arrivals in one step have an unknown order.
    pub quantum_ns: Option<i64>,
    /// Whether files of this format are in order of arrival.
    pub is_ordered: bool,
    /// Length and scope of prefix blocks, in words; none where the format has no blocks.
    pub block: Option<String>,
    /// What the file's columns are counted in, a sentence each.
    pub units: Vec<String>,
    /// What else to know.
    pub notes: String,
    /// The whole mapping.
    pub sql: String,
}

/// Returns the formats that are shipped.
pub fn formats() -> Vec<FormatInfo> {
    SHIPPED
        .iter()
        .map(|sql| parse("shipped", sql).expect("a test parses every shipped mapping"))
        .collect()
}

/// Reads a user's own mapping.
pub(super) fn read_mapping(path: &Path) -> Result<FormatInfo, TraceError> {
    let sql = std::fs::read_to_string(path).map_err(|source| TraceError::MappingFile {
        path: path.to_owned(),
        source,
    })?;
    let mut format = parse(&path.display().to_string(), &sql)?;
    if format.name.is_empty() {
        format.name = path.display().to_string();
    }
    Ok(format)
}

/// Returns the shipped format called `name`.
pub(super) fn format_named(name: &str) -> Result<FormatInfo, TraceError> {
    let formats = formats();
    let known = formats.iter().map(|format| format.name.clone()).collect();
    formats
        .into_iter()
        .find(|format| format.name == name)
        .ok_or_else(|| TraceError::UnknownFormat {
            name: name.to_owned(),
            known,
        })
}

/// Returns the one shipped format that a file with `columns` can be.
///
/// Where several fit, the one that requires the most columns is meant.
pub(super) fn recognise(path: &Path, columns: &[String]) -> Result<FormatInfo, TraceError> {
    choose(formats(), path, columns)
}

fn choose(
    formats: Vec<FormatInfo>,
    path: &Path,
    columns: &[String],
) -> Result<FormatInfo, TraceError> {
    let mut fitting: Vec<&FormatInfo> = formats
        .iter()
        .filter(|format| missing_columns(format, columns).is_empty())
        .filter(|format| has_one_of(format, columns))
        .filter(|format| rejected(format, columns).is_none())
        .collect();
    let most = fitting.iter().map(|format| format.requires.len()).max();
    fitting.retain(|format| Some(format.requires.len()) == most);
    match fitting.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(TraceError::UnknownColumns {
            path: path.to_owned(),
            found: outermost(columns),
            formats: nearest(&formats, columns),
        }),
        several => Err(TraceError::Ambiguous {
            path: path.to_owned(),
            formats: several.iter().map(|format| format.name.clone()).collect(),
        }),
    }
}

/// Fails where a file lacks a column that `format` requires, or has one that speaks against it.
pub(super) fn check_columns(
    format: &FormatInfo,
    path: &Path,
    columns: &[String],
) -> Result<(), TraceError> {
    let mut missing = missing_columns(format, columns);
    if !has_one_of(format, columns) {
        missing.extend(format.requires_one_of.iter().cloned());
    }
    if !missing.is_empty() {
        return Err(TraceError::MissingColumns {
            path: path.to_owned(),
            format: format.name.clone(),
            missing,
            found: outermost(columns),
        });
    }
    let Some(column) = rejected(format, columns) else {
        return Ok(());
    };
    Err(TraceError::RejectedColumn {
        path: path.to_owned(),
        format: format.name.clone(),
        column: column.to_owned(),
        better: recognise(path, columns).ok().map(|format| format.name),
    })
}

fn has_one_of(format: &FormatInfo, columns: &[String]) -> bool {
    let wanted = &format.requires_one_of;
    wanted.is_empty() || wanted.iter().any(|name| columns.contains(name))
}

fn rejected<'a>(format: &'a FormatInfo, columns: &[String]) -> Option<&'a str> {
    let mut rejects = format.rejects.iter();
    rejects
        .find(|name| columns.contains(name))
        .map(String::as_str)
}

/// Returns the columns without the fields of those that hold objects.
fn outermost(columns: &[String]) -> Vec<String> {
    let is_field = |name: &str| {
        name.rsplit_once('.')
            .is_some_and(|(outer, _)| columns.iter().any(|column| column == outer))
    };
    let outermost = columns.iter().filter(|name| !is_field(name));
    outermost.cloned().collect()
}

fn missing_columns(format: &FormatInfo, columns: &[String]) -> Vec<String> {
    format
        .requires
        .iter()
        .filter(|name| !columns.contains(name))
        .cloned()
        .collect()
}

/// Says what the formats require that share the most columns with a file, or names all formats.
fn nearest(formats: &[FormatInfo], columns: &[String]) -> Vec<String> {
    let shared = |format: &FormatInfo| {
        let wanted = format.requires.iter().chain(&format.requires_one_of);
        let shared = wanted.filter(|name| columns.contains(name)).count();
        (shared > 0).then_some(shared)
    };
    let Some(most) = formats.iter().filter_map(shared).max() else {
        let names: Vec<&str> = formats.iter().map(|format| format.name.as_str()).collect();
        return vec![format!("known formats: {}", names.join(", "))];
    };
    let nearest = formats.iter().filter(|format| shared(format) == Some(most));
    nearest.map(requirement).collect()
}

fn requirement(format: &FormatInfo) -> String {
    let mut line = format!(
        "format {} requires: {}",
        format.name,
        format.requires.join(", ")
    );
    if !format.requires_one_of.is_empty() {
        line.push_str("; and one of: ");
        line.push_str(&format.requires_one_of.join(", "));
    }
    if !format.rejects.is_empty() {
        line.push_str("; and none of: ");
        line.push_str(&format.rejects.join(", "));
    }
    line
}

/// Parses a mapping's header.
fn parse(mapping: &str, sql: &str) -> Result<FormatInfo, TraceError> {
    let wrong = |message: String| TraceError::MappingHeader {
        mapping: mapping.to_owned(),
        message,
    };
    let mut format = FormatInfo {
        name: String::new(),
        purpose: String::new(),
        requires: Vec::new(),
        requires_one_of: Vec::new(),
        optional: Vec::new(),
        rejects: Vec::new(),
        like: Vec::new(),
        raw: Vec::new(),
        body: Vec::new(),
        has_messages: false,
        new_only: None,
        clock: TraceClock::Absolute,
        is_from_schema: false,
        quantum_ns: None,
        is_ordered: true,
        block: None,
        units: Vec::new(),
        notes: String::new(),
        sql: sql.to_owned(),
    };
    for line in sql.trim_start_matches('\u{feff}').lines() {
        if let Some((key, value)) = line
            .strip_prefix("--")
            .and_then(|line| line.split_once(':'))
        {
            format.set(key.trim(), value.trim()).map_err(|wanted| {
                wrong(format!(
                    "has `-- {}: {}`, which is not {wanted}",
                    key.trim(),
                    value.trim()
                ))
            })?;
        }
    }
    if format.requires.is_empty() {
        return Err(wrong(
            "has no `-- requires: COLUMNS` line in its header".to_owned(),
        ));
    }
    Ok(format)
}

impl FormatInfo {
    /// Takes a line of the header in; other comments pass. Fails with what the value should be.
    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        match key {
            "name" => value.clone_into(&mut self.name),
            "purpose" => value.clone_into(&mut self.purpose),
            "requires" => self.requires = columns(value),
            "requires one of" => self.requires_one_of = columns(value),
            "optional" => self.optional.extend(columns(value)),
            "rejects" => self.rejects.extend(columns(value)),
            "raw" => self.raw = columns(value),
            "body" => {
                let fields = columns(value);
                self.body
                    .extend(fields.iter().map(|field| BodyField::parse(field)));
            }
            "lines" => {
                self.has_messages = match value {
                    "messages" => true,
                    _ => return Err("messages"),
                };
            }
            "session prompts" => {
                self.new_only = match value {
                    "whole" => Some(false),
                    "new" => Some(true),
                    "told" => None,
                    _ => return Err("whole, new or told"),
                };
            }
            "like" => {
                let object = serde_json::from_str(value).map_err(|_| "a JSON object")?;
                self.like.push(object);
            }
            "clock" => {
                self.clock = match value {
                    "absolute" => TraceClock::Absolute,
                    "from-zero" => TraceClock::FromZero,
                    "relative" => TraceClock::Relative,
                    "restarts" => TraceClock::Restarts,
                    _ => return Err("absolute, from-zero, relative or restarts"),
                };
            }
            "tested on" => {
                self.is_from_schema = match value {
                    "real rows" => false,
                    "published schema" => true,
                    _ => return Err("real rows or published schema"),
                };
            }
            "quantum" => {
                let quantum_ns = duration_ns(value);
                let wanted = "a duration such as `1s` or `100ns`";
                self.quantum_ns = Some(quantum_ns.ok_or(wanted)?);
            }
            "ordered" => {
                self.is_ordered = match value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err("yes or no"),
                };
            }
            "block" => self.block = (value != "none").then(|| value.to_owned()),
            "units" => self.units.push(value.to_owned()),
            "notes" => {
                if !self.notes.is_empty() {
                    self.notes.push(' ');
                }
                self.notes.push_str(value);
            }
            _ => {}
        }
        Ok(())
    }
}

fn columns(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

fn duration_ns(value: &str) -> Option<i64> {
    let digits = value.find(|character: char| !character.is_ascii_digit())?;
    let (count, unit) = value.split_at(digits);
    let unit_ns = match unit.trim() {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    count.parse::<i64>().ok()?.checked_mul(unit_ns)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{check_columns, choose, duration_ns, format_named, formats, parse, recognise};

    fn names(columns: &[&str]) -> Vec<String> {
        columns.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn every_shipped_mapping_has_a_whole_header() {
        for format in formats() {
            assert!(!format.name.is_empty());
            assert!(!format.purpose.is_empty(), "{}", format.name);
            assert!(!format.units.is_empty(), "{}", format.name);
            assert!(format.quantum_ns.is_some(), "{}", format.name);
            assert!(format.sql.contains("FROM source"), "{}", format.name);
            for key in [
                "requires",
                "rejects",
                "quantum",
                "ordered",
                "clock",
                "block",
                "tested on",
            ] {
                assert!(
                    format.sql.contains(&format!("-- {key}:")),
                    "{} lacks {key}",
                    format.name
                );
            }
        }
    }

    #[test]
    fn every_mapping_in_the_folder_is_shipped() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries/traces");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let shipped: Vec<String> = formats().into_iter().map(|format| format.name).collect();
        assert_eq!(files, shipped);
    }

    #[test]
    fn columns_are_recognised_in_any_order() {
        let path = Path::new("trace");
        let columns = names(&["GeneratedTokens", "NumImages", "TIMESTAMP", "ContextTokens"]);
        assert_eq!(recognise(path, &columns).unwrap().name, "azure");
    }

    #[test]
    fn seconds_of_bailian_are_not_taken_for_milliseconds_of_mooncake() {
        let path = Path::new("trace");
        let mut columns = names(&["timestamp", "input_length", "output_length", "hash_ids"]);
        assert_eq!(recognise(path, &columns).unwrap().name, "mooncake");
        columns.extend(names(&["chat_id", "parent_chat_id"]));
        assert_eq!(recognise(path, &columns).unwrap().name, "bailian");
        let mooncake = format_named("mooncake").unwrap();
        let error = check_columns(&mooncake, path, &columns).unwrap_err();
        assert_eq!(
            error.to_string(),
            "trace `trace` has `chat_id`, which a file of format `mooncake` does not have"
        );
        assert!(error.hint().unwrap().contains("`bailian`"));
    }

    #[test]
    fn names_without_units_have_to_be_told_apart_by_the_user() {
        let columns = names(&["timestamp", "input_length", "output_length"]);
        let error = recognise(Path::new("trace"), &columns).unwrap_err();
        assert_eq!(
            error.to_string(),
            "trace `trace` could be any of the formats `guidellm`, `vllm-timed-trace`"
        );
    }

    #[test]
    fn what_an_object_holds_tells_formats_apart() {
        let path = Path::new("trace");
        let mut columns = names(&["timestamp", "input_length", "output_length", "hash_ids"]);
        columns.push("session_id".to_owned());
        assert_eq!(recognise(path, &columns).unwrap().name, "mooncake");
        columns.push("hash_ids.user_input".to_owned());
        assert_eq!(recognise(path, &columns).unwrap().name, "ragpulse");
    }

    #[test]
    fn two_formats_that_fit_equally_are_ambiguous() {
        let path = Path::new("trace");
        let both = vec![
            parse("a", "-- name: a\n-- requires: x, y").unwrap(),
            parse("b", "-- name: b\n-- requires: y, z").unwrap(),
        ];
        let error = choose(both.clone(), path, &names(&["x", "y", "z"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "trace `trace` could be any of the formats `a`, `b`"
        );
        assert_eq!(choose(both, path, &names(&["x", "y"])).unwrap().name, "a");
    }

    #[test]
    fn an_unknown_format_is_told_with_the_known_ones() {
        let error = format_named("burst").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no trace format `burst`; known are `aibrix`, `apex`, `azure`, \
             `bailian`, `burstgpt`, `canonical`, `copilot`, `evalscope`, `freeinference`, \
             `freeinference-requests`, `guidellm`, `llmservingsim`, `llmservingsim-run`, \
             `mlperf-agentic`, `mooncake`, `mooncake-sessions`, `otel-spans`, `otlp`, `ragpulse`, `tracelab`, `tracelab-replay`, \
             `vidur`, `vllm-timed-trace`, `weka`"
        );
    }

    #[test]
    fn a_header_without_requires_is_refused() {
        let error = parse("my.sql", "SELECT 1 AS arrival_ns FROM source").unwrap_err();
        assert_eq!(
            error.to_string(),
            "mapping `my.sql` has no `-- requires: COLUMNS` line in its header"
        );
    }

    #[test]
    fn a_clock_step_is_a_number_and_a_unit() {
        assert_eq!(duration_ns("1s"), Some(1_000_000_000));
        assert_eq!(duration_ns("100 ns"), Some(100));
        assert_eq!(duration_ns("s"), None);
        assert_eq!(duration_ns("10"), None);
        assert_eq!(duration_ns("3 days"), None);
        assert!(parse("m", "-- requires: a\n-- quantum: soon").is_err());
        assert!(parse("m", "-- requires: a\n-- ordered: maybe").is_err());
    }
}
