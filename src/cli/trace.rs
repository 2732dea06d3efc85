//! `trace`: looking at arrival traces.

use std::fmt::Write as _;

use super::args::TraceVerb;
use super::talk::print;
use crate::error::Error;
use crate::trace::{FormatInfo, formats};

pub(super) fn run(verb: &TraceVerb) -> Result<(), Error> {
    match verb {
        TraceVerb::Formats => print(&list(&formats())),
    }
}

fn list(formats: &[FormatInfo]) -> String {
    let mut out = String::new();
    for format in formats {
        // Writing to a string can't fail.
        let _ = writeln!(out, "{}  {}", format.name, format.purpose);
        let _ = writeln!(out, "  columns   {}", format.requires.join(", "));
        if !format.optional.is_empty() {
            let _ = writeln!(out, "  optional  {}", format.optional.join(", "));
        }
        for unit in &format.units {
            let _ = writeln!(out, "  unit      {unit}");
        }
        if let Some(block) = &format.block {
            let _ = writeln!(out, "  blocks    {block}");
        }
        if !format.notes.is_empty() {
            let _ = writeln!(out, "  note      {}", format.notes);
        }
        out.push('\n');
    }
    out.push_str("Any other trace: write a mapping in SQL and name it with `--map FILE.sql`.\n");
    out
}
