//! The beginning and the end of a tape: what is replaced, what is left of what failed, and in which
//! order things reach the disk.

use std::os::unix::fs::symlink;

use super::*;
use crate::capture::contents::make_room;
use crate::capture::folder::{DONE, Folder};
use crate::capture::wal;

fn create(path: &Path, replaces: bool) -> Result<(), CaptureError> {
    TapeWriter::create(path, manifest(), replaces).map(drop)
}

fn refusal(path: &Path) -> String {
    match create(path, true) {
        Err(error @ CaptureError::Kept { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tape_is_replaced_when_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    dead_tape(&path);
    assert!(matches!(create(&path, false), Err(CaptureError::Exists(_))));
    create(&path, true).unwrap();
    recover(&path).unwrap();
    assert!(read::<RequestRow>(&path).is_empty());
    create(&path, true).unwrap();
    assert!(!path.join("requests").exists(), "a table of the old tape");
}

#[test]
fn a_tape_that_was_only_begun_is_replaced_as_well() {
    let folder = tempfile::tempdir().unwrap();
    for left in [
        &["lock"][..],
        &[],
        &["lock", "requests-00000.arrows", "recovery"],
    ] {
        let path = folder.path().join("run.tape");
        fs::create_dir_all(path.join("wal")).unwrap();
        fs::write(path.join("manifest.json.tmp"), "{\"schema_ver").unwrap();
        for name in left {
            fs::write(path.join("wal").join(name), "").unwrap();
        }
        create(&path, true).unwrap();
        recover(&path).unwrap();
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn what_is_no_tape_and_what_is_in_one_beside_it_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let dead = |name: &str| {
        let path = folder.path().join(name);
        dead_tape(&path);
        path
    };
    let with = |name: &str, file: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.join(file).parent().unwrap()).unwrap();
        fs::write(path.join(file), text).unwrap();
        path
    };
    let mine = "years of work";
    let sealed = dead("sealed");
    recover(&sealed).unwrap();
    for (path, file) in [
        (with("thesis", "chapter.txt", mine), "chapter.txt"),
        // Other programs have manifests too.
        (
            with("extension", "manifest.json", "{\"name\": \"x\"}"),
            "manifest.json",
        ),
        (
            with("data", "requests/part-00000.parquet", mine),
            "requests/part-00000.parquet",
        ),
        (dead("a"), "notes.txt"),
        (dead("b"), "wal/notes.txt"),
        (dead("c"), "chunks/all.parquet"),
        (sealed, "chunks/part-1.parquet"),
        (dead("d"), "requests/deep/er.txt"),
        (dead("e"), "server.txt"),
        (folder.path().join("file"), ""),
    ] {
        let file = path.join(file);
        if !file.exists() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let file = if file.to_string_lossy().ends_with('/') {
                path.clone()
            } else {
                file.clone()
            };
            fs::write(file, mine).unwrap();
        }
        let before = fs::read(&file).or_else(|_| fs::read(&path)).unwrap();
        let said = refusal(&path);
        assert!(said.contains("is not replaced: "), "{said}");
        assert_eq!(
            fs::read(&file).or_else(|_| fs::read(&path)).unwrap(),
            before
        );
    }
}

#[test]
fn a_link_to_a_tape_is_replaced_and_not_the_tape() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (
        folder.path().join("run.tape"),
        folder.path().join("latest.tape"),
    );
    dead_tape(&path);
    symlink(&path, &link).unwrap();
    create(&link, true).unwrap();
    assert!(!link.is_symlink());
    recover(&path).unwrap();
    assert_eq!(read::<RequestRow>(&path).len(), 3);
    // Links inside a tape are removed and not what they lead to.
    let inside = folder.path().join("inside.tape");
    dead_tape(&inside);
    symlink(path.join("chunks"), inside.join("chunks")).unwrap();
    create(&inside, true).unwrap();
    assert_eq!(read::<ChunkRow>(&path).len(), 1);
}

#[test]
fn a_tape_that_could_not_be_made_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    let room = make_room(&path, false).unwrap();
    fs::create_dir(path.join("wal")).unwrap();
    fs::write(path.join("wal/lock"), "").unwrap();
    fs::write(path.join("manifest.json.tmp"), "{").unwrap();
    room.clear(&path);
    assert!(!path.exists());
    fs::write(folder.path().join("file"), "").unwrap();
    let error = create(&folder.path().join("file/run.tape"), false).unwrap_err();
    assert!(matches!(error, CaptureError::Make { .. }), "{error}");
}

#[test]
fn a_tape_that_another_process_recovers_is_told_from_one_that_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    dead_tape(&path);
    let log = Folder::open(&path.join(wal::FOLDER)).unwrap();
    let lock = wal::lock(&log, &path).unwrap();
    assert!(matches!(recover(&path), Err(CaptureError::Busy(_))));
    log.new_file(wal::RECOVERY).unwrap();
    assert!(matches!(recover(&path), Err(CaptureError::Recovering(_))));
    assert!(matches!(
        create(&path, true),
        Err(CaptureError::Recovering(_))
    ));
    drop(lock);
    assert!(recover(&path).unwrap().is_some());
}

#[test]
fn the_log_is_removed_when_the_manifest_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    dead_tape(&path);
    DONE.with_borrow_mut(Vec::clear);
    recover(&path).unwrap();
    let done = DONE.with_borrow(Vec::clone);
    let end = done
        .iter()
        .position(|step| step == "make manifest.json.tmp")
        .unwrap();
    assert_eq!(
        done[end..],
        [
            "make manifest.json.tmp",
            "sync manifest.json.tmp",
            "rename manifest.json",
            "sync run.tape",
            "remove chunks-00000.arrows",
            "remove lock",
            "remove recovery",
            "remove requests-00000.arrows",
            "remove wal",
            "sync run.tape",
        ]
    );
    // The tables come before, each synced before it has its name.
    for table in ["requests", "chunks", "probes"] {
        let at = |step: &str| done[..end].iter().position(|done| done == step);
        assert!(at(&format!("sync {table}")).is_some(), "{table}: {done:?}");
    }
    let at = |step: &str| done[..end].iter().position(|done| done == step).unwrap();
    assert!(at("sync part-00000.parquet.tmp") < at("rename part-00000.parquet"));
}

#[test]
fn a_log_that_is_removed_under_a_run_is_noticed_and_never_passes_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    for gone in ["wal", "wal/requests-00000.arrows"] {
        let path = folder.path().join("run.tape");
        let mut tape = TapeWriter::create(&path, manifest(), false).unwrap();
        tape.push_request(request(0));
        tape.flush().unwrap();
        let gone = path.join(gone);
        let is_whole = gone.is_dir();
        fs::remove_dir_all(&gone)
            .or_else(|_| fs::remove_file(&gone))
            .unwrap();
        if is_whole {
            let error = tape.flush().unwrap_err();
            assert!(matches!(error, CaptureError::LogGone(_)), "{error}");
        }
        let error = tape.finish(Ending::default()).unwrap_err();
        assert!(matches!(error, CaptureError::LogGone(_)), "{error}");
        assert_eq!(Manifest::read(&path).unwrap().state, State::Running);
        fs::remove_dir_all(&path).unwrap();
    }
    // A tape that is moved is written where it is.
    let (path, moved) = (folder.path().join("a.tape"), folder.path().join("b.tape"));
    let mut tape = TapeWriter::create(&path, manifest(), false).unwrap();
    tape.push_request(request(0));
    tape.flush().unwrap();
    fs::rename(&path, &moved).unwrap();
    tape.finish(Ending::default()).unwrap();
    assert_eq!(read::<RequestRow>(&moved).len(), 1);
}
