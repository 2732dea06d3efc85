//! The data set `audio`: files of speech, or made-up sound where none are named.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::clip::Clip;
use super::content::Content;
use super::dataset::{Dataset, DatasetKind, DatasetPath, DatasetSetup, OpenDataset};
use super::error::WorkloadError;
use crate::draw::{Draw, field};
use crate::flag::{Flag, FlagKind};

/// The flag about made-up sound.
const SECONDS: &str = "audio-seconds";

/// Files of audio.
pub(super) const AUDIO: DatasetKind = DatasetKind {
    name: "audio",
    about: "Files of audio, a file or a folder (--dataset-path), or made-up sound",
    path: DatasetPath::Optional(&[SECONDS]),
    has_audio: true,
    flags: &[
        Flag {
            name: SECONDS,
            value_name: "SECONDS",
            help: "Length of made-up sound",
            kind: FlagKind::Number,
            default: Some("10"),
        },
        Flag {
            name: "audio-output-len",
            value_name: "TOKENS",
            help: "Most tokens of an answer [default: the server's own]",
            kind: FlagKind::Count(1),
            default: None,
        },
    ],
    open: OpenDataset::Requests(open),
};

/// Kinds of files, by the ending of their names.
const KINDS: [(&str, &str); 9] = [
    ("wav", "audio/wav"),
    ("mp3", "audio/mpeg"),
    ("mpga", "audio/mpeg"),
    ("flac", "audio/flac"),
    ("ogg", "audio/ogg"),
    ("oga", "audio/ogg"),
    ("m4a", "audio/mp4"),
    ("mp4", "audio/mp4"),
    ("webm", "audio/webm"),
];

/// Memory that the files of a data set may take together, in bytes.
const MAX_BYTES: u64 = 512 << 20;

/// Longest made-up sound, in seconds.
const MAX_SECONDS: f64 = 600.0;

/// Samples a second of made-up sound, as models of speech take them.
const RATE: u32 = 16_000;

/// What the plan keeps of its flags.
#[derive(Debug, Deserialize)]
struct Options {
    #[serde(default)]
    audio_seconds: Option<f64>,
    #[serde(default)]
    audio_output_len: Option<u32>,
}

fn open(setup: DatasetSetup<'_>) -> Result<Box<dyn Dataset>, WorkloadError> {
    let wrong = |message: String| WorkloadError::Lengths { message };
    let options = serde_json::from_value(Value::Object(setup.options.clone()));
    let options: Options =
        options.map_err(|error| wrong(format!("the data set `audio`: {error}")))?;
    let seconds = options.audio_seconds.unwrap_or(10.0);
    if !(0.1..=MAX_SECONDS).contains(&seconds) {
        return Err(wrong(format!(
            "`--audio-seconds {seconds}` is not from 0.1 to {MAX_SECONDS}"
        )));
    }
    let seed = setup.workload.seed();
    Ok(Box::new(AudioFiles {
        clips: setup.path.map_or(Ok(Vec::new()), |path| read(path, seed))?,
        samples: samples(seconds),
        output_tokens: options.audio_output_len,
        seed: setup.workload.words_seed(),
        repeats: setup.repeats,
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most 600 s of 16,000 samples"
)]
fn samples(seconds: f64) -> u32 {
    (seconds * f64::from(RATE)) as u32
}

/// Reads the files, in an order that the seed decides.
fn read(path: &Path, seed: u64) -> Result<Vec<Clip>, WorkloadError> {
    let wrong = |message: String, hint| WorkloadError::Dataset {
        path: path.to_owned(),
        message,
        hint,
    };
    let unread = |error: std::io::Error| {
        wrong(
            error.to_string(),
            "name a file or a folder that can be read",
        )
    };
    fs::metadata(path).map_err(unread)?;
    let mut paths: Vec<PathBuf> = if path.is_dir() {
        let entries = fs::read_dir(path).map_err(unread)?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect::<Result<_, _>>().map_err(unread)?
    } else {
        vec![path.to_owned()]
    };
    paths.sort();
    let mut clips = Vec::new();
    let mut bytes_left = MAX_BYTES;
    for path in paths {
        let Some(media_type) = media_type(&path) else {
            continue;
        };
        let size = fs::metadata(&path).map_err(unread)?.len();
        bytes_left = bytes_left.checked_sub(size).ok_or_else(|| {
            wrong(
                format!("its files have over {} MiB", MAX_BYTES >> 20),
                "name a folder with fewer files: each may be sent any number of times",
            )
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        clips.push(Clip {
            name: name.as_ref().into(),
            media_type,
            bytes: fs::read(&path).map_err(unread)?.into(),
        });
    }
    if clips.is_empty() {
        return Err(wrong(
            "it has no file of audio".to_owned(),
            "files end in .wav, .mp3, .flac, .ogg, .m4a, .mp4 or .webm",
        ));
    }
    let mut numbered: Vec<_> = (0..).zip(clips).collect();
    numbered.sort_by_key(|(number, _)| Draw::new(seed, *number, field::DATASET_ROW).next());
    Ok(numbered.into_iter().map(|(_, clip)| clip).collect())
}

fn media_type(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    let known = KINDS.iter().find(|(of, _)| *of == ending);
    known.map(|(_, media_type)| *media_type)
}

struct AudioFiles {
    /// What is sent, in this order, and again from the start; none for made-up sound.
    clips: Vec<Clip>,
    /// Samples of made-up sound.
    samples: u32,
    output_tokens: Option<u32>,
    seed: u64,
    /// The files are sent again from the first where they are too few.
    repeats: bool,
}

impl Dataset for AudioFiles {
    fn request(&self, index: u64) -> Content {
        let count = (self.clips.len() as u64).max(1);
        let place = usize::try_from(index % count).unwrap_or(0);
        let clip = self.clips.get(place).cloned();
        Content {
            output_tokens: self.output_tokens.unwrap_or(0),
            audio: Some(clip.unwrap_or_else(|| self.made_up(index))),
            ..Content::default()
        }
    }

    fn typical_output_tokens(&self) -> Option<u32> {
        self.output_tokens
    }

    fn limit(&self) -> Option<u64> {
        let is_limited = !self.repeats && !self.clips.is_empty();
        is_limited.then_some(self.clips.len() as u64)
    }

    fn note(&self) -> Option<String> {
        let note = "note: the audio is made up, and what a server hears in it means nothing; \
                    `--dataset-path` names files of speech";
        self.clips.is_empty().then(|| note.to_owned())
    }
}

impl AudioFiles {
    /// Sound that differs from request to request, so that no server knows it: a WAV file of 16 bits
    /// and one channel, with a tone that rises and falls in noise.
    fn made_up(&self, index: u64) -> Clip {
        let mut draw = Draw::new(self.seed, index, field::AUDIO);
        let length = self.samples * 2;
        let mut bytes = Vec::with_capacity(length as usize + 44);
        bytes.extend_from_slice(b"RIFF");
        bytes.extend_from_slice(&(length + 36).to_le_bytes());
        bytes.extend_from_slice(b"WAVEfmt ");
        for number in [16, 0x0001_0001, RATE, RATE * 2, 0x0010_0002] {
            bytes.extend_from_slice(&u32::to_le_bytes(number));
        }
        bytes.extend_from_slice(b"data");
        bytes.extend_from_slice(&length.to_le_bytes());
        let period = 40 + draw.below(80);
        for sample in 0..u64::from(self.samples) {
            // A triangle of the period, louder and softer four times a second.
            let place = sample % period;
            let height = place.min(period - place) * 8_000 / period;
            let loudness = (sample % 4_000).min(4_000 - sample % 4_000);
            let level = height * loudness / 2_000 + draw.below(600);
            let level = i16::try_from(level).unwrap_or(i16::MAX) - 2_000;
            bytes.extend_from_slice(&level.to_le_bytes());
        }
        Clip {
            name: format!("{index}.wav").into(),
            media_type: "audio/wav",
            bytes: bytes.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Map;

    use super::*;
    use crate::workload::{Tokenizer, Workload};

    fn files(clips: Vec<Clip>) -> AudioFiles {
        AudioFiles {
            clips,
            samples: samples(0.5),
            output_tokens: None,
            seed: 7,
            repeats: true,
        }
    }

    #[test]
    fn made_up_sound_is_a_wav_file_of_the_length_and_differs() {
        let data = files(Vec::new());
        let clip = |index| data.request(index).audio.unwrap();
        let bytes = clip(0).bytes;
        assert_eq!(bytes.len(), 44 + 16_000);
        assert_eq!(&bytes[..4], b"RIFF");
        assert_eq!(u32::from_le_bytes(bytes[4..8].try_into().unwrap()), 16_036);
        // PCM, mono, 16,000 samples and 32,000 bytes a second, 2 bytes and 16 bits a sample.
        assert_eq!(
            bytes[20..36],
            [1, 0, 1, 0, 0x80, 0x3e, 0, 0, 0, 0x7d, 0, 0, 2, 0, 16, 0]
        );
        assert_eq!(clip(0), clip(0));
        assert_ne!(clip(0).bytes, clip(1).bytes);
        assert!(data.note().is_some());
    }

    #[test]
    fn made_up_sound_is_another_under_another_salt() {
        let sound = |salt| {
            let workload = Workload::new(&Arc::new(Tokenizer::embedded()), 1).with_salt(salt);
            let setup = DatasetSetup {
                options: &Map::new(),
                path: None,
                workload: Arc::new(workload),
                count_tokens: None,
                count: None,
                repeats: true,
                is_shuffled: true,
                is_chat: false,
                kinds: &[],
            };
            open(setup).unwrap().request(0).audio.unwrap().bytes
        };
        assert_eq!(sound(1), sound(1));
        assert_ne!(sound(1), sound(2));
    }

    #[test]
    fn the_files_of_a_folder_are_sent_in_turn() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("b.MP3", "b"),
            ("a.wav", "a"),
            ("c.flac", "c"),
            ("notes.txt", "x"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let data = files(read(folder.path(), 1).unwrap());
        let name = |index| data.request(index).audio.unwrap().name.to_string();
        let mut names: Vec<_> = (0..3).map(name).collect();
        assert_eq!(name(0), name(3));
        names.sort();
        assert_eq!(names, ["a.wav", "b.MP3", "c.flac"]);
        let one = read(&folder.path().join("b.MP3"), 1).unwrap();
        assert_eq!((one.len(), one[0].media_type), (1, "audio/mpeg"));
        assert!(data.note().is_none());
    }

    #[test]
    fn what_has_no_audio_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "x").unwrap();
        for path in [
            folder.path().to_owned(),
            folder.path().join("a.txt"),
            folder.path().join("none.wav"),
        ] {
            let error = read(&path, 1).unwrap_err();
            assert!(error.hint().is_some(), "{error}");
        }
    }
}
