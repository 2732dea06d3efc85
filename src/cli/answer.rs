//! `answer`: the process that answers one question; another process starts it, and nobody types it.

use std::error::Error as _;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};

use super::args::AnswerArgs;
use super::sql::engine;
use crate::analyze::needed_by;
use crate::error::Error;
use crate::runtime::block_on;
use crate::sql::{SqlError, Word, answer, confine, hear, tell};
use crate::visible::{visible, visible_lines};

pub(super) fn run(args: &AnswerArgs) -> u8 {
    let mut out = Pipe {
        stdout: BufWriter::new(io::stdout()),
        is_terminal: io::stdout().is_terminal(),
        is_closed: false,
    };
    match answered(args, &mut out) {
        Err(error) if !out.is_closed => {
            tell(&Word::Refused {
                message: with_causes(&error),
                hint: error.hint(),
                is_usage: matches!(&error, Error::Sql(error) if error.is_usage()),
            });
            error.exit_code()
        }
        // A reader that has gone away is no error.
        _ => 0,
    }
}

fn answered(args: &AnswerArgs, out: &mut Pipe) -> Result<(), Error> {
    let system = |verb| move |source| SqlError::System { verb, source };
    let question = hear().map_err(system("read the question"))?;
    confine(question.limits).map_err(system("limit the memory of a process"))?;
    let told = |run: &str, note: &str| {
        tell(&Word::Note {
            run: run.to_owned(),
            note: note.to_owned(),
        });
    };
    block_on(answer(&args.tapes, &question, &needed_by, told, out)).map_err(engine)??;
    out.flush().map_err(|source| Error::File {
        verb: "write",
        path: "-".into(),
        source,
    })
}

/// Returns what an error says, and its causes, one a line.
fn with_causes(error: &Error) -> String {
    let mut text = visible(&error.to_string()).into_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = visible(&error.to_string()).into_owned();
        if !text.contains(&why) {
            text.push_str("\n  caused by: ");
            text.push_str(&why);
        }
        cause = error.source();
    }
    text
}

/// The stdout of this process, which knows when nobody reads it any more. To a terminal, text is shown
/// without what it would do to it.
struct Pipe {
    stdout: BufWriter<Stdout>,
    is_terminal: bool,
    is_closed: bool,
}

impl Pipe {
    fn heed<T>(&mut self, written: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &written {
            self.is_closed |= error.kind() == io::ErrorKind::BrokenPipe;
        }
        written
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = if self.is_terminal {
            let text = String::from_utf8_lossy(bytes);
            let shown = visible_lines(&text);
            self.stdout
                .write_all(shown.as_bytes())
                .map(|()| bytes.len())
        } else {
            self.stdout.write(bytes)
        };
        self.heed(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.stdout.flush();
        self.heed(flushed)
    }
}
