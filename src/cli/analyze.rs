//! `analyze`: from tapes to tables and reports.

use std::fs;
use std::path::{Path, PathBuf};

use super::args::{AnalyzeArgs, Global, Lang};
use super::output::{Draft, Output, WholeFolder};
use super::talk::{has_color, print_painted, say, terminal_columns};
use crate::analyze::{
    Analysis, Condition, ConditionError, DEFINITIONS, Judged, Options, Percentile, Thresholds,
    TokenCounter, analyze, has_success, is_client_limited,
};
use crate::error::{Error, exit};
use crate::report::{
    Exported, Exporter, PageOptions, Render, RenderFile, RenderFolder, Templates, TerminalOptions,
    terminal,
};
use crate::runtime::block_on;
use crate::workload::Tokenizer;

/// The latencies that a summary can show.
const METRICS: [&str; 13] = [
    "ttft",
    "ttfa",
    "tpot",
    "itl",
    "itl_spread",
    "itl_resolved",
    "icl",
    "e2el",
    "server_queue",
    "server_prefill",
    "server_decode",
    "queued",
    "connect",
];

pub(super) fn run(args: &AnalyzeArgs, global: &Global) -> Result<u8, Error> {
    let tapes = args.judge.tapes(&args.tapes);
    let conditions: Vec<Condition> = args
        .fail_if
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, ConditionError>>()
        .map_err(|error| Error::usage(error.to_string(), error.hint()))?;
    let shown = terminal_options(&args.percentile_metrics, &args.metric_percentiles, global)?;
    let conditioned = conditions.iter().filter_map(Condition::percentile);
    let options = Options {
        percentiles: shown
            .percentiles
            .iter()
            .copied()
            .chain(conditioned)
            .collect(),
        by: args.by.clone(),
        definitions: known_definitions(&args.definitions)?,
        thresholds: args
            .thresholds
            .as_deref()
            .map_or_else(|| Ok(Thresholds::default()), thresholds)?,
        outputs: outputs(args),
        count_tokens: args.tokenizer.as_deref().map(counter).transpose()?,
        memory_bytes: args.memory_limit,
        ..args.judge.options()?
    };
    let templates = args.template.as_deref().map(templates).transpose()?;
    let page = PageOptions {
        templates: templates.unwrap_or_default(),
        language: args.lang.into(),
        live: None,
    };
    let wanted = Wanted {
        reports: args.exports.wanted.clone(),
        conditions,
    };
    let (analysis, judged) = report(&tapes, &options, (wanted, &page), (&shown, global))?;
    let mut code = verdict_code(&analysis, global);
    for (condition, judged) in &judged {
        for (word, lines) in [
            ("failed", &judged.held),
            ("undecided", &judged.undecided),
            ("passed", &judged.passed),
        ] {
            for line in lines {
                say(&format!("{word}: `--fail-if \"{condition}\"`: {line}"));
            }
        }
        if !judged.held.is_empty() && matches!(code, exit::DONE | exit::UNDECIDED) {
            code = exit::GOAL_MISSED;
        } else if !judged.undecided.is_empty() && code == exit::DONE {
            code = exit::UNDECIDED;
        }
    }
    Ok(code)
}

/// What is wanted of an analysis.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Reports, each with its place.
    pub(super) reports: Vec<(&'static Exporter, PathBuf)>,
    /// Conditions to hold it against.
    pub(super) conditions: Vec<Condition>,
}

/// Analyses tapes, writes the reports that are asked for, and prints the summary. Returns what became of
/// the conditions, too.
pub(super) fn report(
    tapes: &[PathBuf],
    options: &Options,
    (wanted, page): (Wanted, &PageOptions),
    (shown, global): (&TerminalOptions, &Global),
) -> Result<(Analysis, Vec<(Condition, Judged)>), Error> {
    let outputs = Outputs::open(wanted.reports, global.force)?;
    let analysis = run_analysis(tapes, options)?;
    let judge = |condition: Condition| {
        let judged = condition.judge(&analysis);
        (condition, judged)
    };
    let conditions: Vec<_> = wanted.conditions.into_iter().map(judge).collect();
    let takes_stdout = outputs.take_stdout();
    outputs.write(&Exported {
        analysis: &analysis,
        page,
        conditions: &conditions,
    })?;
    if !takes_stdout {
        print_painted(&terminal(&analysis, shown))?;
    }
    Ok((analysis, conditions))
}

/// Reads a file of thresholds.
pub(super) fn thresholds(path: &Path) -> Result<Thresholds, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::File {
        verb: "read",
        path: path.to_owned(),
        source,
    })?;
    Thresholds::parse(Some(path.display().to_string()), &text)
        .map_err(|error| Error::usage(format!("`{}`: {error}", path.display()), error.hint()))
}

/// Largest template, and most files of a folder of templates.
const TEMPLATE_BYTES: u64 = 1 << 20;
const TEMPLATE_FILES: usize = 100;

/// Reads the templates in a folder: plain files, none below it and none that a link leads to.
pub(super) fn templates(folder: &Path) -> Result<Templates, Error> {
    let unread = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File {
            verb: "read",
            path,
            source,
        }
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unread(folder))? {
        let entry = entry.map_err(unread(folder))?;
        let path = entry.path();
        let facts = fs::symlink_metadata(&path).map_err(unread(&path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !facts.is_file() || name.starts_with('.') {
            continue;
        }
        if facts.len() > TEMPLATE_BYTES || files.len() == TEMPLATE_FILES {
            return Err(Error::usage(
                format!("`{}` is no folder of templates", folder.display()),
                "a template has at most 1 MiB, and a folder at most 100 of them",
            ));
        }
        files.push((name, fs::read_to_string(&path).map_err(unread(&path))?));
    }
    let templates = Templates::new(files);
    if templates.replaces_any() {
        return Ok(templates);
    }
    let known: Vec<_> = Templates::built_in().collect();
    Err(Error::usage(
        format!("`{}` has no template", folder.display()),
        format!("call a file like one of {}", known.join(", ")),
    ))
}

/// Refuses a name that is no definition's.
fn known_definitions(asked: &[String]) -> Result<Vec<String>, Error> {
    let is_known = |name: &str| name == "all" || DEFINITIONS.iter().any(|query| query.name == name);
    if let Some(wrong) = asked.iter().find(|name| !is_known(name)) {
        let names: Vec<_> = DEFINITIONS.iter().map(|query| query.name).collect();
        return Err(Error::usage(
            format!("`--definitions {wrong}` is no tool that there is a definition of"),
            format!("write all, or choose from {}", names.join(", ")),
        ));
    }
    Ok(asked.to_vec())
}

/// Opens a tokenizer as a counter.
fn counter(path: &Path) -> Result<TokenCounter, Error> {
    let tokenizer = Tokenizer::load(path)?;
    let name = path.display().to_string();
    Ok(TokenCounter::new(name, move |text| tokenizer.count(text)))
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
    if !has_success(analysis) {
        exit::NO_SUCCESS
    } else if global.strict && is_client_limited(analysis) {
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
    if let Some(wrong) = metrics
        .iter()
        .find(|metric| !METRICS.contains(&metric.as_str()))
    {
        return Err(Error::usage(
            format!("`--percentile-metrics {wrong}` is not a latency"),
            format!("choose from {}", METRICS.join(", ")),
        ));
    }
    let percentiles = percentiles.iter().map(|percent| {
        Percentile::new(*percent).ok_or_else(|| {
            Error::usage(
                format!("`--metric-percentiles {percent}` is not between 0 and 100"),
                "write percentiles such as 50,90,99",
            )
        })
    });
    Ok(TerminalOptions {
        metrics: metrics.to_vec(),
        percentiles: percentiles.collect::<Result<_, _>>()?,
        width: terminal_columns().unwrap_or(TerminalOptions::default().width),
        color: has_color(global.color),
    })
}

/// The flags that make the same files again.
fn outputs(args: &AnalyzeArgs) -> Vec<(&'static str, PathBuf)> {
    let lang = (args.lang != Lang::En).then(|| PathBuf::from("zh"));
    let files = [
        ("thresholds", &args.thresholds),
        ("template", &args.template),
        ("lang", &lang),
    ];
    let files = files
        .into_iter()
        .filter_map(|(flag, path)| Some((flag, path.clone()?)));
    let reports = args.exports.wanted.iter();
    let reports = reports.map(|(exporter, path)| (exporter.flag, path.clone()));
    files.chain(reports).collect()
}

/// The reports that were asked for, their places checked before the analysis starts.
struct Outputs {
    reports: Vec<Place>,
    replaces: bool,
}

/// How a report is rendered, and where it goes.
enum Place {
    File(RenderFile, Output),
    Folder(RenderFolder, fn(&str) -> bool, PathBuf),
}

impl Outputs {
    fn open(wanted: Vec<(&'static Exporter, PathBuf)>, replaces: bool) -> Result<Self, Error> {
        for (index, (_, path)) in wanted.iter().enumerate() {
            if wanted
                .iter()
                .skip(index + 1)
                .any(|(_, other)| other == path)
            {
                return Err(Error::usage(
                    format!("only one output can be `{}`", path.display()),
                    "name another file for each of the others",
                ));
            }
        }
        let open = |(exporter, path): (&'static Exporter, PathBuf)| {
            Ok(match exporter.render {
                Render::File(render) => Place::File(render, Output::open(&path, replaces)?),
                Render::Folder { files, is_own } => {
                    WholeFolder::check(&path, replaces)?;
                    Place::Folder(files, is_own, path)
                }
            })
        };
        Ok(Self {
            reports: wanted.into_iter().map(open).collect::<Result<_, Error>>()?,
            replaces,
        })
    }

    fn take_stdout(&self) -> bool {
        let is_stdout =
            |place: &Place| matches!(place, Place::File(_, output) if output.is_stdout());
        self.reports.iter().any(is_stdout)
    }

    /// Writes all of them, or none: a file gets its name when every other is whole.
    fn write(self, exported: &Exported<'_>) -> Result<(), Error> {
        let (mut drafts, mut folders) = (Vec::new(), Vec::new());
        for report in self.reports {
            match report {
                Place::File(render, output) => drafts.push(output.draft(render(exported)?)?),
                Place::Folder(render, is_own, path) => {
                    let files = render(exported)?;
                    let folder = WholeFolder::draft(&path, self.replaces, &files)?;
                    folders.push((folder, path, files.len(), is_own));
                }
            }
        }
        // What can fail half-way comes first.
        drafts.sort_by_key(Draft::is_file);
        drafts.into_iter().try_for_each(Draft::keep)?;
        for (folder, path, count, is_own) in folders {
            folder.keep(is_own)?;
            say(&format!("wrote {count} tables to `{}`", path.display()));
        }
        Ok(())
    }
}
