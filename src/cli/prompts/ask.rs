//! Asks the user on a terminal which prompts to make, and how many.

use std::io::{BufRead, Write};

use super::super::args::{PatternArg, parse_count};
use crate::error::Error;
use crate::workload::Pattern;

/// Prompts of each pattern where the user only presses Enter.
const USUAL_COUNT: u64 = 100;

/// Answers to one question that are not understood, before it is given up.
const TRIES: u32 = 5;

/// Asks for what is missing.
///
/// # Errors
///
/// [`Error::Usage`] where there is no answer; [`Error::File`] where the terminal can't be read.
pub(super) fn ask(
    answers: &mut impl BufRead,
    talk: &mut impl Write,
    pattern: Option<PatternArg>,
    count: Option<u64>,
) -> Result<(PatternArg, u64), Error> {
    let pattern = match pattern {
        Some(pattern) => pattern,
        None => {
            let mut menu = String::from("Which prompts?\n");
            for (at, pattern) in Pattern::ALL.iter().enumerate() {
                menu += &format!(
                    "  {}  {:<18} {} tokens in, {} out\n",
                    at + 1,
                    pattern.name(),
                    pattern.input_tokens(),
                    pattern.output_tokens()
                );
            }
            let question = format!("{menu}Pattern, 1 to 3 or `all` [all]: ");
            one_answer(answers, talk, &question, "--pattern", parse_pattern)?
        }
    };
    let count = match count {
        Some(count) => count,
        None => {
            let each = if pattern == PatternArg::All {
                " of each"
            } else {
                ""
            };
            let question = format!("How many{each} [{USUAL_COUNT}]: ");
            one_answer(answers, talk, &question, "--count", |text| match text {
                "" => Ok(USUAL_COUNT),
                text => parse_count(text),
            })?
        }
    };
    Ok((pattern, count))
}

/// Asks one question until the answer is understood.
fn one_answer<T>(
    answers: &mut impl BufRead,
    talk: &mut impl Write,
    question: &str,
    flag: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Error> {
    let mut say = |text: &str| {
        // Whoever can't read the question may still know the answer.
        let _ = talk.write_all(text.as_bytes()).and_then(|()| talk.flush());
    };
    say(question);
    for _ in 0..TRIES {
        let mut line = String::new();
        let length = answers.read_line(&mut line).map_err(|source| Error::File {
            verb: "read",
            path: "stdin".into(),
            source,
        })?;
        if length == 0 {
            say("\n");
            break;
        }
        match parse(line.trim()) {
            Ok(answer) => return Ok(answer),
            Err(message) => say(&format!("{message}: ")),
        }
    }
    Err(Error::usage(
        format!("there is no answer to what `{flag}` is to be"),
        format!("give `{flag}` on the command line"),
    ))
}

fn parse_pattern(text: &str) -> Result<PatternArg, String> {
    let all = [
        PatternArg::ShortInLongOut,
        PatternArg::LongInLongOut,
        PatternArg::LongInShortOut,
    ];
    let named = |pattern: &Pattern| pattern.name() == text;
    let at = match text {
        "" | "all" => return Ok(PatternArg::All),
        text => (Pattern::ALL.iter().position(named))
            .or_else(|| text.parse::<usize>().ok()?.checked_sub(1)),
    };
    at.and_then(|at| all.get(at).copied())
        .ok_or_else(|| "write 1, 2, 3 or `all`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answers: &str, pattern: Option<PatternArg>, count: Option<u64>) -> (String, String) {
        let mut talk = Vec::new();
        let answer = ask(&mut answers.as_bytes(), &mut talk, pattern, count);
        let answer = answer.map_or_else(|error| error.to_string(), |found| format!("{found:?}"));
        (answer, String::from_utf8(talk).unwrap())
    }

    #[test]
    fn what_is_missing_is_asked_for_until_it_is_understood() {
        let (answer, talk) = asked("7\n2\nmany\n0\n12\n", None, None);
        assert_eq!(answer, "(LongInLongOut, 12)");
        insta::assert_snapshot!(talk, @r"
        Which prompts?
          1  short-in-long-out  30..50 tokens in, 200..800 out
          2  long-in-long-out   500..800 tokens in, 300..800 out
          3  long-in-short-out  500..800 tokens in, 10..30 out
        Pattern, 1 to 3 or `all` [all]: write 1, 2, 3 or `all`: How many [100]: write how many prompts to make: a whole number from 1 to 10000000: write how many prompts to make: a whole number from 1 to 10000000:
        ");
        assert_eq!(asked("\n\n", None, None).0, "(All, 100)");
        let named = asked("short-in-long-out\n", None, Some(3)).0;
        assert_eq!(named, "(ShortInLongOut, 3)");
    }

    #[test]
    fn what_is_given_is_not_asked_for() {
        let all = Some(PatternArg::All);
        assert_eq!(asked("5\n", all, None).1, "How many of each [100]: ");
        assert_eq!(
            asked("", all, Some(5)),
            ("(All, 5)".to_owned(), String::new())
        );
    }

    #[test]
    fn an_end_and_endless_nonsense_are_no_answers() {
        assert!(asked("", None, None).0.contains("`--pattern`"));
        assert!(asked("1\n", None, None).0.contains("`--count`"));
        assert!(
            asked(&"x\n".repeat(99), None, None)
                .0
                .contains("`--pattern`")
        );
    }
}
