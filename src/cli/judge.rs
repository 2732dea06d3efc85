//! What numbers are judged by, as it is typed, in the words of an analysis.

use std::path::PathBuf;

use super::args::{JudgeArgs, ReportSettingArgs, SloForm, Warmup, WindowArgs};
use crate::analyze::{Options, ReportSettings, SloFrom, Span};
use crate::error::Error;

impl JudgeArgs {
    /// The tapes that were named, also those behind the goals.
    pub(super) fn tapes(&self, named: &[PathBuf]) -> Vec<PathBuf> {
        named.iter().cloned().chain(self.goals.strays()).collect()
    }

    /// What an analysis is asked for by this.
    pub(super) fn options(&self) -> Result<Options, Error> {
        Ok(Options {
            slos: self.goals.parse()?,
            slo_from: self.slo_from.map(|form| match form {
                SloForm::Intended => SloFrom::Intended,
                SloForm::Sent => SloFrom::Sent,
            }),
            span: span(&self.window)?,
            report_settings: report_settings(&self.report_settings),
            ..Options::default()
        })
    }
}

pub(super) fn span(args: &WindowArgs) -> Result<Span, Error> {
    if let (Some(from_ns), Some(to_ns)) = (args.from, args.to)
        && from_ns >= to_ns
    {
        return Err(Error::usage(
            "the window ends before it begins",
            "let `--to` be later than `--from`",
        ));
    }
    Ok(Span {
        warmup_ns: match args.warmup {
            Warmup::Given(ns) => ns,
            Warmup::Auto => 0,
        },
        finds_warmup: args.warmup == Warmup::Auto,
        from_ns: args.from,
        to_ns: args.to,
    })
}

fn report_settings(args: &ReportSettingArgs) -> ReportSettings {
    ReportSettings {
        stall_ns: args.stall,
        reader_tps: args.reader,
        price_input: args.price_input,
        price_output: args.price_output,
        gpu_hour: args.gpu_hour,
        gpus: args.gpus,
    }
}
