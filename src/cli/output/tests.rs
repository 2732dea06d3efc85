//! Outputs that are kept, given up, refused and replaced.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::{Draft, Error, Output, WholeFile, WholeFolder};

/// Names of all that is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_whole_file_appears_when_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.parquet");
    let output = WholeFile::open(&path, false).unwrap();
    output.file().write_all(b"rows").unwrap();
    assert!(!path.exists());
    output.keep().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"rows");
    assert_eq!(names(folder.path()), ["out.parquet"]);
}

#[test]
fn a_file_that_is_not_kept_leaves_nothing_and_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.parquet");
    fs::write(&path, "before").unwrap();
    assert!(matches!(
        WholeFile::open(&path, false),
        Err(Error::Exists(_))
    ));
    drop(WholeFile::open(&path, true).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"before");
    assert_eq!(names(folder.path()), ["out.parquet"]);
    WholeFile::open(&path, true).unwrap().keep().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn a_name_that_was_taken_meanwhile_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.parquet");
    let output = WholeFile::open(&path, false).unwrap();
    fs::write(&path, "other").unwrap();
    assert!(matches!(output.keep(), Err(Error::Exists(_))));
    assert_eq!(fs::read(&path).unwrap(), b"other");
    assert_eq!(names(folder.path()), ["out.parquet"]);
}

#[test]
fn folders_and_devices_are_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        WholeFile::open(folder.path(), true),
        Err(Error::File { .. })
    ));
    assert!(WholeFile::open("/dev/null".as_ref(), true).is_err());
    assert!(WholeFile::open(&folder.path().join("no/such/out"), false).is_err());
}

#[test]
fn what_is_replaced_keeps_its_permissions_and_a_link_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("real"), folder.path().join("link"));
    fs::write(&path, "before").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real", &link).unwrap();
    Output::open(&link, true)
        .unwrap()
        .write("after".to_owned())
        .unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read(&path).unwrap(), b"after");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    // One that leads nowhere makes room for a file.
    fs::remove_file(&path).unwrap();
    Output::open(&link, true)
        .unwrap()
        .write("anew".to_owned())
        .unwrap();
    assert_eq!(fs::read(&link).unwrap(), b"anew");
}

#[test]
fn an_output_is_only_looked_at_until_there_is_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    fs::write(&old, "before").unwrap();
    let outputs = [&old, &new].map(|path| Output::open(path, true).unwrap());
    assert_eq!(names(folder.path()), ["old"]);
    let drafts = outputs.map(|output| output.draft("after".to_owned()).unwrap());
    assert_eq!(fs::read(&old).unwrap(), b"before");
    assert!(drafts.iter().all(Draft::is_file));
    drop(drafts);
    assert_eq!(fs::read(&old).unwrap(), b"before");
    assert_eq!(names(folder.path()), ["old"]);
}

#[test]
fn a_device_is_written_to_as_it_is_and_only_where_that_is_forced() {
    let null = Path::new("/dev/null");
    assert!(matches!(Output::open(null, false), Err(Error::Exists(_))));
    let output = Output::open(null, true).unwrap();
    assert!(!output.draft("text".to_owned()).unwrap().is_file());
    Output::open(null, true)
        .unwrap()
        .write("text".to_owned())
        .unwrap();
    assert!(fs::metadata(null).unwrap().len() == 0);
}

#[test]
fn a_folder_of_files_is_whole_or_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tables");
    let files = |names: &[&str]| -> Vec<(String, String)> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), format!("new {name}")))
            .collect()
    };
    let is_stale = |name: &str| name.starts_with("table-");
    WholeFolder::check(&path, false).unwrap();
    drop(WholeFolder::draft(&path, false, &files(&["table-a"])).unwrap());
    assert!(names(folder.path()).is_empty());
    let draft = WholeFolder::draft(&path, false, &files(&["table-a", "table-b"])).unwrap();
    draft.keep(is_stale).unwrap();
    assert_eq!(names(&path), ["table-a", "table-b"]);
    // What is there and not of an earlier time stays, also where it is forced.
    fs::write(path.join("mine.csv"), "mine").unwrap();
    assert!(matches!(
        WholeFolder::check(&path, false),
        Err(Error::Exists(_))
    ));
    assert!(WholeFolder::draft(&path, true, &files(&["table-b", "no/such"])).is_err());
    assert_eq!(names(&path), ["mine.csv", "table-a", "table-b"]);
    let draft = WholeFolder::draft(&path, true, &files(&["table-b", "table-c"])).unwrap();
    draft.keep(is_stale).unwrap();
    assert_eq!(names(&path), ["mine.csv", "table-b", "table-c"]);
}
