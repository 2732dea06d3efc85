//! Tapes for tests, written the way a run would leave them but without the run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::capture::manifest::{ClockAnchor, Manifest, State, Step};
use crate::capture::schema::{
    Channel, ChunkRow, FIRST_WARMUP_ID, Phase, ProbeRow, RequestRow, ServerRow, Status,
    TokensSource,
};
use crate::capture::{Label, TapeWriter};
use crate::plan::{Loop, RunPlan};
use datafusion::arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;

/// A millisecond, in nanoseconds.
pub(crate) const MS: i64 = 1_000_000;

/// 2026-11-22T00:00:00Z.
pub(crate) const START_UTC_NS: i64 = 1_795_305_600 * 1_000 * MS;

/// The rows and the manifest of a tape to be.
#[derive(Clone)]
pub(crate) struct TapeFixture {
    pub(crate) manifest: Manifest,
    pub(crate) requests: Vec<RequestRow>,
    pub(crate) chunks: Vec<ChunkRow>,
    pub(crate) probes: Vec<ProbeRow>,
    pub(crate) server: Vec<ServerRow>,
}

impl Default for TapeFixture {
    /// A tape of an open loop without any row.
    fn default() -> Self {
        Self {
            manifest: Manifest {
                state: State::Complete,
                plan: RunPlan {
                    model: Some("tiny".into()),
                    ..RunPlan::default()
                },
                seed: 7,
                target: "http://127.0.0.1:8000".into(),
                tool_version: "0.0.0".into(),
                clock_anchors: vec![ClockAnchor {
                    monotonic_ns: 0,
                    utc_ns: START_UTC_NS,
                }],
                ..Manifest::new("fixture", Loop::Open)
            },
            requests: Vec::new(),
            chunks: Vec::new(),
            probes: Vec::new(),
            server: Vec::new(),
        }
    }
}

impl TapeFixture {
    /// A tape whose every number can be checked by hand.
    ///
    /// | request | due | sent | chunks at (tokens) | usage out | ends |
    /// |---|---|---|---|---|---|
    /// | warm-up | -50 | -50 | -40, -30 | 2 | ok |
    /// | 0 | 0 | 1 | 11, 21, 31, 41 | 4 | ok |
    /// | 1 | 100 | 100 | 120 (2), 130 (3), 150 | 6 | ok; 120 and 130 shared a read |
    /// | 2, attempt 0 | 200 | 200 | | | http_5xx at 205 |
    /// | 2, attempt 1 | 200 | 210 | 240 | 1 | ok, after a connect of 4 ms |
    /// | 3 | 300 | 302 | 352 | | timeout at 400 |
    ///
    /// Times in milliseconds; every step is labelled, four probes say that the client was idle.
    pub(crate) fn small() -> Self {
        let mut tape = Self::default();
        tape.manifest.steps = vec![Step {
            step: 0,
            labels: BTreeMap::from([("rate".to_owned(), "10".to_owned())]),
            from_ns: 0,
            to_ns: 400 * MS,
        }];
        let warmup = tape.answer(FIRST_WARMUP_ID, [-50, -50], &[(-40, None), (-30, None)]);
        warmup.phase = Phase::Warmup;
        tape.answer(0, [0, 1], &[(11, None), (21, None), (31, None), (41, None)]);
        tape.answer(
            1,
            [100, 100],
            &[(120, Some(2)), (130, Some(3)), (150, None)],
        );
        let second_read = tape.chunks.len() - 2;
        tape.chunks[second_read].read_seq = Some(0);
        tape.chunks[second_read + 1].read_seq = Some(1);
        let failed = tape.attempt(2, [200, 200], 205);
        failed.status = Status::Error;
        failed.error_kind = Some("http_5xx".into());
        failed.http_status = Some(503);
        failed.error_message = Some("busy".into());
        let retried = tape.answer(2, [200, 210], &[(240, None)]);
        retried.attempt = 1;
        retried.dispatched_ns = Some(206 * MS);
        retried.connect_ns = Some(4 * MS);
        tape.chunks.last_mut().expect("just written").attempt = 1;
        let late = tape.answer(3, [300, 302], &[(352, None)]);
        late.status = Status::Timeout;
        late.error_kind = Some("timeout_idle".into());
        late.error_message = Some("no event for 48 ms".into());
        late.usage_output_tokens = None;
        late.finish_reason = None;
        late.end_ns = Some(400 * MS);
        tape.probes = (0..4).map(|index| probe(index * 100, 2)).collect();
        tape
    }

    /// A closed loop of two slots, by hand too.
    ///
    /// | request | due | dispatched | chunks at |
    /// |---|---|---|---|
    /// | 0 | 0 | 0 | 10, 20, 30 |
    /// | 1 | 0 | 5 | 15, 35, 55 |
    /// | 2 | 30 | 30 | 40, 60 |
    /// | 3 | 55 | 55 | 65, 75, 85 |
    ///
    /// Both slots are first busy at 5, and the one that request 2 frees at 60 finds no work.
    pub(crate) fn closed() -> Self {
        let mut tape = Self::default();
        tape.manifest.arrival_loop = Loop::Closed;
        tape.manifest.plan.max_concurrency = Some(2);
        tape.answer(0, [0, 0], &[(10, None), (20, None), (30, None)]);
        tape.answer(1, [0, 5], &[(15, None), (35, None), (55, None)]);
        tape.answer(2, [30, 30], &[(40, None), (60, None)]);
        tape.answer(3, [55, 55], &[(65, None), (75, None), (85, None)]);
        tape
    }

    /// Adds what a page said at a time in milliseconds: names with labels, and values.
    pub(crate) fn scrape(&mut self, at: i64, source: &str, samples: &[(&str, f64)]) {
        for (head, value) in samples {
            let (name, labels) = head.split_once('{').unwrap_or((head, ""));
            let labels = labels.trim_end_matches('}');
            self.server.push(ServerRow {
                at_ns: at * MS,
                series: u32::try_from(self.server.len()).expect("a few"),
                source: Some(source.into()),
                name: Some(name.into()),
                labels: (!labels.is_empty()).then(|| labels.into()),
                value: Some(*value).filter(|value| !value.is_nan()),
            });
        }
    }

    /// Adds an attempt without an answer; `due_and_sent` and `end` in milliseconds.
    pub(crate) fn attempt(
        &mut self,
        request_id: u64,
        due_and_sent: [i64; 2],
        end: i64,
    ) -> &mut RequestRow {
        self.attempt_ns(request_id, due_and_sent.map(|at| at * MS), end * MS)
    }

    /// Adds an attempt without an answer; times in nanoseconds.
    pub(crate) fn attempt_ns(
        &mut self,
        request_id: u64,
        [due_ns, sent_ns]: [i64; 2],
        end_ns: i64,
    ) -> &mut RequestRow {
        self.requests.push(RequestRow {
            step: Some(0),
            model: Some("tiny".into()),
            dispatched_ns: Some(sent_ns),
            sent_ns: Some(sent_ns),
            body_sent_ns: Some(sent_ns),
            end_ns: Some(end_ns),
            input_tokens_planned: Some(8),
            output_tokens_planned: Some(4),
            status: Status::Ok,
            ..RequestRow::new(request_id, Phase::Measure, due_ns)
        });
        self.requests.last_mut().expect("just written")
    }

    /// Adds an attempt that was answered by chunks, each at a time in milliseconds and with a
    /// number of tokens, each in a read of its own.
    pub(crate) fn answer(
        &mut self,
        request_id: u64,
        due_and_sent: [i64; 2],
        chunks: &[(i64, Option<u16>)],
    ) -> &mut RequestRow {
        let chunks: Vec<_> = chunks
            .iter()
            .map(|(at, tokens)| (at * MS, *tokens))
            .collect();
        self.answer_ns(request_id, due_and_sent.map(|at| at * MS), &chunks)
    }

    /// Adds an attempt that was answered by chunks; times in nanoseconds.
    pub(crate) fn answer_ns(
        &mut self,
        request_id: u64,
        due_and_sent: [i64; 2],
        chunks: &[(i64, Option<u16>)],
    ) -> &mut RequestRow {
        let mut previous_ns = None;
        for (seq, (arrival_ns, tokens)) in (0_u32..).zip(chunks) {
            let arrival_ns = *arrival_ns;
            self.chunks.push(ChunkRow {
                request_id,
                attempt: 0,
                seq,
                arrival_ns,
                gap_ns: previous_ns.map(|previous_ns| arrival_ns - previous_ns),
                read_seq: Some(seq),
                kernel_lag_us: None,
                channel: Channel::Content,
                has_choices: true,
                tokens: *tokens,
                tokens_source: tokens.map(|_| TokensSource::Usage),
                bytes: 60,
                text: None,
            });
            previous_ns = Some(arrival_ns);
        }
        let at = |chunk: Option<&(i64, Option<u16>)>| chunk.map(|(at, _)| *at);
        let tokens = chunks
            .iter()
            .map(|(_, tokens)| u32::from(tokens.unwrap_or(1)))
            .sum();
        let end_ns = at(chunks.last()).unwrap_or(due_and_sent[1]);
        let row = self.attempt_ns(request_id, due_and_sent, end_ns);
        row.first_token_ns = at(chunks.first());
        row.first_answer_ns = row.first_token_ns;
        row.last_token_ns = at(chunks.last());
        row.chunk_count = u32::try_from(chunks.len()).expect("a few");
        row.usage_input_tokens = Some(8);
        row.usage_output_tokens = Some(tokens);
        row.http_status = Some(200);
        row.finish_reason = Some(Label::from("stop"));
        row
    }

    /// Writes the tape as the folder `path`, which it returns.
    pub(crate) fn write(&self, path: &Path) -> PathBuf {
        let mut order: Vec<_> = self.chunks.clone();
        order.sort_by_key(|chunk| (chunk.request_id, chunk.attempt, chunk.seq));
        for (table, batch) in [
            ("requests", RequestRow::batch(&self.requests)),
            ("chunks", ChunkRow::batch(&order)),
            ("probes", ProbeRow::batch(&self.probes)),
            ("server", ServerRow::batch(&self.server)),
        ] {
            fs::create_dir_all(path.join(table)).unwrap();
            if batch.num_rows() > 0 {
                write_part(&path.join(table).join("part-00000.parquet"), &batch);
            }
        }
        let mut manifest = self.manifest.clone();
        manifest.counts.server = self.server.len() as u64;
        let manifest = serde_json::to_string_pretty(&manifest).unwrap();
        fs::write(Manifest::path(path), manifest).unwrap();
        path.to_owned()
    }

    /// Begins to write a tape as the folder `path`, without a row yet.
    pub(crate) fn begin(&self, path: &Path) -> TapeWriter {
        let manifest = Manifest {
            state: State::Running,
            ..self.manifest.clone()
        };
        TapeWriter::create(path, manifest, false).unwrap()
    }
}

/// A probe at a time in milliseconds whose receiving thread was busy for `busy` milliseconds.
pub(crate) fn probe(at: i64, busy: i64) -> ProbeRow {
    ProbeRow {
        at_ns: at * MS,
        worker: 0,
        runtime_lag_max_ns: 50_000,
        cpu_ns: Some(busy * MS),
        in_flight: 1,
        queued: 0,
        channel_fill: 0,
        rss_bytes: Some(1 << 20),
        reads: 2,
        events: 3,
        capture_stalls: 0,
        unlogged_max_ns: None,
    }
}

fn write_part(path: &Path, batch: &RecordBatch) {
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}
