//! The flags of data sets, of schedules and of formats of reports, made of what those declare
//! ([`Flag`], [`Exporter`]).

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use serde_json::{Map, Value};

use crate::flag::{Flag, FlagKind};
use crate::plan::Dataset;
use crate::report::{EXPORTERS, Exporter};
use crate::schedule::SCHEDULES;
use crate::workload::{DATASETS, DatasetKind, DatasetPath, kinds_in};

/// Heading of flags on what is sent.
const WORKLOAD: &str = "Workload";

/// Heading of flags on when it is sent.
const LOAD_SHAPE: &str = "Load shape";

/// The flag that has a run end with its data set.
const NO_OVERSAMPLE: &str = "no-oversample";

/// The flag that has records of a file sent in their order.
const DISABLE_SHUFFLE: &str = "disable-shuffle";

/// What is sent: `--dataset-name`, `--dataset-path` and the flags of the kinds of data sets.
#[derive(Debug, Clone)]
pub(crate) struct DatasetArgs {
    /// The data set, as a plan has it.
    pub(crate) dataset: Dataset,
}

/// The flags of kinds of schedules that were given, as a plan has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ScheduleFlags {
    /// By their names in a plan.
    pub(crate) options: Map<String, Value>,
}

/// The reports that are to be written.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExportArgs {
    /// Each with its place.
    pub(crate) wanted: Vec<(&'static Exporter, PathBuf)>,
}

/// A flag as the command line takes it.
fn arg(flag: &'static Flag, heading: &'static str) -> Arg {
    let arg = Arg::new(flag.name)
        .long(flag.name)
        .value_name(flag.value_name)
        .help(flag.help)
        .help_heading(heading)
        .allow_negative_numbers(flag.kind == FlagKind::Length)
        .value_parser(|text: &str| flag.read(text));
    match flag.default {
        Some(default) => arg.default_value(default),
        None => arg,
    }
}

fn is_given(matches: &ArgMatches, name: &str) -> bool {
    matches.value_source(name) == Some(ValueSource::CommandLine)
}

/// The values of flags, given or by default.
fn values<'a>(
    matches: &ArgMatches,
    flags: impl IntoIterator<Item = &'a Flag>,
) -> Map<String, Value> {
    let value = |flag: &Flag| matches.get_one::<Value>(flag.name).cloned();
    let values = flags
        .into_iter()
        .filter_map(|flag| Some((flag.key(), value(flag)?)));
    values.collect()
}

impl Args for DatasetArgs {
    fn augment_args(command: Command) -> Command {
        let names = DATASETS
            .iter()
            .map(|kind| PossibleValue::new(kind.name).help(kind.about))
            .map(|name| match name.get_name() {
                // As `vllm bench serve` spells it.
                "prefix-repetition" => name.alias("prefix_repetition"),
                _ => name,
            });
        let name = Arg::new("dataset-name")
            .long("dataset-name")
            .value_name("NAME")
            .help("What is sent")
            .help_heading(WORKLOAD)
            .value_parser(PossibleValuesParser::new(names).map(|name| name.replace('_', "-")))
            .default_value(DATASETS[0].name);
        let path = Arg::new("dataset-path")
            .long("dataset-path")
            .value_name("FILE")
            .help("Where the data set is, of one that is a file")
            .help_heading(WORKLOAD)
            .value_parser(value_parser!(PathBuf));
        let no_oversample = Arg::new(NO_OVERSAMPLE)
            .long(NO_OVERSAMPLE)
            .help("End the run when all of the data set's file was sent, and send none again")
            .help_heading(WORKLOAD)
            .action(ArgAction::SetTrue);
        let disable_shuffle = Arg::new(DISABLE_SHUFFLE)
            .long(DISABLE_SHUFFLE)
            .help("Send the first records of the data set's file, in their order, in place of a sample")
            .help_heading(WORKLOAD)
            .action(ArgAction::SetTrue);
        let flags = DATASETS.iter().flat_map(|kind| kind.flags);
        command
            .arg(name)
            .arg(path)
            .arg(no_oversample)
            .arg(disable_shuffle)
            .args(flags.map(|flag| arg(flag, WORKLOAD)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DatasetArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let name = matches.get_one::<String>("dataset-name");
        let kind = DATASETS
            .iter()
            .find(|kind| name.is_some_and(|name| name == kind.name))
            .unwrap_or(&DATASETS[0]);
        let kinds = kinds_in(kind, &values(matches, kind.flags)).map_err(conflict)?;
        refuse_strays(matches, kind, &kinds)?;
        let path = matches.get_one::<PathBuf>("dataset-path").cloned();
        if kind.path == DatasetPath::Required && path.is_none() {
            return Err(conflict(format!(
                "the data set `{}` is a file: name it with `--dataset-path`",
                kind.name
            )));
        }
        // What is made up where there is no file says nothing of one.
        let of_made_up = match kind.path {
            DatasetPath::Optional(flags) if path.is_some() => flags,
            _ => &[],
        };
        let flags = kinds.iter().flat_map(|kind| kind.flags);
        let flags = flags.filter(|flag| !of_made_up.contains(&flag.name));
        Ok(Self {
            dataset: Dataset {
                path,
                no_oversample: matches.get_flag(NO_OVERSAMPLE),
                disable_shuffle: matches.get_flag(DISABLE_SHUFFLE),
                options: values(matches, flags),
                ..Dataset::named(kind.name)
            },
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Refuses flags that neither the data set nor, of a mix, its parts use.
fn refuse_strays(
    matches: &ArgMatches,
    kind: &DatasetKind,
    kinds: &[&DatasetKind],
) -> Result<(), clap::Error> {
    let is_in = |other: &DatasetKind| kinds.iter().any(|kind| kind.name == other.name);
    let others = DATASETS.iter().filter(|other| !is_in(other));
    let mut strays = others
        .flat_map(|other| other.flags)
        .map(|flag| flag.name)
        .chain(
            ["dataset-path", NO_OVERSAMPLE]
                .into_iter()
                .filter(|_| kind.path == DatasetPath::None),
        )
        // The parts of a mix may be files.
        .chain(
            [DISABLE_SHUFFLE]
                .into_iter()
                .filter(|_| kind.path == DatasetPath::None && kinds.len() < 2),
        );
    if let Some(stray) = strays.find(|name| is_given(matches, name)) {
        if stray == NO_OVERSAMPLE && kinds.len() > 1 {
            return Err(conflict(format!(
                "the parts of the data set `{}` are sent again where they are too few, so that the shares stay \
                 as they are: leave out `--{NO_OVERSAMPLE}`",
                kind.name
            )));
        }
        return Err(conflict(format!(
            "`--{stray}` has no effect on the data set `{}`",
            kind.name
        )));
    }
    let has_path = is_given(matches, "dataset-path");
    let mut of_files = [NO_OVERSAMPLE, DISABLE_SHUFFLE].into_iter();
    if let Some(stray) = of_files.find(|name| is_given(matches, name))
        && !has_path
        && kinds.len() < 2
    {
        return Err(conflict(format!(
            "`--{stray}` has no effect without a file, which `--dataset-path` names"
        )));
    }
    let made_up = match kind.path {
        DatasetPath::Optional(flags) if has_path => flags,
        _ => &[],
    };
    match made_up.iter().find(|name| is_given(matches, name)) {
        Some(stray) => Err(conflict(format!(
            "`--{stray}` has no effect on files, which `--dataset-path` names"
        ))),
        None => Ok(()),
    }
}

fn conflict(message: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ArgumentConflict, message + "\n")
}

impl Args for ScheduleFlags {
    fn augment_args(command: Command) -> Command {
        let flags = SCHEDULES.iter().flat_map(|kind| kind.flags);
        command.args(flags.map(|flag| arg(flag, LOAD_SHAPE)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ScheduleFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let options = SCHEDULES
            .iter()
            .flat_map(|kind| values(matches, kind.flags));
        Ok(Self {
            options: options.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ExportArgs {
    fn augment_args(command: Command) -> Command {
        command.args(EXPORTERS.iter().map(|exporter| {
            Arg::new(exporter.flag)
                .long(exporter.flag)
                .value_name(exporter.value_name)
                .help(exporter.help)
                .help_heading("Output")
                .value_parser(value_parser!(PathBuf))
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ExportArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let place = |exporter: &Exporter| matches.get_one::<PathBuf>(exporter.flag).cloned();
        let wanted = EXPORTERS
            .iter()
            .filter_map(|exporter| Some((exporter, place(exporter)?)));
        Ok(Self {
            wanted: wanted.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = &'static Flag> {
        let of_datasets = DATASETS.iter().flat_map(|kind| kind.flags);
        of_datasets.chain(SCHEDULES.iter().flat_map(|kind| kind.flags))
    }

    #[test]
    fn every_default_is_a_value_and_every_name_is_used_once() {
        let mut names: Vec<&str> = all().map(|flag| flag.name).collect();
        for flag in all() {
            assert!(
                flag.default.is_none_or(|text| flag.read(text).is_ok()),
                "{flag:?}"
            );
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
