//! Recovery of a tape from its log: no log makes it panic or take more memory than the log is
//! large, none is lost by a recovery that fails, and a torn one gives back what stands before.
//!
//! Input: a byte that chooses what the rest is: one table's log, the manifest, or how a real log is
//! damaged (a table, where it is cut, then positions and what is flipped there).

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use tokentape::capture::manifest::State;
use tokentape::capture::schema::{Channel, ChunkRow, Phase, ProbeRow, RequestRow};
use tokentape::capture::{Manifest, TapeWriter, recover};
use tokentape::plan::Loop;

const TABLES: [&str; 3] = ["requests", "chunks", "probes"];

/// The logs of [`TABLES`], as a writer leaves them that was killed.
type Logs = [Vec<u8>; 3];

pub(crate) fn check(bytes: &[u8]) {
    let [kind, rest @ ..] = bytes else { return };
    let folder = scratch();
    let tape = folder.path().join("run.tape");
    fs::create_dir_all(tape.join("wal")).unwrap();
    Manifest::new("fuzz", Loop::Open).write(&tape).unwrap();
    let (mut logs, is_cut_only) = match kind % 5 {
        4 => (real().clone(), damage(rest).1),
        _ => (real().clone(), false),
    };
    match kind % 5 {
        table @ 0..3 => logs[usize::from(table)] = rest.to_vec(),
        3 => fs::write(Manifest::path(&tape), rest).unwrap(),
        _ => damage(rest).0(&mut logs),
    }
    for (table, log) in TABLES.iter().zip(&logs) {
        fs::write(tape.join(format!("wal/{table}-00000.arrows")), log).unwrap();
    }
    match recover(&tape) {
        Ok(said) => assert_whole(&tape, said.as_deref()),
        Err(error) => {
            assert!(!is_cut_only, "a torn log is lost: {error}");
            assert!(tape.join("wal").exists(), "{error}, and the log is gone");
        }
    }
}

fn assert_whole(tape: &Path, said: Option<&str>) {
    if said.is_some() {
        assert!(!tape.join("wal").exists());
        let manifest = Manifest::read(tape).unwrap();
        assert_eq!(manifest.state, State::Interrupted);
    }
    assert_eq!(recover(tape).unwrap(), None);
}

/// Reads how a log is damaged; says whether it is torn and no more.
fn damage(bytes: &[u8]) -> (impl Fn(&mut Logs), bool) {
    let (head, flips) = bytes.split_at(bytes.len().min(3));
    let table = usize::from(head.first().copied().unwrap_or(0)) % TABLES.len();
    let cut = position(head.get(1..3).unwrap_or(&[0xff, 0xff]));
    let flips: Vec<(usize, u8)> = flips
        .chunks_exact(3)
        .map(|flip| (position(&flip[..2]), flip[2]))
        .collect();
    let is_cut_only = flips.is_empty();
    let harm = move |logs: &mut Logs| {
        let log = &mut logs[table];
        log.truncate(cut);
        for (at, mask) in &flips {
            if let Some(byte) = log.get_mut(*at) {
                *byte ^= mask;
            }
        }
    };
    (harm, is_cut_only)
}

fn position(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// Makes a folder in memory where the system has one.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn real() -> &'static Logs {
    static LOGS: OnceLock<Logs> = OnceLock::new();
    LOGS.get_or_init(|| {
        let folder = scratch();
        let path = folder.path().join("run.tape");
        let manifest = Manifest::new("fuzz", Loop::Open);
        let mut tape = TapeWriter::create(&path, manifest, false).unwrap();
        for flush in 0..4 {
            for id in 0..3 {
                tape.push_request(request(flush * 3 + id));
                for seq in 0..4 {
                    tape.push_chunks(vec![chunk(id, u32::try_from(flush).unwrap() * 4 + seq)]);
                }
            }
            tape.push_probe(probe(i64::try_from(flush).unwrap()));
            tape.flush().unwrap();
        }
        TABLES.map(|table| fs::read(path.join(format!("wal/{table}-00000.arrows"))).unwrap())
    })
}

fn request(request_id: u64) -> RequestRow {
    RequestRow {
        session_id: Some("session".to_owned()),
        model: Some("model".into()),
        ..RequestRow::new(request_id, Phase::Measure, 1_000)
    }
}

fn chunk(request_id: u64, seq: u32) -> ChunkRow {
    ChunkRow {
        request_id,
        attempt: 0,
        seq,
        arrival_ns: 5_000 + i64::from(seq),
        gap_ns: None,
        read_seq: None,
        kernel_lag_us: None,
        channel: Channel::Content,
        has_choices: true,
        tokens: None,
        tokens_source: None,
        bytes: 200,
        text: Some("token".to_owned()),
    }
}

fn probe(at_ns: i64) -> ProbeRow {
    ProbeRow {
        at_ns,
        worker: 0,
        runtime_lag_max_ns: 1,
        cpu_ns: None,
        in_flight: 1,
        queued: 0,
        channel_fill: 0,
        rss_bytes: None,
        reads: 1,
        events: 1,
        unlogged_max_ns: None,
        capture_stalls: 0,
    }
}
