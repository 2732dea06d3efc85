//! `trace synthesize`: making traces.

use std::path::PathBuf;

use super::args::{ChangeArgs, Global, ServeGenArgs, SynthesizeArgs};
use super::interrupt::{NOTHING_WRITTEN, until_interrupted};
use super::output::WholeFile;
use super::talk::{say, warn};
use crate::error::{Error, exit};
use crate::trace::{Changes, ServeGen, ServeGenMade, Synthesis, Synthesized, generate, synthesize};
use crate::units::seconds;

pub(super) fn run(args: &SynthesizeArgs, global: &Global) -> Result<u8, Error> {
    let output = WholeFile::open_parquet(&args.out, global.force)?;
    match (&args.clients.servegen, &args.trace) {
        (Some(folder), _) => of_clients(folder.clone(), args, output),
        (None, Some(trace)) => of_trace(trace.clone(), args, output),
        // The parser of the command line asks for one of them.
        (None, None) => Err(Error::usage(
            "there is no trace",
            "name one, or give `--servegen`",
        )),
    }
}

fn of_trace(trace: PathBuf, args: &SynthesizeArgs, output: WholeFile) -> Result<u8, Error> {
    let synthesis = Synthesis {
        path: trace,
        format: args.format.clone(),
        map: args.map.clone(),
        changes: changes(&args.changes, args.seed),
        output: args.out.clone(),
    };
    let Some(made) = until_interrupted(synthesize(&synthesis, output.file()), NOTHING_WRITTEN)?
    else {
        return Ok(exit::INTERRUPTED);
    };
    let made = made?;
    output.keep()?;
    tell(&made, args);
    Ok(exit::DONE)
}

fn of_clients(folder: PathBuf, args: &SynthesizeArgs, output: WholeFile) -> Result<u8, Error> {
    let ServeGenArgs {
        from,
        length,
        rate,
        clients,
        ..
    } = args.clients;
    let asked = ServeGen {
        folder,
        from_ns: from.unwrap_or(0),
        for_ns: length,
        rate_per_s: rate,
        clients,
        seed: args.seed,
        output: args.out.clone(),
    };
    let Some(made) = until_interrupted(generate(&asked, output.file()), NOTHING_WRITTEN)? else {
        return Ok(exit::INTERRUPTED);
    };
    let made = made?;
    output.keep()?;
    tell_of_clients(&made, args);
    Ok(exit::DONE)
}

fn tell_of_clients(made: &ServeGenMade, args: &SynthesizeArgs) {
    for file in &made.left_out {
        warn(&format!(
            "`{file}` is left out: the client's other file is missing"
        ));
    }
    say(&format!(
        "wrote {} rows of {} clients, at {:.3} requests/s over {} s, to `{}`",
        made.written,
        made.clients,
        made.rate_per_s,
        seconds(made.length_ns),
        args.out.display()
    ));
    if made.borrowed > 0 {
        say(&format!(
            "note: {} windows with traffic have no lengths of their own, and those of another one",
            made.borrowed
        ));
    }
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
    fn a_folder_of_clients_takes_the_place_of_a_trace() {
        let folder = folder();
        let path = folder.path();
        fs::write(path.join("chunk-0-trace.csv"), "0,5,1,Gamma,1,1\r\n").unwrap();
        let lengths = r#"{"0": {"input_tokens": "{9: 1.0}", "output_tokens": "{3: 1.0}"}}"#;
        fs::write(path.join("chunk-0-dataset.json"), lengths).unwrap();
        let out = path.join("out.parquet").display().to_string();
        let clients = path.display().to_string();
        let start = ["tokentape", "trace", "synthesize", "-o", &out];
        let words = |more: &[&str]| App::try_parse_from(start.iter().chain(more));
        let hour = words(&["--servegen", &clients, "--for", "1m", "--rate", "2/s"]).unwrap();
        assert_eq!(run(&hour).unwrap(), exit::DONE);
        let late = words(&["--servegen", &clients, "--from", "1h", "--force"]).unwrap();
        assert_eq!(run(&late).unwrap_err().exit_code(), exit::USAGE);
        let none = words(&["--servegen", "no/such/folder", "--force"]).unwrap();
        assert_eq!(run(&none).unwrap_err().exit_code(), exit::IO);
        assert!(words(&[]).is_err());
        assert!(words(&["t.csv", "--for", "1m"]).is_err());
        assert!(words(&["t.csv", "--servegen", &clients]).is_err());
        assert!(words(&["--servegen", &clients, "--rate-scale", "2"]).is_err());
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
