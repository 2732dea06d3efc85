//! `trace synthesize`: making traces.

use super::args::{ChangeArgs, Global, SynthesizeArgs};
use super::talk::say;
use super::trace::{open_parquet, until_interrupted};
use crate::error::{Error, exit};
use crate::trace::{Changes, Synthesis, Synthesized, synthesize};
use crate::units::seconds;

pub(super) fn run(args: &SynthesizeArgs, global: &Global) -> Result<u8, Error> {
    let output = open_parquet(&args.out, global)?;
    let synthesis = Synthesis {
        path: args.trace.clone(),
        format: args.format.clone(),
        map: args.map.clone(),
        changes: changes(&args.changes, args.seed),
        output: args.out.clone(),
    };
    let Some(made) = until_interrupted(synthesize(&synthesis, output.file()))? else {
        return Ok(exit::INTERRUPTED);
    };
    let made = made?;
    output.keep()?;
    tell(&made, args);
    Ok(exit::DONE)
}

fn changes(args: &ChangeArgs, seed: u64) -> Changes {
    Changes {
        rate_scale: args.rate_scale,
        copy_shift_ns: args.copy_shift,
        input_scale: args.input_scale,
        output_scale: args.output_scale,
        windows: args.window.clone(),
        seed,
    }
}

fn tell(made: &Synthesized, args: &SynthesizeArgs) {
    say(&format!(
        "wrote {} rows, made of {} of format `{}`, to `{}`",
        made.written,
        made.read,
        made.format,
        args.out.display()
    ));
    if !args.changes.window.is_empty() {
        say(&format!(
            "note: {} rows lay in the windows",
            made.in_windows
        ));
    }
    if made.sessions > 0 {
        say(&format!(
            "note: the trace has {} sessions, or conversations told by their prefix blocks",
            made.sessions
        ));
    }
    if made.copies > 1 {
        say(&format!(
            "note: {} copies, about {:.3} s one after the other (`--copy-shift`)",
            made.copies,
            seconds(made.copy_shift_ns)
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;

    use super::{Error, exit};
    use crate::cli::args::App;
    use crate::cli::run;
    use crate::trace::BUNDLED;

    fn synthesize(folder: &Path, words: &[&str]) -> Result<u8, Error> {
        let trace = folder.join("t.csv").display().to_string();
        let out = folder.join("out.parquet").display().to_string();
        let start = ["tokentape", "trace", "synthesize", &trace, "-o", &out];
        run(&App::parse_from(start.iter().chain(words)))
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t.csv"), BUNDLED[0].text).unwrap();
        folder
    }

    #[test]
    fn a_trace_is_written_and_replaced_only_by_force() {
        let folder = folder();
        let words = [
            "--rate-scale",
            "2.5",
            "--input-scale",
            "2",
            "--window",
            "2s..8s",
        ];
        assert_eq!(synthesize(folder.path(), &words).unwrap(), exit::DONE);
        let error = synthesize(folder.path(), &words).unwrap_err();
        assert!(matches!(error, Error::Exists(_)), "{error}");
        let forced = synthesize(folder.path(), &["--force", "--format", "azure"]);
        assert_eq!(forced.unwrap(), exit::DONE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_makes_no_sense_is_wrong_usage_and_leaves_nothing() {
        let folder = folder();
        for words in [
            ["--rate-scale", "0"],
            ["--rate-scale", "nan"],
            ["--rate-scale", "1e9"],
            ["--output-scale", "inf"],
            ["--window", "5s..5s"],
            ["--window", "1h..2h"],
            ["--rate-scale", "1e-9"],
        ] {
            let error = synthesize(folder.path(), &words).unwrap_err();
            assert_eq!(error.exit_code(), exit::USAGE, "{error}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{words:?}");
        }
        let words = ["tokentape", "trace", "synthesize", "t.csv", "-o", "-"];
        let error = run(&App::parse_from(words)).unwrap_err();
        assert_eq!(error.exit_code(), exit::USAGE);
    }

    #[test]
    fn windows_are_two_times_of_which_either_may_be_left_out() {
        let parsed = |word: &str| {
            let words = [
                "tokentape",
                "trace",
                "synthesize",
                "t",
                "-o",
                "o",
                "--window",
                word,
            ];
            App::try_parse_from(words).is_ok()
        };
        for word in ["10m..20m", "10m..", "..20m", "0..1.5h"] {
            assert!(parsed(word), "{word}");
        }
        for word in ["10m", "10m-20m", "10m..soon", "a..b", "..-1"] {
            assert!(!parsed(word), "{word}");
        }
    }
}
