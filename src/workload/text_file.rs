//! Opens the text files of data sets, and says why one can't be read.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// Bytes that are read at once.
pub(super) const BUFFER_BYTES: usize = 1 << 20;

/// A text file, unpacked where its first bytes say gzip.
pub type Text = Box<dyn BufRead>;

/// Why a file can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unreadable {
    /// What is wrong.
    pub message: String,
    /// What the user can do about the file itself; none where its text is of another form than is wanted.
    pub hint: Option<&'static str>,
}

impl From<String> for Unreadable {
    fn from(message: String) -> Self {
        let hint = None;
        Self { message, hint }
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => Some("name a file that is there"),
            io::ErrorKind::PermissionDenied => Some("see who may read it"),
            io::ErrorKind::IsADirectory => {
                Some("name a file in it; `load --dataset-name hf` takes folders")
            }
            // What gzip says of a file that ends too early or has other bytes.
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData => {
                Some("it is packed with gzip, and cut off or broken: fetch it or pack it again")
            }
            _ => None,
        };
        let message = error.to_string();
        Self { message, hint }
    }
}

/// Beginnings of files that are no text, what those are, and what to do about them.
const NO_TEXTS: [(&[u8], &str, &str); 9] = [
    (
        b"PAR1",
        "a file of Parquet",
        "`load --dataset-name hf` reads Parquet",
    ),
    (
        b"version https://git-lfs",
        "a Git LFS pointer",
        "fetch what it points to with `git lfs pull`",
    ),
    (b"PK\x03\x04", "a ZIP archive", "unpack it"),
    (b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
    (
        b"\x28\xb5\x2f\xfd",
        "packed with zstd",
        "unpack it, or pack it with gzip",
    ),
    (
        b"\xfd7zXZ\0",
        "packed with xz",
        "unpack it, or pack it with gzip",
    ),
    (
        b"BZh",
        "packed with bzip2",
        "unpack it, or pack it with gzip",
    ),
    (
        b"ARROW1",
        "a file of Arrow",
        "write it as Parquet or JSON lines",
    ),
];

/// Opens a text file, behind its byte order mark.
///
/// # Errors
///
/// It can't be read, or its first bytes are of no text.
pub fn open(path: &Path) -> Result<Text, Unreadable> {
    if path.join("manifest.json").is_file() {
        return Err(Unreadable {
            message: "it is a tape".to_owned(),
            hint: Some("`load --dataset-name tape` sends its prompts"),
        });
    }
    let opened = File::open(path).map_err(|error| {
        let mut why = Unreadable::from(error);
        if path.to_string_lossy().contains("://") {
            why.hint = Some("addresses are not read: download it first");
        }
        why
    });
    let mut file = BufReader::with_capacity(BUFFER_BYTES, opened?);
    let is_packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let mut text: Text = match is_packed {
        true => Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            MultiGzDecoder::new(file),
        )),
        false => Box::new(file),
    };
    let head = text.fill_buf()?;
    if let Some((_, what, hint)) = NO_TEXTS.iter().find(|(start, ..)| head.starts_with(start)) {
        return Err(Unreadable {
            message: format!("it is {what}"),
            hint: Some(hint),
        });
    }
    if head.starts_with(b"\xef\xbb\xbf") {
        text.consume(3);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn read(bytes: &[u8]) -> Result<String, Unreadable> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut text = String::new();
        open(file.path())?.read_to_string(&mut text)?;
        Ok(text)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn a_text_is_the_same_packed_or_not() {
        let text = b"\xef\xbb\xbfa text\n".as_slice();
        assert_eq!(read(text).unwrap(), "a text\n");
        assert_eq!(read(&packed(text)).unwrap(), "a text\n");
        assert_eq!(read(b"").unwrap(), "");
    }

    #[test]
    fn a_file_that_is_no_text_has_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let missing = open(&folder.path().join("none")).err().unwrap();
        let of_folder = open(folder.path()).err().unwrap();
        let whole = packed(&[b'a'; 5_000]);
        let cut = read(&whole[..whole.len() / 2]).unwrap_err();
        let mut broken = whole.clone();
        broken[whole.len() / 2..].fill(0xff);
        let broken = read(&broken).unwrap_err();
        fs::write(folder.path().join("a.gz"), packed(b"PAR1")).unwrap();
        let inner = open(&folder.path().join("a.gz")).err().unwrap();
        let starts = NO_TEXTS.map(|(start, ..)| read(start).unwrap_err());
        let all = [missing, of_folder, cut, broken, inner]
            .into_iter()
            .chain(starts);
        let told: Vec<String> = all
            .map(|why| format!("{why}: {}", why.hint.unwrap()))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @"
        No such file or directory (os error 2): name a file that is there
        Is a directory (os error 21): name a file in it; `load --dataset-name hf` takes folders
        incomplete deflate stream: it is packed with gzip, and cut off or broken: fetch it or pack it again
        incomplete deflate stream: it is packed with gzip, and cut off or broken: fetch it or pack it again
        it is a file of Parquet: `load --dataset-name hf` reads Parquet
        it is a file of Parquet: `load --dataset-name hf` reads Parquet
        it is a Git LFS pointer: fetch what it points to with `git lfs pull`
        it is a ZIP archive: unpack it
        it is text in UTF-16: save it as UTF-8
        it is text in UTF-16: save it as UTF-8
        it is packed with zstd: unpack it, or pack it with gzip
        it is packed with xz: unpack it, or pack it with gzip
        it is packed with bzip2: unpack it, or pack it with gzip
        it is a file of Arrow: write it as Parquet or JSON lines
        ");
    }
}
