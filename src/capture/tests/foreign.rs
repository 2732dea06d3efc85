//! Tapes of somebody else's: whatever stands in one, opening it reads and writes nothing outside.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use arrow::ipc::CompressionType;

use super::*;
use crate::capture::folder::Folder;
use crate::capture::parts;
use crate::capture::wal::stream_writer;

/// A tape that was left by a crash, beside files that are none of it.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .unwrap(),
        };
        dead_tape(&scene.tape());
        fs::create_dir(scene.folder.path().join("home")).unwrap();
        fs::write(scene.victim(), "years of work").unwrap();
        scene
    }

    fn tape(&self) -> PathBuf {
        self.folder.path().join("run.tape")
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn victim(&self) -> PathBuf {
        self.home().join("thesis.txt")
    }

    /// Fails where anything outside the tape has changed.
    #[track_caller]
    fn assert_home_is_as_it_was(&self, what: &str) {
        let files = contents(&self.home());
        let expected = BTreeMap::from([("thesis.txt".to_owned(), b"years of work".to_vec())]);
        assert_eq!(files, expected, "{what}");
    }
}

/// Everything below a folder that is a plain file, with its bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            let below = contents(&entry.path());
            files.extend(
                below
                    .into_iter()
                    .map(|(path, bytes)| (format!("{name}/{path}"), bytes)),
            );
        } else if kind.is_file() {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// Puts something else in the place of a file or a folder.
fn exchange(path: &Path, put: impl Fn(&Path)) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else if path.exists() {
        fs::remove_file(path).unwrap();
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    put(path);
}

fn pipe(path: &Path) {
    node(path, FileType::Fifo);
}

fn socket(path: &Path) {
    node(path, FileType::Socket);
}

fn node(path: &Path, kind: FileType) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), 0).unwrap();
}

/// Places in a tape at which something is read or written when it is recovered.
const PLACES: [&str; 16] = [
    "manifest.json",
    "manifest.json.tmp",
    "wal",
    "wal/lock",
    "wal/recovery",
    "wal/requests-00000.arrows",
    "wal/chunks-00000.arrows",
    "wal/chunks-00001.arrows",
    "wal/sorted-chunks-00000.run",
    "wal/sorted-requests-00001.run",
    "requests",
    "chunks",
    "probes",
    "requests/part-00000.parquet",
    "chunks/part-00000.parquet.tmp",
    "chunks/part-00000.parquet",
];

/// Those of them where a new file takes the place of whatever is there.
const WRITTEN: [&str; 7] = [
    "manifest.json.tmp",
    "wal/recovery",
    "wal/sorted-chunks-00000.run",
    "wal/sorted-requests-00001.run",
    "requests/part-00000.parquet",
    "chunks/part-00000.parquet.tmp",
    "chunks/part-00000.parquet",
];

#[test]
fn whatever_leads_out_of_a_tape_is_not_followed() {
    for place in PLACES {
        for target in [
            "home/thesis.txt",
            "home/new",
            "home",
            "run.tape",
            "run.tape/wal/lock",
        ] {
            let scene = Scene::new();
            let target = scene.folder.path().join(target);
            exchange(&scene.tape().join(place), |path| {
                symlink(&target, path).unwrap();
            });
            let what = format!("{place} -> {}", target.display());
            let recovered = recover(&scene.tape());
            scene.assert_home_is_as_it_was(&what);
            assert!(
                recovered.is_err() || WRITTEN.contains(&place),
                "{what} was read"
            );
            if let Err(error) = recovered {
                assert!(
                    matches!(error, CaptureError::Foreign { .. }),
                    "{what}: {error}"
                );
                assert!(error.to_string().contains("is a link"), "{what}: {error}");
            }
        }
    }
}

#[test]
fn a_second_name_of_a_file_elsewhere_is_never_written_through() {
    for place in PLACES
        .into_iter()
        .filter(|place| place.contains('.') || place.contains('/'))
    {
        let scene = Scene::new();
        exchange(&scene.tape().join(place), |path| {
            fs::hard_link(scene.victim(), path).unwrap();
        });
        // What of it can be read as a log or a manifest is not asked here.
        let _ = recover(&scene.tape());
        scene.assert_home_is_as_it_was(place);
    }
}

#[test]
fn pipes_sockets_and_folders_are_refused_at_once() {
    for place in PLACES {
        for (kind, put) in [
            ("a pipe", pipe as fn(&Path)),
            ("a socket", socket),
            ("a folder", |path: &Path| fs::create_dir(path).unwrap()),
        ] {
            let is_folder = ["wal", "requests", "chunks", "probes"].contains(&place);
            if is_folder && kind == "a folder" {
                continue;
            }
            let scene = Scene::new();
            exchange(&scene.tape().join(place), put);
            let what = format!("{place} is {kind}");
            match recover(&scene.tape()) {
                Err(CaptureError::Foreign { what: found, .. }) => {
                    assert_eq!(found, kind, "{place}");
                }
                // What is only written is replaced by a new file, which a folder can't be.
                Err(CaptureError::Write { .. }) => assert_eq!(kind, "a folder", "{what}"),
                Err(error) => panic!("{what}: {error}"),
                Ok(said) => assert!(said.is_some(), "{what}"),
            }
        }
    }
}

#[test]
fn parts_that_are_elsewhere_or_no_files_are_not_read() {
    let scene = Scene::new();
    recover(&scene.tape()).unwrap();
    let outside = scene.folder.path().join("other.tape");
    dead_tape(&outside);
    recover(&outside).unwrap();
    let refused = |tape: &Path, table: &str| match parts(tape, table) {
        Err(CaptureError::Foreign { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let tape = scene.tape();
    exchange(&tape.join("chunks"), |path| {
        symlink(outside.join("chunks"), path).unwrap();
    });
    assert_eq!(refused(&tape, "chunks"), "a link");
    exchange(&tape.join("requests/part-00000.parquet"), |path| {
        symlink(outside.join("requests/part-00000.parquet"), path).unwrap();
    });
    assert_eq!(refused(&tape, "requests"), "a link");
    exchange(&tape.join("requests/part-00000.parquet"), pipe);
    assert_eq!(refused(&tape, "requests"), "a pipe");
    exchange(&tape.join("server/part-00000.parquet"), |path| {
        fs::create_dir(path).unwrap();
    });
    assert_eq!(refused(&tape, "server"), "a folder");
    assert!(parts(&tape, "probes").unwrap().len() == 1);
    assert!(parts(&tape, "absent").unwrap().is_empty());
}

#[test]
fn a_whole_tape_is_opened_without_a_change() {
    for leaves_log in [false, true] {
        let scene = Scene::new();
        recover(&scene.tape()).unwrap();
        if leaves_log {
            fs::create_dir(scene.tape().join("wal")).unwrap();
            fs::write(scene.tape().join("wal/chunks-00000.arrows"), "rows").unwrap();
        }
        let before = contents(&scene.tape());
        assert_eq!(recover(&scene.tape()).unwrap(), None);
        assert_eq!(contents(&scene.tape()), before);
    }
}

#[test]
fn a_run_whose_log_is_gone_is_no_empty_run() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.tape().join("wal")).unwrap();
    let error = recover(&scene.tape()).unwrap_err();
    assert!(matches!(error, CaptureError::NoLog(_)));
    assert!(error.to_string().ends_with("its log is missing"), "{error}");
}

#[test]
fn what_is_in_a_log_and_no_part_of_one_stays() {
    let scene = Scene::new();
    let note = scene.tape().join("wal/notes.txt");
    fs::write(&note, "mine").unwrap();
    recover(&scene.tape()).unwrap().unwrap();
    assert_eq!(fs::read(&note).unwrap(), b"mine");
    assert!(!scene.tape().join("wal/lock").exists());
    assert_eq!(recover(&scene.tape()).unwrap(), None);
}

#[test]
fn a_manifest_is_held_to_a_bound_before_it_is_believed() {
    let scene = Scene::new();
    let path = Manifest::path(&scene.tape());
    let refused = |text: String| {
        fs::write(&path, text).unwrap();
        recover(&scene.tape()).unwrap_err().to_string()
    };
    let text = fs::read_to_string(&path).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        manifest[field] = value;
        manifest.to_string()
    };
    let step = serde_json::json!({"step": 1, "labels": {}, "from_ns": 0, "to_ns": 1});
    let steps = refused(with("steps", vec![step; 1_001].into()));
    assert!(
        steps.ends_with("has 1001 steps, and at most 1000 are read"),
        "{steps}"
    );
    let long = refused(with("plan", "x".repeat(1 << 20).into()));
    assert!(long.len() < 600, "{}", long.len());
    let plan = serde_json::json!({ "command": "x".repeat(1 << 20) });
    let plan = refused(with("plan", plan));
    assert!(
        plan.contains("bytes beside those, and at most 1048576"),
        "{plan}"
    );
    let many: BTreeMap<String, u64> = (0..1_001).map(|n| (n.to_string(), n)).collect();
    for (field, said) in [
        ("bounds_hit", "bounds that were hit"),
        ("unread_texts", "texts not read"),
    ] {
        let refusal = refused(with(field, serde_json::json!(many)));
        assert!(refusal.contains(&format!("has 1001 {said}, ")), "{refusal}");
    }
    let anchor = serde_json::json!({"monotonic_ns": 0, "utc_ns": 0});
    let anchors = refused(with("clock_anchors", vec![anchor; 100_001].into()));
    assert!(
        anchors.contains("100001 readings of the clock"),
        "{anchors}"
    );
    let large = refused(format!("{text}{}", " ".repeat(16 << 20)));
    assert!(large.ends_with("is larger than 16 MiB"), "{large}");
    // What a run may not read again it does not write.
    let mut manifest = manifest();
    manifest.plan.command = Some("x".repeat(1 << 20));
    let tape = scene.folder.path().join("large.tape");
    let refused = TapeWriter::create(&tape, manifest, false)
        .map(drop)
        .unwrap_err();
    assert!(matches!(refused, CaptureError::TooLarge { .. }));
    assert!(!tape.exists());
}

#[test]
fn a_segment_that_is_larger_than_any_that_is_written_is_refused() {
    let scene = Scene::new();
    let log = Folder::open(&scene.tape().join("wal")).unwrap();
    let packing = Some(CompressionType::LZ4_FRAME);
    let mut segment = stream_writer::<ChunkRow>(&log, "chunks-00000.arrows", packing).unwrap();
    let mut row = chunk(0, 0, 0);
    row.text = Some("x".repeat(8 << 20));
    for _ in 0..9 {
        segment
            .write(&ChunkRow::batch(std::slice::from_ref(&row)))
            .unwrap();
    }
    segment.finish().unwrap();
    let size = fs::metadata(log.path("chunks-00000.arrows")).unwrap().len();
    assert!(size < 1 << 20, "{size} bytes are no small file");
    let error = recover(&scene.tape()).unwrap_err().to_string();
    assert!(
        error.ends_with("it is larger than any that is written"),
        "{error}"
    );
    assert!(scene.tape().join("wal/chunks-00000.arrows").exists());
}
