//! Files that say what made-up conversations are like, in the form of vLLM's benchmark of conversations.
//!
//! Lengths and numbers mean what they mean there. The words are this program's own, so that lengths are
//! exact, and each conversation is drawn by itself: lengths are not scaled until their mean is exact.

use std::path::Path;

use serde_json::{Map, Value};

use super::super::dataset::DatasetSetup;
use super::super::error::WorkloadError;
use super::distribution::Distribution;
use super::flags::OfAll;
use super::forms::from_json;
use super::made_up::{MAX_TOKENS, MadeUp, Settings, Start};
use super::rounds::Rounds;
use crate::draw::{Draw, field};

/// What such a file says of itself.
const FILE_TYPE: &str = "generate_conversations";

const FORM: &str = "a file of `generate_conversations` has `num_conversations`, `prompt_input` with \
                    `num_turns` and `num_tokens`, and `prompt_output` with `num_tokens`, each of them \
                    such as {\"distribution\": \"uniform\", \"min\": 12, \"max\": 18}";

/// Whether an object is such a file.
pub(super) fn is_config(object: &Map<String, Value>) -> bool {
    object.get("filetype").and_then(Value::as_str) == Some(FILE_TYPE)
}

/// Makes conversations as the file at `path` says.
///
/// # Errors
///
/// The file lacks something, or some of it makes no sense.
pub(super) fn open(
    path: &Path,
    config: &Map<String, Value>,
    flags: OfAll,
    setup: DatasetSetup<'_>,
) -> Result<MadeUp, WorkloadError> {
    let wrong = |message: String| WorkloadError::dataset(path, message, FORM);
    let size = match config.get("num_conversations") {
        None => return Err(wrong("it has no `num_conversations`".to_owned())),
        Some(value) => value.as_u64().filter(|size| *size > 0).ok_or_else(|| {
            wrong(format!(
                "its `num_conversations` is {value}, and no whole number above 0"
            ))
        })?,
    };
    let input = |name| required(config, "prompt_input", name).map_err(wrong);
    let turn_tokens = input("num_tokens")?;
    let common_tokens =
        optional(config, "prompt_input", "common_prefix_num_tokens").map_err(wrong)?;
    let mut draw = Draw::new(setup.workload.seed(), 0, field::PREFIX_LENGTH);
    let common_tokens = common_tokens.sample_count(&mut draw, 0).min(MAX_TOKENS / 2);
    let recorded_output = required(config, "prompt_output", "num_tokens").map_err(wrong)?;
    let settings = Settings {
        turns: input("num_turns")?,
        messages_a_turn: 2,
        first_tokens: turn_tokens.clone(),
        turn_tokens,
        output_tokens: flags.output_tokens.unwrap_or(recorded_output),
        think_s: flags.think_s.unwrap_or_else(|| Distribution::constant(0.0)),
        max_turns: flags.max_turns,
        start: Start::InFirst {
            common_tokens,
            own_tokens: optional(config, "prompt_input", "prefix_num_tokens").map_err(wrong)?,
        },
    };
    let names_texts = config
        .get("text_files")
        .is_some_and(|files| !files.is_null());
    let remark = "the files that `text_files` names are not read: words are made up";
    Ok(MadeUp {
        settings,
        rounds: Some(Rounds::new(size, &setup)),
        workload: setup.workload,
        remarks: names_texts.then(|| remark.to_owned()).into_iter().collect(),
    })
}

/// Reads `name` of a section.
fn required(
    config: &Map<String, Value>,
    section: &str,
    name: &str,
) -> Result<Distribution, String> {
    let found = in_section(config, section, name)?;
    let found = found.ok_or_else(|| format!("its `{section}` has no `{name}`"))?;
    from_json(found).map_err(|why| format!("`{name}` of its `{section}`: {why}"))
}

/// Reads `name` of a section; 0 where it is not there.
fn optional(
    config: &Map<String, Value>,
    section: &str,
    name: &str,
) -> Result<Distribution, String> {
    match in_section(config, section, name)? {
        None => Ok(Distribution::constant(0.0)),
        Some(_) => required(config, section, name),
    }
}

fn in_section<'a>(
    config: &'a Map<String, Value>,
    section: &str,
    name: &str,
) -> Result<Option<&'a Value>, String> {
    let found = config.get(section);
    let found = found.ok_or_else(|| format!("it has no `{section}`"))?;
    let found = found.as_object();
    let found = found.ok_or_else(|| format!("its `{section}` is no object"))?;
    Ok(found.get(name))
}
