//! The data set `mix`: several data sets, one of which each request is of.
//!
//! Which one is a draw by weight for each request. Inside its own data set a request has the next
//! number, so that a file is sent from its first request to its last before any of it comes again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::content::Content;
use super::dataset::{Dataset, DatasetKind, DatasetPath, DatasetSetup, Open, OpenDataset};
use super::error::WorkloadError;
use super::items::note;
use crate::draw::{Draw, field};
use crate::flag::{Flag, FlagKind};

/// Several data sets.
pub(super) const MIX: DatasetKind = DatasetKind {
    name: "mix",
    about: "Several data sets by weight, each with its own flags (--dataset-mix)",
    path: DatasetPath::None,
    has_audio: false,
    flags: &[Flag {
        name: "dataset-mix",
        value_name: "PARTS",
        help: "Parts of a mix, NAME[=FILE]:WEIGHT, such as random:3,sharegpt=a.json:1",
        kind: FlagKind::Text,
        default: None,
    }],
    open: OpenDataset::Requests(open),
};

/// The name of the flag in a plan.
const KEY: &str = "dataset_mix";

/// Data sets of a mix at most.
const MAX_PARTS: usize = 32;

/// Requests after which the numbers inside the parts are kept, to count from.
const STEP: u64 = 4_096;

/// Requests of which it is found out beforehand which part they are of.
const MAX_COUNTED: u64 = 100_000_000;

/// A data set of a mix, as it is written.
#[derive(Debug, Clone, PartialEq)]
struct Written {
    name: String,
    path: Option<PathBuf>,
    weight: f64,
}

/// Returns the names of the data sets in a mix, or what is wrong with it.
pub(super) fn names(
    options: &serde_json::Map<String, serde_json::Value>,
    kinds: &'static [DatasetKind],
) -> Result<Vec<&'static str>, String> {
    let parts = written(options)?;
    let names = parts.iter().map(|part| Ok(part_kind(part, kinds)?.0.name));
    names.collect()
}

/// Reads the parts of a mix.
fn written(options: &serde_json::Map<String, serde_json::Value>) -> Result<Vec<Written>, String> {
    let text = options.get(KEY).and_then(serde_json::Value::as_str);
    let text = text.ok_or(
        "the data set `mix` has no parts: name them with `--dataset-mix`, such as \
         random:3,sharegpt=share.json:1",
    )?;
    parse(text)
}

/// Returns the kind of a part, and what opens it.
fn part_kind(
    part: &Written,
    kinds: &'static [DatasetKind],
) -> Result<(&'static DatasetKind, Open<dyn Dataset>), String> {
    let kind = kinds.iter().find(|kind| kind.name == part.name);
    let kind = kind.filter(|kind| kind.name != MIX.name && !kind.has_audio);
    let opened = kind.and_then(|kind| Some((kind, kind.requests()?)));
    opened.ok_or_else(|| {
        format!(
            "`{}` is no data set that a mix can have; `--help` lists them, and `mix` and those of audio \
             and of conversations are left out",
            part.name
        )
    })
}

fn parse(text: &str) -> Result<Vec<Written>, String> {
    let parts = text.split(',').map(str::trim).map(|part| {
        let wrong = |why: &str| {
            format!("`{part}` of the mix is not NAME:WEIGHT or NAME=FILE:WEIGHT, such as random:3: {why}")
        };
        let (set, weight) = part
            .rsplit_once(':')
            .ok_or_else(|| wrong("it has no weight"))?;
        let weight = weight.trim().parse::<f64>();
        let weight = weight.ok().filter(|weight| weight.is_finite() && *weight > 0.0);
        let (name, path) = match set.split_once('=') {
            Some((name, path)) => (name, Some(PathBuf::from(path))),
            None => (set, None),
        };
        Ok(Written {
            name: name.trim().to_owned(),
            path,
            weight: weight.ok_or_else(|| wrong("its weight is no number above 0"))?,
        })
    });
    let parts: Vec<Written> = parts.collect::<Result<_, String>>()?;
    match parts.len() > MAX_PARTS {
        true => Err(format!("a mix has at most {MAX_PARTS} data sets")),
        false => Ok(parts),
    }
}

fn open(setup: DatasetSetup<'_>) -> Result<Box<dyn Dataset>, WorkloadError> {
    let wrong = |message: String| WorkloadError::Lengths { message };
    let written = written(setup.options).map_err(wrong)?;
    let shares: Vec<f64> = written.iter().map(|part| part.weight).collect();
    let choice = Choice::new(setup.workload.seed(), &shares);
    let counts = setup.count.filter(|count| *count <= MAX_COUNTED);
    let counts = counts.map(|count| choice.counts(count));
    let mut parts = Vec::new();
    for (number, part) in written.into_iter().enumerate() {
        let (kind, open) = part_kind(&part, setup.kinds).map_err(wrong)?;
        let name = kind.name;
        if kind.path == DatasetPath::Required && part.path.is_none() {
            return Err(wrong(format!(
                "the data set `{name}` of the mix is a file: write it as {name}=FILE:WEIGHT"
            )));
        }
        if kind.path == DatasetPath::None && part.path.is_some() {
            return Err(wrong(format!(
                "the data set `{name}` of the mix is no file"
            )));
        }
        let dataset = open(DatasetSetup {
            options: setup.options,
            path: part.path.as_deref(),
            // Two parts of random words have no prompt in common.
            workload: Arc::new(setup.workload.of_part(number as u64)),
            count_tokens: setup.count_tokens.clone(),
            count: counts
                .as_ref()
                .and_then(|counts| counts.get(number).copied()),
            repeats: true,
            is_shuffled: setup.is_shuffled,
            is_chat: setup.is_chat,
            kinds: setup.kinds,
        })?;
        parts.push(Part { name, dataset });
    }
    Ok(Box::new(Mix {
        picked: Mutex::new(Picked::new(parts.len())),
        choice,
        parts,
    }))
}

/// Which part a request is of.
struct Choice {
    seed: u64,
    /// Sums of the weights up to each part, so that the last is 1.
    sums: Vec<f64>,
}

impl Choice {
    fn new(seed: u64, weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let sums = weights.iter().map(|weight| {
            sum += weight / total;
            sum
        });
        Self {
            sums: sums.collect(),
            seed,
        }
    }

    fn part(&self, index: u64) -> usize {
        let at = Draw::new(self.seed, index, field::DATASET_PART).fraction();
        // The sum may fall short of 1 by a rounding.
        let part = self.sums.partition_point(|sum| *sum <= at);
        part.min(self.sums.len() - 1)
    }

    /// How many of the first `count` requests are of each part.
    fn counts(&self, count: u64) -> Vec<u64> {
        let mut counts = vec![0; self.sums.len()];
        for index in 0..count {
            counts[self.part(index)] += 1;
        }
        counts
    }
}

struct Part {
    name: &'static str,
    dataset: Box<dyn Dataset>,
}

struct Mix {
    choice: Choice,
    /// At least one.
    parts: Vec<Part>,
    /// What has been counted. It saves counting and decides nothing.
    picked: Mutex<Picked>,
}

/// How many requests are of each part, up to the next one.
struct Picked {
    next: u64,
    counts: Vec<u64>,
    /// The counts before each [`STEP`]th request.
    marks: Vec<Vec<u64>>,
}

impl Picked {
    fn new(parts: usize) -> Self {
        Self {
            next: 0,
            counts: vec![0; parts],
            marks: Vec::new(),
        }
    }

    /// Returns how many of the requests before `index` are of a part.
    fn before(&mut self, index: u64, part: usize, choice: &Choice) -> u64 {
        while self.next < index {
            if self.next.is_multiple_of(STEP) {
                self.marks.push(self.counts.clone());
            }
            self.counts[choice.part(self.next)] += 1;
            self.next += 1;
        }
        if index == self.next {
            return self.counts[part];
        }
        let mark = index / STEP;
        let counted = usize::try_from(mark)
            .ok()
            .and_then(|mark| self.marks.get(mark));
        let counted = counted.map_or(0, |counts| counts[part]);
        let since = (mark * STEP..index).filter(|index| choice.part(*index) == part);
        counted + since.count() as u64
    }
}

impl Dataset for Mix {
    fn request(&self, index: u64) -> Content {
        let number = self.choice.part(index);
        let own = {
            let mut picked = self.picked.lock().unwrap_or_else(PoisonError::into_inner);
            picked.before(index, number, &self.choice)
        };
        let part = &self.parts[number];
        Content {
            class: Some(part.name),
            ..part.dataset.request(own)
        }
    }

    fn warmup(&self, index: u64) -> Content {
        self.parts[self.choice.part(index)].dataset.warmup(index)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a mean of 32-bit lengths"
    )]
    fn typical_output_tokens(&self) -> Option<u32> {
        let (mut mean, mut before) = (0.0, 0.0);
        for (part, sum) in self.parts.iter().zip(&self.choice.sums) {
            mean += f64::from(part.dataset.typical_output_tokens()?) * (sum - before);
            before = *sum;
        }
        Some(mean.round() as u32)
    }

    fn has_images(&self) -> bool {
        self.parts.iter().any(|part| part.dataset.has_images())
    }

    fn note(&self) -> Option<String> {
        let said = self.parts.iter().filter_map(|part| {
            let said = part.dataset.note()?;
            let said = said.strip_prefix("note: ").unwrap_or(&said);
            Some(format!("of `{}` in the mix, {said}", part.name))
        });
        note(said)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::{Map, json};

    use super::*;
    use crate::flag::defaults;
    use crate::workload::{DATASETS, Tokenizer, Workload};

    fn opened(mix: &str, count: Option<u64>) -> Result<Box<dyn Dataset>, String> {
        let mut options: Map<_, _> = DATASETS
            .iter()
            .flat_map(|kind| defaults(kind.flags))
            .collect();
        options.insert("random_input_len".to_owned(), json!(8));
        options.insert(KEY.to_owned(), json!(mix));
        let opened = open(DatasetSetup {
            options: &options,
            path: None,
            workload: Arc::new(Workload::new(&Arc::new(Tokenizer::embedded()), 7)),
            count_tokens: None,
            count,
            repeats: true,
            is_shuffled: true,
            is_chat: false,
            kinds: DATASETS,
        });
        opened.map_err(|error| error.to_string())
    }

    #[test]
    fn each_part_comes_as_often_as_its_weight_and_repeats_nothing_early() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.csv");
        let lines: String = (0..1_500).map(|line| format!("line {line},1\n")).collect();
        std::fs::write(&path, format!("prompt,output_tokens\n{lines}")).unwrap();
        let mix = format!("random:3, custom={}:1", path.display());
        let dataset = opened(&mix, Some(5_000)).unwrap();
        let contents: Vec<Content> = (0..5_000).map(|index| dataset.request(index)).collect();
        let of = |class| contents.iter().filter(move |one| one.class == Some(class));
        // Five standard deviations of a binomial with n = 5,000 and p = 0.25.
        let own: Vec<&str> = of("custom").map(|one| one.text.as_str()).collect();
        assert!(own.len().abs_diff(1_250) < 155, "{}", own.len());
        let in_order = own
            .iter()
            .zip(0..)
            .all(|(text, line)| *text == format!("line {line}"));
        assert!(in_order, "the lines of the file, one after the other");
        assert!(of("random").all(|one| one.tokens == Some(8)));
        assert_eq!(dataset.note(), None);
        // A function of the index alone.
        let other = opened(&mix, Some(5_000)).unwrap();
        for index in [4_999, 0, 4_096, 4_095, 1_234, 4_999] {
            let at = usize::try_from(index).unwrap();
            assert_eq!(other.request(index), contents[at], "{index}");
        }
        let short = opened(&mix, Some(10_000)).unwrap().note().unwrap();
        assert!(
            short.starts_with("note: of `custom` in the mix, the 1500 lines"),
            "{short}"
        );
    }

    #[test]
    fn two_parts_of_random_words_have_no_prompt_in_common() {
        let dataset = opened("random:1,random:1", Some(400)).unwrap();
        let mut seen: HashMap<String, u64> = HashMap::new();
        for index in 0..400 {
            assert_eq!(seen.insert(dataset.request(index).text, index), None);
        }
        let warmup = dataset.warmup(1 << 63);
        assert_eq!(warmup.tokens, Some(8));
        assert_eq!(dataset.typical_output_tokens(), Some(128));
    }

    #[test]
    fn a_mix_that_cannot_be_read_is_told_before_its_flags_are_looked_at() {
        for (mix, why) in [
            (json!("random"), "it has no weight"),
            (json!("random:1,nope:1"), "`nope` is no data set"),
            (json!(null), "has no parts"),
        ] {
            let options = Map::from_iter([(KEY.to_owned(), mix)]);
            let told = names(&options, DATASETS).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        let options = Map::from_iter([(KEY.to_owned(), json!("random:1,sharegpt=a:2"))]);
        let known = names(&options, DATASETS);
        assert_eq!(known, Ok(vec!["random", "sharegpt"]));
    }

    #[test]
    fn what_is_no_mix_is_told() {
        for (mix, why) in [
            ("", "it has no weight"),
            ("random", "it has no weight"),
            ("random:0", "no number above 0"),
            ("random:inf", "no number above 0"),
            ("random:1,,", "it has no weight"),
            ("mix:1", "`mix` is no data set that a mix can have"),
            ("audio:1", "`audio` is no data set"),
            ("shakespeare:1", "`shakespeare` is no data set"),
            ("random=a.json:1", "`random` of the mix is no file"),
            ("sharegpt:1", "write it as sharegpt=FILE:WEIGHT"),
            ("custom=/no/such/file:1", "No such file"),
        ] {
            let message = opened(mix, None).err().unwrap();
            assert!(message.contains(why), "{mix}: {message}");
        }
        assert!(opened(&["random:1"; 33].join(","), None).is_err());
    }
}
