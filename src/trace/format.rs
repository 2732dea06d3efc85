//! Formats: the mappings that are shipped, their headers, and how a file's format is recognised.
//!
//! A format is one SQL file with a header of `-- key: value` lines. It is recognised by the names
//! of a file's columns, never by their position: published traces put new columns in the middle.

use std::path::Path;

use super::error::TraceError;

/// The mappings that are shipped, in the order in which they are listed.
const SHIPPED: [&str; 4] = [
    include_str!("../../queries/traces/azure.sql"),
    include_str!("../../queries/traces/burstgpt.sql"),
    include_str!("../../queries/traces/canonical.sql"),
    include_str!("../../queries/traces/mooncake.sql"),
];

/// A trace format: a mapping's header and its SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatInfo {
    /// What `--format` calls it.
    pub name: String,
    /// One line on what it is.
    pub purpose: String,
    /// Columns without which a file is not of this format.
    pub requires: Vec<String>,
    /// Columns that the mapping reads where the file has them; else they are null.
    pub optional: Vec<String>,
    /// Columns that a file of this format does not have.
    pub rejects: Vec<String>,
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
        .filter(|format| !format.rejects.iter().any(|name| columns.contains(name)))
        .collect();
    let most = fitting.iter().map(|format| format.requires.len()).max();
    fitting.retain(|format| Some(format.requires.len()) == most);
    match fitting.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(TraceError::UnknownColumns {
            path: path.to_owned(),
            found: columns.to_vec(),
            formats: formats.iter().map(requirement).collect(),
        }),
        several => Err(TraceError::Ambiguous {
            path: path.to_owned(),
            formats: several.iter().map(|format| format.name.clone()).collect(),
        }),
    }
}

/// Fails where a file lacks a column that `format` requires.
pub(super) fn check_columns(
    format: &FormatInfo,
    path: &Path,
    columns: &[String],
) -> Result<(), TraceError> {
    let missing = missing_columns(format, columns);
    if missing.is_empty() {
        return Ok(());
    }
    Err(TraceError::MissingColumns {
        path: path.to_owned(),
        format: format.name.clone(),
        missing,
        found: columns.to_vec(),
    })
}

fn missing_columns(format: &FormatInfo, columns: &[String]) -> Vec<String> {
    format
        .requires
        .iter()
        .filter(|name| !columns.contains(name))
        .cloned()
        .collect()
}

fn requirement(format: &FormatInfo) -> String {
    let mut line = format!(
        "format {} requires: {}",
        format.name,
        format.requires.join(", ")
    );
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
        optional: Vec::new(),
        rejects: Vec::new(),
        quantum_ns: None,
        is_ordered: true,
        block: None,
        units: Vec::new(),
        notes: String::new(),
        sql: sql.to_owned(),
    };
    for line in sql.trim_start_matches('\u{feff}').lines() {
        let Some((key, value)) = line
            .strip_prefix("--")
            .and_then(|line| line.split_once(':'))
        else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "name" => format.name = value.to_owned(),
            "purpose" => format.purpose = value.to_owned(),
            "requires" => format.requires = columns(value),
            "optional" => format.optional = columns(value),
            "rejects" => format.rejects = columns(value),
            "quantum" => {
                format.quantum_ns = Some(duration_ns(value).ok_or_else(|| {
                    wrong(format!(
                        "has `-- quantum: {value}`, which is not a duration such as `1s` or `100ns`"
                    ))
                })?);
            }
            "ordered" => {
                format.is_ordered = match value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err(wrong(format!("has `-- ordered: {value}`, not yes or no"))),
                };
            }
            "block" => format.block = (value != "none").then(|| value.to_owned()),
            "units" => format.units.push(value.to_owned()),
            "notes" => {
                if !format.notes.is_empty() {
                    format.notes.push(' ');
                }
                format.notes.push_str(value);
            }
            _ => {}
        }
    }
    if format.requires.is_empty() {
        return Err(wrong(
            "has no `-- requires: COLUMNS` line in its header".to_owned(),
        ));
    }
    Ok(format)
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

    use super::{TraceError, choose, duration_ns, format_named, formats, parse, recognise};

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
            for key in ["requires", "rejects", "quantum", "ordered", "block"] {
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
        columns.push("chat_id".to_owned());
        let error = recognise(path, &columns).unwrap_err();
        assert!(matches!(error, TraceError::UnknownColumns { .. }));
        assert!(error.to_string().contains("`chat_id`"), "{error}");
        assert!(
            error.to_string().contains("and none of: chat_id"),
            "{error}"
        );
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
            "there is no trace format `burst`; known are `azure`, `burstgpt`, `canonical`, `mooncake`"
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
