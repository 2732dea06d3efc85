//! The user's words → a plan; one file a verb, wiring only.

mod analyze;
mod answer;
mod args;
mod demo;
mod detect;
mod drive;
mod ending;
mod failure;
mod goals;
mod host;
mod hub;
mod inspect;
mod interrupt;
mod judge;
mod masks;
mod metrics;
mod other_tools;
mod output;
mod plan;
mod progress;
mod prompts;
mod run;
mod sampling;
mod shape;
mod simulate;
mod sql;
mod synthesize;
mod talk;
mod tokenize;
mod trace;
mod verify;
mod view;
mod vllm_words;
mod words;

use std::process::ExitCode;

use clap::{Command, CommandFactory, FromArgMatches};

use args::{App, Verb};

use crate::error::{Error, exit};
use crate::load::raise_open_files;

/// Runs the command line of this process. Returns its exit code.
pub fn main() -> ExitCode {
    let command = taking_negative_numbers(App::command());
    let parsed = command.try_get_matches_from(words::typed());
    let done = match parsed.and_then(|matches| App::from_arg_matches(&matches)) {
        Ok(mut app) => {
            raise_open_files();
            prepare(&mut app).and_then(|()| run(&app))
        }
        Err(refused) => match other_tools::about(&refused) {
            Some(error) => Err(error),
            None => refused.exit(),
        },
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            talk::complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Has flags take numbers below 0, so that what is said of one is why it can't be, and not that it is no flag.
fn taking_negative_numbers(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let takes_a_value = arg.get_long().is_some() && arg.get_action().takes_values();
            match takes_a_value {
                true => arg.allow_negative_numbers(true),
                false => arg,
            }
        })
        .mut_subcommands(taking_negative_numbers)
}

/// Finds out what the words alone do not say.
fn prepare(app: &mut App) -> Result<(), Error> {
    let target = match &mut app.verb {
        Verb::Load(args) => &mut args.common.target,
        Verb::Replay(args) => &mut args.common.target,
        _ => return Ok(()),
    };
    detect::find_backend(target, &app.global)
}

fn run(app: &App) -> Result<u8, Error> {
    let global = &app.global;
    if global.dry_run && !matches!(app.verb, Verb::Load(_) | Verb::Replay(_) | Verb::Run(_)) {
        return Err(Error::usage(
            "`--dry-run` shows the plan of `load`, `replay` and `run`, and this verb has none",
            "leave it out",
        ));
    }
    let is_large = !matches!(
        app.verb,
        Verb::Sql(_) | Verb::Trace(_) | Verb::Prompts(_) | Verb::Simulate(_)
    );
    if is_large {
        host::ensure_address_space()?;
    }
    match &app.verb {
        Verb::Demo(args) => demo::run(args, global),
        Verb::Replay(args) => drive::replay(args, global),
        Verb::Run(args) => run::run(args, global),
        Verb::Load(args) => drive::load(args, global),
        Verb::Analyze(args) => analyze::run(args, global),
        Verb::Sql(args) => sql::run(args),
        Verb::Answer(args) => Ok(answer::run(args)),
        Verb::Trace(verb) => trace::run(verb, global),
        Verb::Tokenize(args) => tokenize::run(args),
        Verb::Prompts(args) => prompts::run(args, global),
        Verb::Simulate(args) => simulate::run(args).map(|()| exit::DONE),
        Verb::View(args) => view::run(args).map(|()| exit::DONE),
        Verb::Verify(args) => verify::run(args, global),
    }
}
