//! The data set `conversations` as a kind: where its conversations come from.

use super::super::dataset::{DatasetKind, DatasetPath, DatasetSetup, OpenDataset};
use super::super::error::WorkloadError;
use super::super::turns::Conversations;
use super::config;
use super::distribution::Distribution;
use super::file::{self, Found};
use super::flags::{FLAGS, OF_MADE_UP, OfAll, OfMadeUp, Options};
use super::made_up::{MAX_TOKENS, MadeUp, Settings, Start};
use super::prefixes::Prefixes;

/// Conversations, turn by turn.
pub(in crate::workload) const CONVERSATIONS: DatasetKind = DatasetKind {
    name: "conversations",
    about: "Conversations, turn by turn: recorded ones (--dataset-path), or made-up ones",
    path: DatasetPath::Optional(OF_MADE_UP),
    has_audio: false,
    flags: FLAGS,
    open: OpenDataset::Conversations(open),
};

fn open(setup: DatasetSetup<'_>) -> Result<Box<dyn Conversations>, WorkloadError> {
    let options = Options(setup.options);
    let flags = options.of_all()?;
    let Some(path) = setup.path else {
        let of_made_up = options.of_made_up()?;
        return Ok(Box::new(made_up(of_made_up, flags, setup)));
    };
    match file::read(path, &setup)? {
        Found::Recorded(pool) => Ok(Box::new(pool.open(path, flags, setup)?)),
        Found::Config(config) => Ok(Box::new(config::open(path, &config, flags, setup)?)),
    }
}

/// Conversations as the flags say.
fn made_up(of: OfMadeUp, flags: OfAll, setup: DatasetSetup<'_>) -> MadeUp {
    let prefixes = |tokens| {
        let usage = (of.prefixes, of.prefix_zipf);
        Prefixes::new(tokens, MAX_TOKENS / 2, usage, setup.workload.clone())
    };
    MadeUp {
        settings: Settings {
            turns: of.turns,
            messages_a_turn: 1,
            first_tokens: of.first_tokens,
            turn_tokens: of.turn_tokens,
            output_tokens: of.output_tokens,
            think_s: flags.think_s.unwrap_or_else(|| Distribution::constant(0.0)),
            max_turns: flags.max_turns,
            start: of
                .prefix_tokens
                .map_or(Start::Nothing, |tokens| Start::System(prefixes(tokens))),
        },
        rounds: None,
        workload: setup.workload,
        remarks: Vec::new(),
    }
}
