//! `sql`: questions to tapes.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::args::{SqlArgs, SqlFormat};
use super::talk::{print, say};
use crate::analyze::{listing, needed_by, shown};
use crate::error::Error;
use crate::sql::{Format, block_on, format_batches, run_sql};
use crate::visible::visible_lines;

pub(super) fn run(args: &SqlArgs) -> Result<(), Error> {
    if args.list {
        return print(&listing());
    }
    if let Some(name) = &args.show {
        return print(file_of(name)?);
    }
    let sql = statements(args)?;
    let tapes = args.judge.tapes(&args.tapes);
    if tapes.is_empty() {
        return Err(Error::usage(
            "no tape was named",
            "name it, such as `tokentape sql run.tape`",
        ));
    }
    let settings = args.judge.options()?.settings();
    let answers = block_on(run_sql(&tapes, &sql, &needed_by(&sql), settings))
        .map_err(|error| Error::System("start the SQL engine".into(), error))??;
    let format = match args.format {
        SqlFormat::Table => Format::Table,
        SqlFormat::Csv => Format::Csv,
        SqlFormat::Json => Format::Json,
        SqlFormat::Ndjson => Format::Ndjson,
        SqlFormat::Markdown => Format::Markdown,
    };
    for (run, note) in &answers.notes {
        say(&format!("note: `{run}`: {note}"));
    }
    for batches in answers.results? {
        let text = format_batches(&batches, format)?;
        // A table is for the eye, wherever it goes.
        print(&match format {
            Format::Table | Format::Markdown => visible_lines(&text),
            Format::Csv | Format::Json | Format::Ndjson => text.as_str().into(),
        })?;
    }
    Ok(())
}

/// Returns the statements that were asked for, from wherever they come.
fn statements(args: &SqlArgs) -> Result<String, Error> {
    match (&args.command, &args.query, &args.file) {
        (Some(command), ..) => Ok(command.clone()),
        (None, Some(name), _) => file_of(name).map(str::to_owned),
        (None, None, Some(path)) if path.as_os_str() != "-" => {
            fs::read_to_string(path).map_err(|source| Error::File {
                verb: "read",
                path: path.clone(),
                source,
            })
        }
        _ => read_stdin(),
    }
}

/// Returns the file of a query or a view.
fn file_of(name: &str) -> Result<&'static str, Error> {
    shown(name).ok_or_else(|| {
        Error::usage(
            format!("`{name}` is no query and no view"),
            "list them with `tokentape sql --list`",
        )
    })
}

fn read_stdin() -> Result<String, Error> {
    let mut sql = String::new();
    io::stdin()
        .lock()
        .read_to_string(&mut sql)
        .map_err(|source| Error::File {
            verb: "read",
            path: Path::new("-").to_owned(),
            source,
        })?;
    Ok(sql)
}
