//! `view`: the report as a live page, until Ctrl-C.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Parser as _;
use tokio::net::TcpListener;

use super::analyze::{templates, thresholds};
use super::args::{FormArgs, Lang, ViewArgs, Warmup, WindowArgs};
use super::goals::not_a_goal;
use super::interrupt::interrupted;
use super::judge::span;
use super::talk::say;
use crate::analyze::{Options, Thresholds};
use crate::error::Error;
use crate::report::PageOptions;
use crate::runtime::block_on;
use crate::sql::{Limits, Output, ask, open_tapes};
use crate::view::{Fields, Reader, View, Wanted, new_token, serve};

/// What one question to the page may take, where the command line says nothing else.
const LIMITS: Limits = Limits {
    memory_bytes: 1 << 30,
    timeout: Some(Duration::from_mins(2)),
    gives_way: true,
};

pub(super) fn run(args: &ViewArgs) -> Result<(), Error> {
    let tapes = args.judge.tapes(&args.tapes);
    let reader = reader(args)?;
    let fields = fields(args);
    let wanted = reader(&fields).map_err(|reason| Error::usage(reason, "see `view --help`"))?;
    let token = new_token().map_err(|_| {
        let source = std::io::Error::other("it has no randomness to give");
        Error::System("make a token".into(), source)
    })?;
    let serving = async {
        // A tape that cannot be read is told here, and not on a page.
        let opened = open_tapes(&tapes, &wanted.options.settings()).await?;
        for tape in &opened.runs {
            for note in &tape.notes {
                say(&format!("note: `{}`: {note}", tape.run));
            }
        }
        let asked = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
        let refused = |error| Error::System(format!("listen on {asked}"), error);
        let listener = TcpListener::bind(asked).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        say(&format!(
            "the report is on http://{address}/{token}/ until Ctrl-C"
        ));
        let view = View {
            tapes,
            fields,
            reader,
            ask: Box::new(|tapes, question| ask(tapes, question, &Output::Pieces, |_, _| {})),
            limits: args.limits.or(LIMITS),
            token,
        };
        serve(listener, view).await.map_err(refused)
    };
    let until_told = async {
        tokio::select! {
            // First, so that a signal is noted from the start.
            biased;
            () = interrupted() => {
                say("stopped: the report is no longer served");
                Ok(())
            }
            served = serving => served,
        }
    };
    block_on(until_told).map_err(|error| Error::System("start the server".into(), error))?
}

/// Returns what reads the page's form: what it has stands in for what the command line said.
fn reader(args: &ViewArgs) -> Result<Reader, Error> {
    let base = Options {
        thresholds: args
            .thresholds
            .as_deref()
            .map_or_else(|| Ok(Thresholds::default()), thresholds)?,
        memory_bytes: args.limits.memory_limit,
        ..args.judge.options()?
    };
    let templates = args.template.as_deref().map(templates).transpose()?;
    let templates = templates.unwrap_or_default();
    Ok(Box::new(move |fields| {
        let form = parsed(fields)?;
        let told = |error: Error| match error.hint() {
            Some(hint) => format!("{error}: {hint}"),
            None => error.to_string(),
        };
        if let Some(word) = form.goals.goodput.iter().find(|word| !word.contains(':')) {
            return Err(told(not_a_goal(word)));
        }
        Ok(Wanted {
            options: Options {
                slos: form.goals.parse().map_err(told)?,
                span: span(&form.window).map_err(told)?,
                by: form.by,
                ..base.clone()
            },
            page: PageOptions {
                templates: templates.clone(),
                language: form.lang.into(),
                live: None,
            },
        })
    }))
}

/// Reads a form by the rules of the command line.
fn parsed(fields: &Fields) -> Result<FormArgs, String> {
    let mut words = Vec::new();
    for name in ["warmup", "from", "to", "by", "lang"] {
        let value = fields.some(name);
        words.extend(value.map(|value| format!("--{name}={value}")));
    }
    for goal in fields
        .get("goodput")
        .split([' ', ','])
        .filter(|goal| !goal.is_empty())
    {
        words.push(format!("--goodput={goal}"));
    }
    FormArgs::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        line.trim_start_matches("error: ").to_owned()
    })
}

/// Writes what the command line said into the form.
fn fields(args: &ViewArgs) -> Fields {
    let WindowArgs { warmup, from, to } = args.judge.window;
    let time = |ns: Option<i64>| ns.map_or_else(String::new, |ns| format!("{ns}ns"));
    let goals = args
        .judge
        .goals
        .goodput
        .iter()
        .filter(|word| word.contains(':'));
    let goals: Vec<&str> = goals.map(String::as_str).collect();
    Fields::new([
        ("goodput", goals.join(" ")),
        (
            "warmup",
            match warmup {
                Warmup::Auto => "auto".to_owned(),
                Warmup::Given(ns) => time(Some(ns).filter(|ns| *ns != 0)),
            },
        ),
        ("from", time(from)),
        ("to", time(to)),
        ("by", args.by.clone().unwrap_or_default()),
        (
            "lang",
            match args.lang {
                Lang::En => "en",
                Lang::Zh => "zh",
            }
            .to_owned(),
        ),
    ])
}
