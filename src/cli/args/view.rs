//! `view`: the report as a page that is served.

use std::path::PathBuf;

use clap::{Args, Parser};

use super::judge::{GoalArgs, JudgeArgs, WindowArgs};
use super::language::Lang;
use super::question::QuestionArgs;

#[derive(Debug, Args)]
pub(crate) struct ViewArgs {
    /// The tapes
    #[arg(required_unless_present = "goodput", value_name = "TAPE")]
    pub(crate) tapes: Vec<PathBuf>,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
    #[command(flatten)]
    pub(crate) limits: QuestionArgs,
    /// Compare groups of requests or of tapes, as `analyze` does
    #[arg(long, value_name = "LABEL|COLUMN")]
    pub(crate) by: Option<String>,
    /// Grade the numbers by the thresholds in this file, as `analyze` does
    #[arg(long, value_name = "FILE")]
    pub(crate) thresholds: Option<PathBuf>,
    /// Render with the templates in this folder in place of the built-in ones
    #[arg(long, value_name = "DIR")]
    pub(crate) template: Option<PathBuf>,
    /// Language of the page
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    pub(crate) lang: Lang,
}

/// What the page's form asks for, in the words of the command line.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
pub(crate) struct FormArgs {
    #[command(flatten)]
    pub(crate) goals: GoalArgs,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    #[arg(long)]
    pub(crate) by: Option<String>,
    #[arg(long, default_value = "en")]
    pub(crate) lang: Lang,
}
