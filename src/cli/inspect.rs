//! `trace inspect`: what a trace is like, for people or for scripts.

mod advice;
mod json;
mod terminal;
#[cfg(test)]
mod tests;

use super::args::{Global, InspectArgs};
use super::talk::{has_color, print, print_painted, say};
use super::trace::interrupted;
use crate::error::{Error, exit};
use crate::runtime::block_on;
use crate::trace::{Inspection, inspect};

/// Columns of the sketch of the rate over time.
const SKETCH_COLUMNS: u32 = 60;

pub(super) fn run(args: &InspectArgs, global: &Global) -> Result<u8, Error> {
    let asked = Inspection {
        path: args.trace.clone(),
        format: args.format.clone(),
        map: args.map.clone(),
        session_prompts: args.session_prompts,
        from_ns: args.from,
        for_ns: args.window,
        sample: args.sample,
        seed: args.seed,
        limit: args.limit,
        sketch_columns: SKETCH_COLUMNS,
    };
    let ended = block_on(async {
        tokio::select! {
            inspected = Box::pin(inspect(&asked)) => Some(inspected),
            () = interrupted() => None,
        }
    })
    .map_err(|error| Error::System("start the SQL engine".into(), error))?;
    let Some(inspected) = ended else {
        say("interrupted: the trace was not read to its end");
        return Ok(exit::INTERRUPTED);
    };
    let inspected = inspected?;
    if args.json {
        print(&format!("{:#}\n", json::json(&args.trace, &inspected)))?;
    } else {
        let color = has_color(global.color);
        print_painted(&terminal::terminal(&args.trace, &inspected, color))?;
    }
    Ok(exit::DONE)
}
