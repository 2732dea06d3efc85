//! ServeGen's published clients, what is drawn from them, and folders that are broken.

#![expect(clippy::cast_precision_loss, reason = "statistics of small samples")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::client::{Arrival, Arrivals, Client, Stretch};
use super::gaps::Gaps;
use super::rates::{RateWindow, WINDOW_S};
use super::{ServeGen, ServeGenMade, folder, generate};
use crate::testing::shared_file;
use crate::trace::{TraceError, TraceOptions, TraceRow, open};

const SECOND_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3600 * SECOND_NS;

fn shared_model(model: &str) -> Option<PathBuf> {
    shared_file(&format!("traces/servegen/data/{model}"))
}

fn client(folder: &Path, number: u64) -> Client {
    let folder = folder::list(folder).unwrap();
    folder.pairs[&number].read(number).unwrap()
}

fn arrivals(client: &Client, seed: u64, factor: f64, stretch: Stretch) -> Vec<Arrival> {
    let mut arrivals = Arrivals::new(client, seed, factor, stretch);
    std::iter::from_fn(|| arrivals.next(client)).collect()
}

fn whole(client: &Client) -> Stretch {
    Stretch {
        from_ns: 0,
        to_ns: i64::from(client.rates.end_s) * SECOND_NS,
    }
}

/// The requests of one window.
fn inside<'a>(all: &'a [Arrival], window: &RateWindow) -> &'a [Arrival] {
    let start = all.partition_point(|arrival| arrival.window_s < window.start_s);
    let end = all.partition_point(|arrival| arrival.window_s <= window.start_s);
    &all[start..end]
}

fn asked(folder: &Path) -> ServeGen {
    ServeGen {
        folder: folder.to_owned(),
        from_ns: 0,
        for_ns: Some(HOUR_NS),
        rate_per_s: None,
        clients: None,
        seed: 0,
        output: "out.parquet".into(),
    }
}

struct Made {
    folder: tempfile::TempDir,
    counts: ServeGenMade,
}

impl Made {
    fn path(&self) -> PathBuf {
        self.folder.path().join("out.parquet")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    fn batch(&self) -> RecordBatch {
        let file = File::open(self.path()).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let reader = builder.with_batch_size(1 << 20).build().unwrap();
        reader.map(Result::unwrap).next().unwrap()
    }

    async fn rows(&self) -> Vec<TraceRow> {
        let options = TraceOptions {
            path: self.path(),
            ..TraceOptions::default()
        };
        let mut reader = open(&options).await.unwrap();
        let mut rows = Vec::new();
        while let Some(row) = reader.next().await.unwrap() {
            rows.push(row);
        }
        assert_eq!(reader.counts().out_of_order, 0);
        rows
    }
}

async fn try_make(asked: &ServeGen) -> Result<Made, TraceError> {
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("out.parquet")).unwrap();
    let counts = generate(asked, file).await?;
    Ok(Made { folder, counts })
}

async fn make(asked: &ServeGen) -> Made {
    try_make(asked).await.unwrap()
}

#[test]
fn windows_have_the_rate_that_the_file_says() {
    let Some(model) = shared_model("language/m-small") else {
        return;
    };
    let client = client(&model, 2);
    let all = arrivals(&client, 1, 1.0, whole(&client));
    let (mut sum, mut expected, mut variance) = (0.0, 0.0, 0.0);
    let mut far = 0;
    for window in &client.rates.windows {
        let mean = window.rate_per_s * f64::from(WINDOW_S);
        let count = inside(&all, window).len() as f64;
        // Of a count of many gaps. It is larger than that of a few of a heavy tail.
        let spread = mean * window.gaps.variation().powi(2);
        far += usize::from((count - mean).abs() > 4.0 * spread.sqrt().max(1.0));
        sum += count;
        expected += mean;
        variance += spread;
    }
    assert!(expected > 100_000.0, "{expected}");
    assert!(
        (sum - expected).abs() < 5.0 * f64::sqrt(variance),
        "{sum} {expected}"
    );
    let windows = client.rates.windows.len();
    assert!(far * 50 < windows, "{far} of {windows} windows are far off");
    assert!((client.expected(whole(&client)) - expected).abs() < 1e-6 * expected);
}

#[test]
fn gaps_vary_as_the_file_says() {
    let Some(model) = shared_model("language/m-small") else {
        return;
    };
    let client = client(&model, 2);
    let all = arrivals(&client, 1, 1.0, whole(&client));
    let (mut windows, mut stated, mut found) = (0, 0.0, 0.0);
    for window in &client.rates.windows {
        // A window of few or very uneven gaps cuts its longest ones off.
        let requests = inside(&all, window);
        let expected = match window.gaps {
            Gaps::Gamma { .. } => window.stated_variation,
            // What is stated beside Weibull gaps is not theirs.
            Gaps::Weibull { .. } => window.gaps.variation(),
        };
        if requests.len() < 300 || expected > 2.0 {
            continue;
        }
        let gaps: Vec<f64> = requests
            .windows(2)
            .map(|pair| (pair[1].at_ns - pair[0].at_ns) as f64)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let squares = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>();
        windows += 1;
        stated += expected;
        found += (squares / gaps.len() as f64).sqrt() / mean;
    }
    assert!(windows > 100, "{windows}");
    assert!(
        (found / stated - 1.0).abs() < 0.05,
        "{found} {stated} of {windows}"
    );
}

#[test]
fn lengths_have_the_means_of_their_distributions() {
    let Some(model) = shared_model("language/m-large") else {
        return;
    };
    let client = client(&model, 0);
    let mut checked = 0;
    for start_s in (0..client.rates.end_s).step_by(21_600) {
        let Some(expected) = client.lengths.mean(start_s, "input_tokens") else {
            continue;
        };
        let expected_output = client.lengths.mean(start_s, "output_tokens").unwrap();
        let drawn = (0..2000).map(|index| client.lengths.draw(start_s, 5, index, &[]).unwrap());
        let (inputs, outputs): (Vec<f64>, Vec<f64>) = drawn
            .map(|drawn| (drawn.input_tokens as f64, drawn.output_tokens as f64))
            .unzip();
        for (lengths, expected) in [(inputs, expected), (outputs, expected_output)] {
            let count = lengths.len() as f64;
            let mean = lengths.iter().sum::<f64>() / count;
            let squares = lengths
                .iter()
                .map(|length| (length - mean).powi(2))
                .sum::<f64>();
            // Five standard errors; a length of 0 is made 1.
            let error = (squares / count / count).sqrt();
            assert!(
                (mean - expected).abs() < 5.0 * error + 0.01,
                "{mean} {expected}"
            );
        }
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
}

#[test]
fn a_stretch_is_the_same_as_in_the_whole() {
    let Some(model) = shared_model("language/m-large") else {
        return;
    };
    let client = client(&model, 0);
    let part = Stretch {
        from_ns: 13 * HOUR_NS + 7 * SECOND_NS,
        to_ns: 17 * HOUR_NS + 3 * SECOND_NS,
    };
    let mut all = arrivals(&client, 9, 1.0, whole(&client));
    all.retain(|arrival| (part.from_ns..part.to_ns).contains(&arrival.at_ns));
    assert!(all.len() > 100, "{}", all.len());
    assert_eq!(arrivals(&client, 9, 1.0, part), all);
}

#[tokio::test]
async fn a_model_becomes_a_trace_that_is_read_back() {
    let Some(model) = shared_model("language/m-large") else {
        return;
    };
    let made = make(&asked(&model)).await;
    assert_eq!(made.counts.clients, 2);
    assert_eq!(
        made.counts.left_out,
        ["chunk-2-trace.csv", "chunk-3-trace.csv"]
    );
    assert_eq!(made.counts.borrowed, 0);
    assert_eq!(made.counts.length_ns, HOUR_NS);
    let rows = made.rows().await;
    assert_eq!(rows.len() as u64, made.counts.written);
    assert!(
        rows.iter()
            .all(|row| row.model.is_none() && row.session_id.is_none())
    );
    let class = |row: &TraceRow| row.class.clone().unwrap();
    let mut classes: Vec<String> = rows.iter().map(class).collect();
    classes.sort();
    classes.dedup();
    assert!(
        classes
            .iter()
            .all(|class| ["client-0", "client-1"].contains(&class.as_str()))
    );
}

#[tokio::test]
async fn equal_seeds_give_equal_files() {
    let Some(model) = shared_model("language/m-large") else {
        return;
    };
    let one = make(&asked(&model)).await.bytes();
    assert_eq!(make(&asked(&model)).await.bytes(), one);
    let other = ServeGen {
        seed: 1,
        ..asked(&model)
    };
    assert_ne!(make(&other).await.bytes(), one);
}

#[tokio::test]
async fn a_rate_is_that_of_all_clients_together() {
    let Some(model) = shared_model("reason/deepseek-r1") else {
        return;
    };
    let day = ServeGen {
        for_ns: None,
        rate_per_s: Some(1.0),
        ..asked(&model)
    };
    let made = make(&day).await;
    assert_eq!(made.counts.length_ns, 24 * HOUR_NS);
    // Bursty clients: the count of a day is off by some percent.
    let rate = made.counts.written as f64 / 86_400.0;
    assert!((rate - 1.0).abs() < 0.15, "{rate}");
    // What its answers are made of stays beside it.
    let batch = made.batch();
    let ratios = batch.column_by_name("extra_reason_ratio").unwrap();
    let ratios = ratios.as_primitive::<Float64Type>();
    assert!(
        ratios
            .values()
            .iter()
            .all(|ratio| (0.0..=1.0).contains(ratio))
    );
    assert!(ratios.values().iter().any(|ratio| ratio.fract() > 0.0));
}

#[tokio::test]
async fn the_input_of_a_multimodal_request_is_the_sum_of_its_parts() {
    let Some(model) = shared_model("multimodal/mm-image") else {
        return;
    };
    let made = make(&ServeGen {
        for_ns: Some(6 * HOUR_NS),
        ..asked(&model)
    })
    .await;
    let batch = made.batch();
    let column = |name: &str| {
        let column = batch
            .column_by_name(name)
            .unwrap_or_else(|| panic!("{name}"));
        column.as_primitive::<Int64Type>().values().to_vec()
    };
    let parts =
        ["text", "image", "audio", "video"].map(|kind| column(&format!("extra_{kind}_tokens")));
    let inputs = column("input_tokens");
    assert!(inputs.len() > 1000, "{}", inputs.len());
    for (at, input) in inputs.iter().enumerate() {
        let sum: i64 = parts.iter().map(|part| part[at]).sum();
        assert_eq!(*input, sum.max(1));
    }
    assert!(column("extra_image_count").iter().any(|&count| count > 0));
}

#[tokio::test]
async fn fewer_clients_are_some_of_all() {
    let Some(model) = shared_model("multimodal/mm-image") else {
        return;
    };
    let mut chosen = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let asked = ServeGen {
            clients: Some(1),
            for_ns: None,
            seed,
            ..asked(&model)
        };
        let made = make(&asked).await;
        assert_eq!(made.counts.clients, 1);
        chosen.extend(made.rows().await.into_iter().filter_map(|row| row.class));
    }
    // Every client has its turn.
    assert_eq!(chosen.len(), 4, "{chosen:?}");
    let error = try_make(&ServeGen {
        clients: Some(5),
        ..asked(&model)
    })
    .await;
    let message = error.err().unwrap().to_string();
    assert!(
        message.starts_with("`--clients 5` is not between 1 and the 4 clients"),
        "{message}"
    );
}

const RATES: &str = "0,5,1,Gamma,1,1\r\n600,0,0,,0,0\r\n";
const LENGTHS: &str = r#"{"0": {"input_tokens": "{10: 1.0}", "output_tokens": "{20: 1.0}"}}"#;

/// A folder with the files of one client.
fn scratch(rates: &str, lengths: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chunk-7-trace.csv"), rates).unwrap();
    fs::write(folder.path().join("chunk-7-dataset.json"), lengths).unwrap();
    folder
}

async fn message(folder: &Path, change: impl Fn(&mut ServeGen)) -> String {
    let mut asked = asked(folder);
    change(&mut asked);
    let error = try_make(&asked).await.err().unwrap();
    assert!(matches!(error, TraceError::Selection { .. }) || error.hint().is_some());
    let folder = format!("{}", folder.display());
    error
        .to_string()
        .replace(&format!("{folder}/"), "")
        .replace(&folder, "DIR")
}

#[tokio::test]
async fn a_small_folder_of_one_s_own_works() {
    let folder = scratch(RATES, LENGTHS);
    // Not two of one client, nor one of none.
    for name in [
        "chunk-07-trace.csv",
        "chunk-x-trace.csv",
        "README.md",
        "chunk-8-dataset.json",
    ] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let made = make(&asked(folder.path())).await;
    assert_eq!(made.counts.left_out, ["chunk-8-dataset.json"]);
    assert_eq!(made.counts.length_ns, 1200 * SECOND_NS);
    assert!((made.counts.rate_per_s - 2.5).abs() < 1e-9);
    let rows = made.rows().await;
    assert!(rows.len().abs_diff(3000) < 300, "{}", rows.len());
    assert!(
        rows.iter()
            .all(|row| (row.input_tokens, row.output_tokens) == (10, 20))
    );
}

#[tokio::test]
async fn broken_folders_are_told_by_file_and_line_or_key() {
    let plain = |_: &mut ServeGen| {};
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(
        message(empty.path(), plain).await,
        "`DIR` has no client: no pair of `chunk-N-trace.csv` and `chunk-N-dataset.json`"
    );
    let none = empty.path().join("none");
    assert_eq!(message(&none, plain).await, "cannot read `DIR`");
    for (rates, lengths, expected) in [
        (
            "0,-5,1,Gamma,1,1\n",
            LENGTHS,
            "`chunk-7-trace.csv` line 1: the rate `-5` is not between 0 and 1000000",
        ),
        (
            RATES,
            r#"{"0": {"input_tokens": "{10: 0.4}", "output_tokens": "{20: 1.0}"}}"#,
            "`chunk-7-dataset.json` window `0` `input_tokens`: the probabilities sum to 0.4, not to 1",
        ),
        (
            "0,0,0,,0,0\n",
            LENGTHS,
            "no client of `DIR` sends anything in what was asked for",
        ),
    ] {
        let folder = scratch(rates, lengths);
        assert_eq!(message(folder.path(), plain).await, expected);
    }
}

#[tokio::test]
async fn choices_that_make_no_sense_are_refused() {
    let folder = scratch(RATES, LENGTHS);
    let path = folder.path();
    for rate in [0.0, f64::INFINITY, f64::NAN, 1e7] {
        let message = message(path, |asked| asked.rate_per_s = Some(rate)).await;
        assert!(
            message.ends_with("is not above 0 and up to 1000000"),
            "{message}"
        );
    }
    assert_eq!(
        message(path, |asked| asked.from_ns = 1200 * SECOND_NS).await,
        "`--from` lies outside the 1200 s that the clients' files cover"
    );
    assert_eq!(
        message(path, |asked| asked.for_ns = Some(0)).await,
        "`--for` is not above 0"
    );
    assert_eq!(
        message(path, |asked| asked.clients = Some(0)).await,
        "`--clients 0` is not between 1 and the 1 clients that `DIR` has"
    );
}
