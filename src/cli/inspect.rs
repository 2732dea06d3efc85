//! `trace inspect`: what a trace is like, for people or for scripts.

mod advice;
mod json;
mod numbers;
mod terminal;
#[cfg(test)]
mod tests;

use super::args::{Global, InspectArgs};
use super::interrupt::until_interrupted;
use super::talk::{has_color, print, print_painted};
use crate::error::{Error, exit};
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
    let left = "the trace was not read to its end";
    let Some(inspected) = until_interrupted(inspect(&asked), left)? else {
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
