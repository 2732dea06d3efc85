//! `sql`: questions to tapes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::pin;

use futures::poll;
use tokio::runtime::Builder;

use super::args::{SqlArgs, SqlFormat};
use super::interrupt::interrupted;
use super::talk::{print, say};
use crate::analyze::{listing, shown};
use crate::error::{Error, exit};
use crate::runtime::half_of_the_memory;
use crate::sql::{Format, Limits, MOST_BYTES, Output, Question, ask};

pub(super) fn run(args: &SqlArgs) -> Result<u8, Error> {
    if args.list {
        return print(&listing()).map(|()| exit::DONE);
    }
    if let Some(name) = &args.show {
        return print(file_of(name)?).map(|()| exit::DONE);
    }
    let sql = statements(args)?;
    let tapes = args.judge.tapes(&args.tapes);
    if tapes.is_empty() {
        return Err(Error::usage(
            "no tape was named",
            "name it, such as `tokentape sql run.tape`",
        ));
    }
    let question = Question {
        sql,
        format: match args.format {
            SqlFormat::Table => Format::Table,
            SqlFormat::Csv => Format::Csv,
            SqlFormat::Json => Format::Json,
            SqlFormat::Ndjson => Format::Ndjson,
            SqlFormat::Markdown => Format::Markdown,
        },
        settings: args.judge.options()?.settings(),
        limits: args.limits.or(Limits {
            memory_bytes: half_of_the_memory(),
            timeout: None,
            gives_way: false,
        }),
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime
        .map_err(engine)?
        .block_on(answered(&tapes, &question))
}

/// Waits for the process that answers, or ends it at Ctrl-C.
async fn answered(tapes: &[PathBuf], question: &Question) -> Result<u8, Error> {
    let mut interrupted = pin!(interrupted());
    // From here on a signal is noted, so that nothing is left behind.
    if poll!(interrupted.as_mut()).is_ready() {
        return Ok(exit::INTERRUPTED);
    }
    let told = |run: &str, note: &str| say(&format!("note: `{run}`: {note}"));
    let mut answering = ask(tapes, question, &Output::Stdout, told).map_err(engine)?;
    let ended = tokio::select! {
        // It writes its answer itself, so there is nothing before the end.
        ended = answering.next() => ended.map(|_| exit::DONE).map_err(Error::from),
        () = interrupted => Ok(exit::INTERRUPTED),
    };
    answering.stop().await;
    ended
}

pub(super) fn engine(error: io::Error) -> Error {
    Error::System("start the SQL engine".into(), error)
}

/// Returns the statements that were asked for, from wherever they come.
fn statements(args: &SqlArgs) -> Result<String, Error> {
    match (&args.command, &args.query, &args.file) {
        (Some(command), ..) => Ok(command.clone()),
        (None, Some(name), _) => file_of(name).map(str::to_owned),
        (None, None, Some(path)) if path.as_os_str() != "-" => {
            let file = File::open(path);
            file.and_then(read).map_err(|source| Error::File {
                verb: "read",
                path: path.clone(),
                source,
            })
        }
        _ => read(io::stdin().lock()).map_err(|source| Error::File {
            verb: "read",
            path: Path::new("-").to_owned(),
            source,
        }),
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

/// Reads statements, as far as they have room: more of them are refused.
fn read(from: impl Read) -> io::Result<String> {
    let mut sql = Vec::new();
    from.take(MOST_BYTES as u64 + 1).read_to_end(&mut sql)?;
    let is_whole = sql.len() <= MOST_BYTES;
    String::from_utf8(sql).or_else(|error| {
        // One that is cut may be cut in the middle of a letter.
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let no_text = || io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8");
        Some(text).filter(|_| !is_whole).ok_or_else(no_text)
    })
}
