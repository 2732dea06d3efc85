//! `analyze`: from tapes to tables and reports.

use std::fs;
use std::path::{Path, PathBuf};

use super::args::{AnalyzeArgs, Global, GoalArgs, SloForm};
use super::output::{Output, make_folder, write_error};
use super::talk::{has_color, print, say};
use crate::analyze::{Analysis, Options, SLO_METRICS, Slo, SloFrom, analyze};
use crate::error::{Error, exit};
use crate::report::{
    TerminalOptions, csv_files, html, is_client_limited, json, markdown, terminal,
};
use crate::sql::block_on;

pub(super) fn run(args: &AnalyzeArgs, global: &Global) -> Result<u8, Error> {
    let (goals, strays) = split_goals(&args.goals);
    let tapes: Vec<PathBuf> = args.tapes.iter().cloned().chain(strays).collect();
    let options = Options {
        slos: goals
            .iter()
            .map(|goal| parse_goal(goal))
            .collect::<Result<_, _>>()?,
        slo_from: args.slo_from.map(|form| match form {
            SloForm::Intended => SloFrom::Intended,
            SloForm::Sent => SloFrom::Sent,
        }),
        warmup_ns: args.warmup,
        ..Options::default()
    };
    let shown = terminal_options(&args.percentile_metrics, &args.metric_percentiles, global)?;
    let outputs = Outputs::open(args, global.force)?;
    let analysis = match run_analysis(&tapes, &options) {
        Ok(analysis) => analysis,
        Err(error) => {
            outputs.discard();
            return Err(error);
        }
    };
    let takes_stdout = outputs.takes_stdout;
    outputs.write(&analysis)?;
    if !takes_stdout {
        print(&terminal(&analysis, &shown))?;
    }
    Ok(verdict_code(&analysis, global))
}

/// Analyses tapes, and says what had to be done to open them.
pub(super) fn run_analysis(tapes: &[PathBuf], options: &Options) -> Result<Analysis, Error> {
    let analysis = block_on(analyze(tapes, options))
        .map_err(|error| Error::System("start the SQL engine".into(), error))??;
    for run in &analysis.runs {
        for note in &run.notes {
            say(&format!("note: `{}`: {note}", run.run));
        }
    }
    Ok(analysis)
}

/// The exit code that the analysis stands for.
pub(super) fn verdict_code(analysis: &Analysis, global: &Global) -> u8 {
    if global.strict && is_client_limited(analysis) {
        exit::GOAL_MISSED
    } else {
        exit::DONE
    }
}

/// What the terminal summary shows.
pub(super) fn terminal_options(
    metrics: &[String],
    percentiles: &[f64],
    global: &Global,
) -> Result<TerminalOptions, Error> {
    if let Some(wrong) = percentiles
        .iter()
        .find(|percent| !(0.0..=100.0).contains(*percent))
    {
        return Err(Error::usage(
            format!("`--metric-percentiles {wrong}` is not between 0 and 100"),
            "write percentiles such as 50,90,99",
        ));
    }
    Ok(TerminalOptions {
        metrics: metrics.to_vec(),
        percentiles: percentiles.to_vec(),
        color: has_color(global.color),
    })
}

/// Parses every goal; anything that is none is refused.
pub(super) fn parse_goals(goals: &GoalArgs) -> Result<Vec<Slo>, Error> {
    goals.goodput.iter().map(|goal| parse_goal(goal)).collect()
}

/// `--goodput` takes several values, so a tape that follows it lands among them.
fn split_goals(goals: &GoalArgs) -> (Vec<String>, Vec<PathBuf>) {
    let (goals, strays): (Vec<&String>, Vec<&String>) = goals
        .goodput
        .iter()
        .partition(|text| text.contains(':') && !Path::new(text).exists());
    (
        goals.into_iter().cloned().collect(),
        strays.into_iter().map(PathBuf::from).collect(),
    )
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked before the cast"
)]
fn parse_goal(text: &str) -> Result<Slo, Error> {
    let wrong = || {
        Error::usage(
            format!("`{text}` is not a goal"),
            "write METRIC:MILLISECONDS with ttft, tpot or e2el, such as ttft:200",
        )
    };
    let (metric, limit) = text.split_once(':').ok_or_else(wrong)?;
    let limit_ms: f64 = limit.parse().map_err(|_| wrong())?;
    let is_sensible = limit_ms > 0.0 && limit_ms < 1e9;
    if !SLO_METRICS.contains(&metric) || !is_sensible {
        return Err(wrong());
    }
    Ok(Slo {
        metric: metric.to_owned(),
        limit_ns: (limit_ms * 1e6).round() as i64,
    })
}

/// The files that were asked for, open before the analysis starts.
struct Outputs {
    html: Option<Output>,
    markdown: Option<Output>,
    json: Option<Output>,
    csv: Option<PathBuf>,
    takes_stdout: bool,
}

impl Outputs {
    fn open(args: &AnalyzeArgs, replaces: bool) -> Result<Self, Error> {
        let open = |path: &Option<PathBuf>| {
            path.as_deref()
                .map(|path| Output::open(path, replaces))
                .transpose()
        };
        let is_stdout =
            |path: &Option<PathBuf>| path.as_deref().is_some_and(|path| path.as_os_str() == "-");
        let files = [&args.html, &args.markdown, &args.json];
        if files.into_iter().filter(|path| is_stdout(path)).count() > 1 {
            return Err(Error::usage(
                "only one output can be `-`",
                "name a file for the others",
            ));
        }
        if let Some(folder) = &args.csv {
            make_folder(folder, replaces)?;
        }
        Ok(Self {
            html: open(&args.html)?,
            markdown: open(&args.markdown)?,
            json: open(&args.json)?,
            csv: args.csv.clone(),
            takes_stdout: files.into_iter().any(is_stdout),
        })
    }

    fn discard(self) {
        [self.html, self.markdown, self.json]
            .into_iter()
            .flatten()
            .for_each(Output::discard);
    }

    fn write(self, analysis: &Analysis) -> Result<(), Error> {
        if let Some(output) = self.html {
            output.write(&html(analysis)?)?;
        }
        if let Some(output) = self.markdown {
            output.write(&markdown(analysis)?)?;
        }
        if let Some(output) = self.json {
            output.write(&format!("{:#}\n", json(analysis)))?;
        }
        if let Some(folder) = self.csv {
            for (name, text) in csv_files(analysis) {
                let path = folder.join(name);
                fs::write(&path, text).map_err(|source| write_error(&path, source))?;
            }
        }
        Ok(())
    }
}
