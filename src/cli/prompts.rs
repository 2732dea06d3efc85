//! `prompts`: a data set of prompts that templates make, as files.

mod ask;
mod table;

use std::fs;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{Global, PatternArg, PromptsArgs};
use super::hub;
use super::interrupt::{NOTHING_WRITTEN, until_interrupted};
use super::output::{WholeFile, write_error};
use super::talk::{has_color, print_painted, say};
use crate::error::{Error, exit};
use crate::workload::{
    MadePrompt, Pattern, PromptFormat, PromptMaker, PromptSettings, PromptSummary, PromptWriter,
    Tokenizer,
};

/// Where files go that the user did not name.
const FOLDER: &str = "input";

pub(super) fn run(args: &PromptsArgs, global: &Global) -> Result<u8, Error> {
    if let Some(tokenizer) = &args.tokenizer {
        hub::fetch_tokenizer(tokenizer)?;
    }
    let (pattern, count) = asked(args)?;
    let has_range = args.input_tokens.is_some() || args.output_tokens.is_some();
    if pattern == PatternArg::All && has_range {
        return Err(Error::usage(
            "`--input-tokens` and `--output-tokens` are those of one pattern",
            "name it with `--pattern`, and run once for each",
        ));
    }
    let form = match &args.out {
        Some(path) => form_of(path)?,
        None => PromptFormat::Csv,
    };
    let settings = PromptSettings {
        patterns: pattern.patterns().to_vec(),
        count,
        languages: args.language.languages().to_vec(),
        input_tokens: args.input_tokens,
        output_tokens: args.output_tokens,
        seed: args.seed,
        tokenizer: None,
    };
    let work = make(args, settings, form, global.force);
    let Some(made) = until_interrupted(work, NOTHING_WRITTEN)? else {
        return Ok(exit::INTERRUPTED);
    };
    match made? {
        Some(made) => tell(args, &made, global),
        // Whoever read stdout has gone away.
        None => Ok(()),
    }?;
    Ok(exit::DONE)
}

/// Returns which prompts are wanted and how many, from the command line or from whoever sits there.
fn asked(args: &PromptsArgs) -> Result<(PatternArg, u64), Error> {
    if let (Some(pattern), Some(count)) = (args.pattern, args.count) {
        return Ok((pattern, count));
    }
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        let (mut answers, mut talk) = (io::stdin().lock(), io::stderr().lock());
        return ask::ask(&mut answers, &mut talk, args.pattern, args.count);
    }
    let missing = match (args.pattern, args.count) {
        (None, None) => "nothing says which prompts to make, and how many",
        (None, _) => "nothing says which prompts to make",
        _ => "nothing says how many prompts to make",
    };
    Err(Error::usage(
        missing,
        "give `--pattern` and `--count`, such as `--pattern all --count 100`; only on a terminal are \
         they asked for",
    ))
}

fn form_of(path: &Path) -> Result<PromptFormat, Error> {
    if path.as_os_str() == "-" {
        return Ok(PromptFormat::JsonLines);
    }
    PromptFormat::of_name(path).ok_or_else(|| {
        Error::usage(
            format!(
                "`--out {}`: the ending of the name does not say which form the file is to have",
                path.display()
            ),
            "end it with `.csv`, `.jsonl` or `.json`",
        )
    })
}

/// What was made.
struct Made {
    summary: PromptSummary,
    files: Vec<PathBuf>,
}

/// Makes the prompts and writes them. Returns none where nobody reads stdout any more.
async fn make(
    args: &PromptsArgs,
    mut settings: PromptSettings,
    form: PromptFormat,
    replaces: bool,
) -> Result<Option<Made>, Error> {
    // From here on a wish to stop is heard.
    tokio::task::yield_now().await;
    let out = args.out.as_deref();
    let form = (form, args.tokenizer.is_some());
    let mut sinks = Sinks::open(out, &settings.patterns, form, replaces)?;
    if let Some(path) = &args.tokenizer {
        settings.tokenizer = Some(Arc::new(Tokenizer::load(path)?));
    }
    let mut maker = PromptMaker::new(settings)?;
    let mut summary = PromptSummary::default();
    loop {
        tokio::task::yield_now().await;
        let batch = maker.next_batch()?;
        if batch.is_empty() {
            break;
        }
        for prompt in &batch {
            summary.add(prompt);
            if !sinks.write(prompt)? {
                return Ok(None);
            }
        }
    }
    let files = sinks.keep()?;
    Ok(files.map(|files| Made { summary, files }))
}

/// Prints what the prompts are like, and how to send them.
fn tell(args: &PromptsArgs, made: &Made, global: &Global) -> Result<(), Error> {
    let tokenizer = args
        .tokenizer
        .as_ref()
        .map(|path| path.display().to_string());
    if made.files.is_empty() {
        let table = table::render(&made.summary, tokenizer.as_deref(), false);
        table.lines().for_each(say);
        return Ok(());
    }
    let color = has_color(global.color);
    print_painted(&table::render(&made.summary, tokenizer.as_deref(), color))?;
    for file in &made.files {
        say(&format!("wrote `{}`", file.display()));
    }
    let is_data_set = |file: &&PathBuf| form_of(file).is_ok_and(|form| form != PromptFormat::Json);
    if let Some(file) = made.files.first().filter(is_data_set) {
        say(&format!(
            "`tokentape load --dataset-name custom --dataset-path {}` sends its prompts",
            file.display()
        ));
    }
    Ok(())
}

/// Where prompts go.
struct Sinks {
    sinks: Vec<Sink>,
    /// After what is in it, so that it goes away where that does.
    _folder: Option<MadeFolder>,
}

/// A file of prompts.
struct Sink {
    path: PathBuf,
    /// The one pattern that it has; all where there is none.
    pattern: Option<Pattern>,
    writer: PromptWriter<BufWriter<Box<dyn Write + Send>>>,
    /// None for stdout.
    file: Option<WholeFile>,
}

impl Sink {
    fn open(
        path: &Path,
        pattern: Option<Pattern>,
        (form, is_exact): (PromptFormat, bool),
        replaces: bool,
    ) -> Result<Self, Error> {
        let (into, file): (Box<dyn Write + Send>, _) = if path.as_os_str() == "-" {
            (Box::new(io::stdout()), None)
        } else {
            let file = WholeFile::open(path, replaces)?;
            let into = file.file().try_clone();
            let into = into.map_err(|source| write_error(path, source))?;
            (Box::new(into), Some(file))
        };
        Ok(Self {
            path: path.to_owned(),
            pattern,
            writer: PromptWriter::new(form, BufWriter::with_capacity(1 << 16, into), is_exact),
            file,
        })
    }
}

impl Sinks {
    /// Opens one file for all patterns, or one in [`FOLDER`] for each.
    fn open(
        out: Option<&Path>,
        patterns: &[Pattern],
        form: (PromptFormat, bool),
        replaces: bool,
    ) -> Result<Self, Error> {
        if let Some(path) = out {
            return Ok(Self {
                sinks: vec![Sink::open(path, None, form, replaces)?],
                _folder: None,
            });
        }
        let folder = MadeFolder::make(Path::new(FOLDER))?;
        let sinks = patterns.iter().map(|&pattern| {
            let path = Path::new(FOLDER).join(pattern.file_name());
            Sink::open(&path, Some(pattern), form, replaces)
        });
        Ok(Self {
            sinks: sinks.collect::<Result<_, _>>()?,
            _folder: Some(folder),
        })
    }

    /// Writes a prompt to its file. Says whether somebody reads it.
    fn write(&mut self, prompt: &MadePrompt) -> Result<bool, Error> {
        let is_its = |sink: &&mut Sink| sink.pattern.is_none_or(|of| of == prompt.pattern);
        match self.sinks.iter_mut().find(is_its) {
            Some(sink) => is_read(sink.writer.write(prompt), &sink.path),
            None => Ok(true),
        }
    }

    /// Ends the files and gives them their names, which it returns; none where nobody reads stdout.
    fn keep(self) -> Result<Option<Vec<PathBuf>>, Error> {
        let mut whole = Vec::new();
        for sink in self.sinks {
            if !is_read(sink.writer.finish(), &sink.path)? {
                return Ok(None);
            }
            whole.extend(sink.file.map(|file| (sink.path, file)));
        }
        let kept = whole.into_iter().map(|(path, file)| {
            file.keep()?;
            Ok(path)
        });
        kept.collect::<Result<_, Error>>().map(Some)
    }
}

/// A reader of stdout that has gone away is no error.
fn is_read(written: io::Result<()>, path: &Path) -> Result<bool, Error> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if path.as_os_str() == "-" && error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(false)
        }
        Err(error) => Err(write_error(path, error)),
    }
}

/// A folder that goes away again where it was made and nothing came of it.
struct MadeFolder {
    path: PathBuf,
    is_new: bool,
}

impl MadeFolder {
    fn make(path: &Path) -> Result<Self, Error> {
        let is_new = fs::symlink_metadata(path).is_err();
        fs::create_dir_all(path).map_err(|source| write_error(path, source))?;
        let path = path.to_owned();
        Ok(Self { path, is_new })
    }
}

impl Drop for MadeFolder {
    fn drop(&mut self) {
        if self.is_new {
            // One with files in it stays.
            let _ = fs::remove_dir(&self.path);
        }
    }
}
