//! `trace`: looking at arrival traces, and turning them into canonical ones.

use std::fmt::Write as _;

use super::args::{ConvertArgs, Global, TraceVerb};
use super::interrupt::{NOTHING_WRITTEN, until_interrupted};
use super::output::WholeFile;
use super::talk::{print, say};
use super::{inspect, synthesize};
use crate::error::{Error, exit};
use crate::plan::Restarts;
use crate::trace::{Conversion, Converted, FormatInfo, convert, formats};

pub(super) fn run(verb: &TraceVerb, global: &Global) -> Result<u8, Error> {
    match verb {
        TraceVerb::Formats => print(&list(&formats())).map(|()| exit::DONE),
        TraceVerb::Inspect(args) => inspect::run(args, global),
        TraceVerb::Convert(args) => run_conversion(args, global),
        TraceVerb::Synthesize(args) => synthesize::run(args, global),
    }
}

fn run_conversion(args: &ConvertArgs, global: &Global) -> Result<u8, Error> {
    let output = WholeFile::open_parquet(&args.out, global.force)?;
    let conversion = Conversion {
        path: args.trace.clone(),
        format: args.format.clone(),
        map: args.map.clone(),
        session_prompts: args.session_prompts,
        continues_clock: args.restarts == Restarts::Continue,
        is_sorted: args.sort,
        output: args.out.clone(),
    };
    let Some(converted) = until_interrupted(convert(&conversion, output.file()), NOTHING_WRITTEN)?
    else {
        return Ok(exit::INTERRUPTED);
    };
    let converted = converted?;
    output.keep()?;
    tell(&converted, args);
    Ok(exit::DONE)
}

fn tell(converted: &Converted, args: &ConvertArgs) {
    say(&format!(
        "wrote {} rows of format `{}` to `{}`",
        converted.rows,
        converted.format,
        args.out.display()
    ));
    if converted.failed > 0 {
        say(&format!(
            "note: {} of them are marked as failed; a replay leaves them out",
            converted.failed
        ));
    }
    if converted.new_only > 0 {
        say(&format!(
            "note: {} rows hold only what is new in their session's turn; they are written as they \
             are, and a replay sends them with their history",
            converted.new_only
        ));
    }
    if converted.out_of_order > 0 {
        let what = if args.sort {
            "were put in order"
        } else {
            "stand after a younger one; `--sort` puts them in order"
        };
        say(&format!("note: {} rows {what}", converted.out_of_order));
    }
}

fn list(formats: &[FormatInfo]) -> String {
    let mut out = String::new();
    for format in formats {
        // Writing to a string can't fail.
        let _ = writeln!(out, "{}  {}", format.name, format.purpose);
        let _ = writeln!(out, "  columns   {}", format.requires.join(", "));
        if !format.requires_one_of.is_empty() {
            let _ = writeln!(out, "  one of    {}", format.requires_one_of.join(", "));
        }
        if !format.optional.is_empty() {
            let _ = writeln!(out, "  optional  {}", format.optional.join(", "));
        }
        for unit in &format.units {
            let _ = writeln!(out, "  unit      {unit}");
        }
        if let Some(block) = &format.block {
            let _ = writeln!(out, "  blocks    {block}");
        }
        if !format.notes.is_empty() {
            let _ = writeln!(out, "  note      {}", format.notes);
        }
        if format.is_from_schema {
            out.push_str(
                "  tested    on rows written from the published schema, not on real ones\n",
            );
        }
        out.push('\n');
    }
    out.push_str("Any other trace: write a mapping in SQL and name it with `--map FILE.sql`.\n");
    out
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;

    use super::{Error, exit, list};
    use crate::cli::args::App;
    use crate::cli::run;
    use crate::trace::{BUNDLED, formats};

    fn convert(folder: &Path, words: &[&str]) -> Result<u8, Error> {
        let trace = folder.join("t.csv").display().to_string();
        let out = folder.join("out.parquet").display().to_string();
        let start = ["tokentape", "trace", "convert", &trace, "-o", &out];
        run(&App::parse_from(start.iter().chain(words)))
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_conversion_writes_one_file_and_replaces_it_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::write(folder.join("t.csv"), BUNDLED[0].text).unwrap();
        assert_eq!(convert(folder, &[]).unwrap(), exit::DONE);
        assert_eq!(names(folder), ["out.parquet", "t.csv"]);
        let error = convert(folder, &["--sort"]).unwrap_err();
        assert!(matches!(error, Error::Exists(_)), "{error}");
        let sorted = convert(folder, &["--sort", "--force", "--format", "azure"]);
        assert_eq!(sorted.unwrap(), exit::DONE);
        assert_eq!(names(folder), ["out.parquet", "t.csv"]);
    }

    #[test]
    fn a_conversion_that_fails_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let bad = format!("{}2026-01-05 09:00:00,0,1\n", BUNDLED[0].text);
        fs::write(folder.join("t.csv"), bad).unwrap();
        for words in [&[][..], &["--sort"], &["--format", "mooncake"]] {
            let error = convert(folder, words).unwrap_err();
            assert_eq!(error.exit_code(), exit::IO);
            assert_eq!(names(folder), ["t.csv"]);
        }
    }

    #[test]
    fn stdout_is_no_place_for_parquet() {
        let words = ["tokentape", "trace", "convert", "t.csv", "-o", "-"];
        let error = run(&App::parse_from(words)).unwrap_err();
        assert_eq!(error.exit_code(), exit::USAGE);
        assert!(error.hint().is_some());
        let words = ["tokentape", "trace", "convert", "t.csv", "-o", "t.JSONL"];
        let error = run(&App::parse_from(words)).unwrap_err();
        assert_eq!(error.exit_code(), exit::USAGE, "a name that promises text");
    }

    #[test]
    fn every_format_is_listed() {
        let list = list(&formats());
        for format in formats() {
            let line = format!("{}  {}\n", format.name, format.purpose);
            assert!(list.contains(&line), "{list}");
        }
        assert!(list.contains("columns   arrival_ns, input_tokens, output_tokens\n"));
    }
}
