//! The words of the command line.

use std::env;
use std::ffi::OsString;

use super::vllm_words;

/// The words of this process's command line, with flags as they are declared: other tools of the field write
/// them with underscores too, or have flags of their own.
pub(super) fn typed() -> Vec<OsString> {
    let words: Vec<OsString> = env::args_os().map(dashed).collect();
    vllm_words::translated(&words).unwrap_or(words)
}

/// Whether the words of this process were those of another tool.
pub(super) fn are_translated() -> bool {
    let words: Vec<OsString> = env::args_os().map(dashed).collect();
    vllm_words::translated(&words).is_some()
}

fn dashed(word: OsString) -> OsString {
    let Some(text) = word.to_str().filter(|text| text.starts_with("--")) else {
        return word;
    };
    let (flag, value) = text.split_at(text.find('=').unwrap_or(text.len()));
    let is_flag = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    match flag.chars().all(is_flag) {
        true => format!("{}{value}", flag.replace('_', "-")).into(),
        false => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_known_by_underscores_too_and_values_stay_as_they_are() {
        let words = [
            ("--num_prompts", "--num-prompts"),
            ("--extra_body={\"a_b\": 1}", "--extra-body={\"a_b\": 1}"),
            ("prefix_repetition", "prefix_repetition"),
            ("--a b_c", "--a b_c"),
            ("-a_b", "-a_b"),
            ("--", "--"),
        ];
        for (typed, known) in words {
            assert_eq!(dashed(typed.into()), OsString::from(known));
        }
    }
}
