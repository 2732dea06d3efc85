//! What holds of any trace that is made of any other, whatever the changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use proptest::prelude::*;

use super::Scratch;
use super::synthesis::{changed, rows_of};
use crate::trace::{Changes, TraceRow};

/// A row of the trace: its number is its input length, by which copies of it are known.
#[derive(Debug, Clone)]
struct Given {
    arrival_ns: i64,
    session: u8,
    turn: usize,
}

fn given(gaps_and_sessions: &[(i64, u8)]) -> Vec<Given> {
    let (mut arrival_ns, mut turns) = (0, BTreeMap::new());
    let mut rows = Vec::new();
    for &(gap_ns, session) in gaps_and_sessions {
        arrival_ns += gap_ns;
        let turn: &mut usize = turns.entry(session).or_default();
        rows.push(Given {
            arrival_ns,
            session,
            turn: *turn,
        });
        *turn += 1;
    }
    rows
}

/// Length of the first row's prompt, which three blocks fit into; each row is one longer.
const LENGTH: usize = 48;

/// Writes rows whose first block all have, whose second one their session has, and whose third one
/// is theirs alone.
fn json_lines(rows: &[Given]) -> String {
    let mut text = String::new();
    for (row, given) in rows.iter().enumerate() {
        let Given {
            arrival_ns,
            session,
            turn,
        } = given;
        let (tokens, own) = (LENGTH + row, 1000 + row);
        let of_session = 100 + u32::from(*session);
        writeln!(
            text,
            "{{\"arrival_ns\":{arrival_ns},\"input_tokens\":{tokens},\"output_tokens\":1,\
             \"session_id\":\"s{session}\",\"parent_id\":\"p\",\"turn\":{turn},\"think_ns\":1,\
             \"prefix_blocks\":[1,{of_session},{own}],\"block_size\":16}}"
        )
        .unwrap();
    }
    text
}

fn run(rows: &[Given], changes: Changes) -> Vec<TraceRow> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let scratch = Scratch::new();
        let path = scratch.write("t.jsonl", json_lines(rows));
        rows_of(&changed(&scratch, &path, changes).await.0).await
    })
}

fn by_session(rows: &[TraceRow]) -> BTreeMap<&str, Vec<&TraceRow>> {
    let mut sessions: BTreeMap<&str, Vec<&TraceRow>> = BTreeMap::new();
    for row in rows {
        sessions
            .entry(row.session_id.as_deref().unwrap())
            .or_default()
            .push(row);
    }
    sessions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sessions_stay_whole_and_copies_apart(
        rows in prop::collection::vec((0_i64..3_000_000_000, 0_u8..5), 2..60),
        copies in 1_u32..5,
        seed in any::<u64>(),
    ) {
        let given = given(&rows);
        let changes = Changes {
            rate_scale: f64::from(copies),
            seed,
            ..Changes::default()
        };
        let made = run(&given, changes);
        prop_assert_eq!(made.len(), given.len() * copies as usize);
        // The first copy is the trace, so the output begins where it does.
        let last_ns = given[given.len() - 1].arrival_ns - given[0].arrival_ns;
        prop_assert!(made.iter().all(|row| row.arrival_ns <= last_ns));
        let of = |row: &TraceRow| &given[row.input_tokens as usize - LENGTH];
        for (name, rows) in by_session(&made) {
            let first = of(rows[0]);
            for (at, row) in rows.iter().enumerate() {
                let session = format!("s{}", of(row).session);
                prop_assert!(name.starts_with(&session), "{} of {}", name, session);
                // The same pauses, the same turns, from the first one on.
                let since_ns = of(row).arrival_ns - first.arrival_ns;
                prop_assert_eq!(row.arrival_ns - rows[0].arrival_ns, since_ns, "{}", name);
                prop_assert_eq!(row.turn, Some(u32::try_from(at).unwrap()));
                prop_assert_eq!(of(row).turn, first.turn + at);
                // What follows nothing has nothing to wait for.
                let is_cut = at == 0 && first.turn > 0;
                prop_assert_eq!(row.think_ns.is_none(), is_cut);
                prop_assert_eq!(row.parent_id.is_none(), is_cut);
            }
        }
        let mut own_blocks = BTreeSet::new();
        for row in &made {
            prop_assert_eq!(row.prefix_blocks.len(), 3);
            prop_assert!(own_blocks.insert(row.prefix_blocks[2]));
        }
        let several = given.iter().any(|row| row.session != given[0].session);
        if several {
            prop_assert!(made.iter().all(|row| row.prefix_blocks[0] == 1));
        }
    }

    #[test]
    fn a_thinned_trace_has_whole_sessions_and_their_own_times(
        rows in prop::collection::vec((0_i64..3_000_000_000, 0_u8..9), 20..80),
        seed in any::<u64>(),
    ) {
        let given = given(&rows);
        let mut all = given.clone();
        // Enough sessions of one row each that some are taken.
        all.extend((0..60_u8).map(|extra| Given {
            arrival_ns: i64::from(extra) * 1000,
            session: 100 + extra,
            turn: 0,
        }));
        let changes = Changes { rate_scale: 0.5, seed, ..Changes::default() };
        let made = run(&all, changes);
        let rows_in = |session: u8| all.iter().filter(|row| row.session == session).count();
        for (name, rows) in by_session(&made) {
            let session: u8 = name[1..].parse().unwrap();
            prop_assert_eq!(rows.len(), rows_in(session));
        }
        let offset = |row: &TraceRow| all[row.input_tokens as usize - LENGTH].arrival_ns - row.arrival_ns;
        let first = offset(&made[0]);
        prop_assert!(made.iter().all(|row| offset(row) == first));
    }
}
