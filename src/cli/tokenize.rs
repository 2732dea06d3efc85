//! `tokenize`: counts the tokens of prompts as a server does, so that a user can check.

use std::ffi::OsStr;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use tempfile::NamedTempFile;

use super::args::{TokenizeArgs, TokenizeForm};
use super::talk::{print, say};
use super::{drive, hub, plan};
use crate::backend::{COUNTING_SERVERS, Countable};
use crate::error::{Error, exit};
use crate::flag::defaults;
use crate::load::{CountError, ServerTokenizer};
use crate::plan::SERVER_TOKENIZER;
use crate::report::columns::{WIDTH, table};
use crate::report::format;
use crate::report::grid::{Field, Grid};
use crate::workload::{
    Content, DATASETS, Dataset, DatasetSetup, PromptCounter, PromptForm, Tokenizer, Unreadable,
    Workload, WorkloadError, dataset_kind, open_text,
};

/// Bytes of a text at most.
const MAX_BYTES: u64 = 64 << 20;

/// Prompts that are told one by one where the server counts otherwise.
const MOST_TOLD: usize = 5;

pub(super) fn run(args: &TokenizeArgs) -> Result<u8, Error> {
    if args.tokenizer.is_none() && args.base_url.is_none() {
        return Err(Error::usage(
            "nothing says how tokens are counted",
            "name a tokenizer with `--tokenizer`, a server that counts with `--base-url`, or both",
        ));
    }
    let extra_body = plan::extra_body(args.extra_body.as_deref())?;
    let counter = counter(args, &extra_body)?;
    if let Some(note) = counter.as_ref().and_then(PromptCounter::note) {
        say(&note);
    }
    let server = match &args.base_url {
        Some(url) => Some(server(url, args)?),
        None => None,
    };
    let mut counting = Counting {
        counter,
        server,
        is_chat: args.backend.is_chat(),
        extra_body,
        is_csv: args.format == TokenizeForm::Csv,
        off: Vec::new(),
        differ: 0,
    };
    let mut sums = Vec::new();
    if counting.is_csv {
        print("file,prompt,characters,tokens,server_tokens\n")?;
    }
    for path in &args.files {
        sums.push((path, counting.file(path)?));
    }
    if !counting.is_csv {
        let grid = grid(&sums, &counting);
        let mut text = String::new();
        table(&mut text, &grid, WIDTH, false);
        print(&text)?;
        for line in &counting.off {
            say(line);
        }
        match counting.differ.saturating_sub(counting.off.len() as u64) {
            0 => {}
            more => say(&format!("and {more} more (`--format csv` lists all)")),
        }
    }
    Ok(exit::DONE)
}

fn counter(
    args: &TokenizeArgs,
    extra_body: &Map<String, Value>,
) -> Result<Option<PromptCounter>, Error> {
    let Some(path) = &args.tokenizer else {
        return Ok(None);
    };
    if path.as_os_str() == SERVER_TOKENIZER {
        return Err(Error::usage(
            "`tokenize` asks the server where `--base-url` names one",
            "leave out `--tokenizer server`",
        ));
    }
    hub::fetch_tokenizer(path)?;
    let tokenizer = Arc::new(Tokenizer::load(path)?);
    let template = args.chat_template.as_deref();
    if template.is_some() && !args.backend.is_chat() {
        return Err(Error::usage(
            format!(
                "`--backend {}` is no chat, and has no chat template",
                args.backend.name()
            ),
            "name a backend of chats, such as the first that `--help` lists",
        ));
    }
    let form = match args.backend.is_chat() {
        true => PromptForm::of_chat(template, path)?,
        false => PromptForm::Text,
    };
    Ok(Some(PromptCounter::new(
        tokenizer,
        form,
        extra_body.clone(),
    )))
}

/// What the prompts of a file come to.
#[derive(Debug, Default)]
struct Sums {
    prompts: u64,
    characters: u64,
    tokens: u64,
    least: Option<u64>,
    most: Option<u64>,
    server_tokens: u64,
    /// Prompts that the server counts as we do.
    equal: u64,
}

/// One prompt of a file.
struct Prompt {
    text: String,
    messages: Option<Vec<Value>>,
    /// Its own fields of the body, with the user's over them.
    fields: Option<Map<String, Value>>,
}

struct Counting {
    counter: Option<PromptCounter>,
    server: Option<ServerTokenizer>,
    is_chat: bool,
    extra_body: Map<String, Value>,
    is_csv: bool,
    /// What is said of prompts that the server counts otherwise.
    off: Vec<String>,
    /// Number of those prompts.
    differ: u64,
}

impl Counting {
    fn file(&mut self, path: &Path) -> Result<Sums, Error> {
        let mut sums = Sums::default();
        let copy = match path.as_os_str() == "-" {
            true => Some(of_stdin()?),
            false => None,
        };
        let file = copy.as_ref().map_or(path, NamedTempFile::path);
        if let Some(text) = text_of(path, file)? {
            let prompt = Prompt {
                text,
                messages: None,
                fields: None,
            };
            self.prompt(path, 1, &prompt, &mut sums)?;
            return Ok(sums);
        }
        let lines = self.lines(file)?;
        for index in 0..lines.limit().unwrap_or(0) {
            let prompt = self.of_content(lines.request(index));
            self.prompt(path, index + 1, &prompt, &mut sums)?;
        }
        Ok(sums)
    }

    /// Opens a file as the data set of the user's own requests: what `load` sends of it is counted.
    fn lines(&self, file: &Path) -> Result<Box<dyn Dataset>, Error> {
        let kind = dataset_kind("custom").expect("it is one of the data sets");
        let open = kind.requests().expect("it has requests");
        Ok(open(DatasetSetup {
            options: &defaults(kind.flags),
            path: Some(file),
            workload: Arc::new(Workload::new(&Arc::new(Tokenizer::embedded()), 0)),
            count_tokens: None,
            count: None,
            repeats: false,
            is_shuffled: true,
            is_chat: self.is_chat,
            kinds: DATASETS,
        })?)
    }

    fn of_content(&self, content: Content) -> Prompt {
        // Both were read as JSON of these kinds.
        let messages = content.messages.as_deref().map(serde_json::from_str);
        let fields = content.fields.as_deref().map(serde_json::from_str);
        let mut fields: Map<String, Value> = fields.and_then(Result::ok).unwrap_or_default();
        fields.extend(self.extra_body.clone());
        Prompt {
            text: content.text,
            messages: messages.and_then(Result::ok),
            fields: Some(fields),
        }
    }

    fn prompt(
        &mut self,
        path: &Path,
        number: u64,
        prompt: &Prompt,
        sums: &mut Sums,
    ) -> Result<(), Error> {
        let fields = prompt.fields.as_ref().unwrap_or(&self.extra_body);
        let messages = prompt.messages.as_deref();
        let own = match &self.counter {
            Some(counter) => {
                let refused = |why: &str| {
                    Error::usage(
                        format!("`{}`, prompt {number}: {why}", path.display()),
                        "see which roles and contents the template takes, and in which order",
                    )
                };
                let count = counter
                    .try_verbatim(&prompt.text, messages, Some(fields))
                    .map_err(|error| refused(&error.to_string()))?;
                Some(u64::from(count.ok_or_else(|| {
                    refused("what is more than text can't be counted here")
                })?))
            }
            None => None,
        };
        let alone = [serde_json::json!({ "role": "user", "content": prompt.text })];
        let countable = match self.is_chat {
            true => Countable::Messages(messages.unwrap_or(&alone), fields),
            false => Countable::Prompt(&prompt.text),
        };
        let counted = self.server.as_ref().map(|server| server.count(countable));
        let servers = counted.transpose().map_err(|error| uncounted(&error))?;
        let characters = prompt.text.chars().count() as u64;
        let tokens = own.or(servers).unwrap_or(0);
        sums.prompts += 1;
        sums.characters += characters;
        sums.tokens += tokens;
        sums.least = Some(sums.least.map_or(tokens, |least| least.min(tokens)));
        sums.most = Some(sums.most.map_or(tokens, |most| most.max(tokens)));
        sums.server_tokens += servers.unwrap_or(0);
        let is_equal = own.zip(servers).is_none_or(|(own, servers)| own == servers);
        sums.equal += u64::from(is_equal);
        self.differ += u64::from(!is_equal);
        if !is_equal && self.off.len() < MOST_TOLD {
            self.off.push(format!(
                "`{}`, prompt {number}: {tokens} tokens here, {} by the server",
                path.display(),
                servers.unwrap_or(0)
            ));
        }
        if self.is_csv {
            let optional = |count: Option<u64>| count.map_or(String::new(), |n| n.to_string());
            let name = path.display().to_string().replace('"', "\"\"");
            print(&format!(
                "\"{name}\",{number},{characters},{},{}\n",
                optional(own),
                optional(servers)
            ))?;
        }
        Ok(())
    }
}

/// Keeps what comes on standard input, which is looked into before it is read.
fn of_stdin() -> Result<NamedTempFile, Error> {
    let failed = |source| Error::File {
        verb: "read",
        path: "-".into(),
        source,
    };
    let mut copy = NamedTempFile::new().map_err(failed)?;
    io::copy(&mut io::stdin().lock(), &mut copy).map_err(failed)?;
    Ok(copy)
}

/// Reads a file that is one text: it is not named as one of requests is, and does not begin with an object.
fn text_of(name: &Path, file: &Path) -> Result<Option<String>, Error> {
    let mut endings = name.file_name().and_then(OsStr::to_str).unwrap_or_default();
    endings = endings.strip_suffix(".gz").unwrap_or(endings);
    if [".jsonl", ".ndjson", ".json", ".csv"]
        .iter()
        .any(|ending| endings.ends_with(ending))
    {
        return Ok(None);
    }
    let unread =
        |why: Unreadable| WorkloadError::unreadable(name, why, "see what the system says of it");
    let mut opened = open_text(file).map_err(unread)?;
    let start = opened.fill_buf().map_err(|error| unread(error.into()))?;
    if start.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    let mut text = Vec::new();
    let read = opened.take(MAX_BYTES + 1).read_to_end(&mut text);
    read.map_err(|error| unread(error.into()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::usage(
            format!("`{}` is over {} MiB", name.display(), MAX_BYTES >> 20),
            "count a part of it",
        ));
    }
    let text = String::from_utf8(text);
    text.map(Some).map_err(|_| {
        Error::usage(
            format!("`{}` is no UTF-8 text", name.display()),
            "write it as UTF-8",
        )
    })
}

fn grid(sums: &[(&std::path::PathBuf, Sums)], counting: &Counting) -> Grid {
    let mut headings = vec![
        "file",
        "#prompts",
        "#characters",
        "#tokens",
        "#mean",
        "#min",
        "#max",
    ];
    let compares = counting.server.is_some() && counting.counter.is_some();
    if compares {
        headings.extend(["#by the server", "#equal"]);
    }
    let mut grid = Grid::new("Tokens", &headings);
    for (path, sums) in sums {
        let whole = |count: u64| Field::plain(count.to_string());
        #[expect(clippy::cast_precision_loss, reason = "a mean to one decimal")]
        let mean = (sums.prompts > 0).then(|| sums.tokens as f64 / sums.prompts as f64);
        let mut row = vec![
            Field::foreign(format::name(&path.display().to_string())),
            whole(sums.prompts),
            whole(sums.characters),
            whole(sums.tokens),
            Field::plain(format::optional(mean, 1)),
            whole(sums.least.unwrap_or(0)),
            whole(sums.most.unwrap_or(0)),
        ];
        if compares {
            row.push(whole(sums.server_tokens));
            row.push(Field::plain(format!("{} of {}", sums.equal, sums.prompts)));
        }
        grid.push(row);
    }
    grid
}

/// The server's own tokenizer.
fn server(base: &str, args: &TokenizeArgs) -> Result<ServerTokenizer, Error> {
    let base = base.trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    let models = plan::join(base, args.backend.models_endpoint())?;
    let key = drive::api_key(std::slice::from_ref(&models));
    let private = drive::private_for(
        vec![models.clone()],
        (&args.header, key),
        Map::new(),
        Vec::new(),
    )?;
    let model = match &args.model {
        Some(model) => model.clone(),
        None => drive::first_model(args.backend, &models, &private, false)?,
    };
    let trusted = (private.trust, private.secrets);
    ServerTokenizer::new(plan::join(base, "")?, model, private.headers, trusted)
        .map_err(|error| Error::System("start the client".into(), error))
}

/// No count came from a server.
fn uncounted(error: &CountError) -> Error {
    let hint = match error {
        CountError::Refused { .. } => {
            format!("leave `--base-url` out: {COUNTING_SERVERS} are known to count")
        }
        CountError::Unreachable { .. } => error.hint(),
    };
    Error::Target {
        message: error.to_string(),
        hint: Some(hint),
    }
}
