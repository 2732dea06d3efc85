//! `sql`: questions to tapes.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::args::{SqlArgs, SqlFormat};
use super::talk::{print, say};
use crate::error::Error;
use crate::sql::{Format, block_on, format_batches, run_sql};

pub(super) fn run(args: &SqlArgs) -> Result<(), Error> {
    let sql = match (&args.command, &args.file) {
        (Some(command), _) => command.clone(),
        (None, Some(path)) if path.as_os_str() != "-" => {
            fs::read_to_string(path).map_err(|source| Error::File {
                verb: "read",
                path: path.clone(),
                source,
            })?
        }
        _ => read_stdin()?,
    };
    let answers = block_on(run_sql(&args.tapes, &sql))
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
        print(&format_batches(&batches, format)?)?;
    }
    Ok(())
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
