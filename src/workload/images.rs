//! Images that go with a prompt: read from files, and put into messages as OpenAI's chat has them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::content::Content;

/// Bytes of one image.
const MAX_BYTES: u64 = 64 << 20;

/// Schemes of addresses that are sent as they are written.
const SCHEMES: [&str; 3] = ["http://", "https://", "data:"];

/// The images of a data set, each read once.
pub(super) struct Images {
    /// What paths are relative to.
    folder: PathBuf,
    known: HashMap<String, Arc<str>>,
    /// Bytes of all that is known.
    bytes: u64,
}

impl Images {
    /// Images beside a file.
    pub(super) fn beside(file: &Path) -> Self {
        Self {
            folder: file.parent().unwrap_or(Path::new("")).to_owned(),
            known: HashMap::new(),
            bytes: 0,
        }
    }

    /// Memory that they take, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns what stands in a request for a path or an address.
    ///
    /// # Errors
    ///
    /// Why there is no image at that path.
    pub(super) fn url(&mut self, given: &str) -> Result<Arc<str>, String> {
        if let Some(known) = self.known.get(given) {
            return Ok(Arc::clone(known));
        }
        let is_address = SCHEMES.iter().any(|scheme| {
            let start = given.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        let url: Arc<str> = match is_address {
            true => given.into(),
            false => data_url(&self.folder.join(given))?.into(),
        };
        self.bytes += url.len() as u64;
        self.known.insert(given.to_owned(), Arc::clone(&url));
        Ok(url)
    }
}

/// Reads a file as an address that has it in itself.
fn data_url(path: &Path) -> Result<String, String> {
    let fail = |why: &str| format!("image `{}`: {why}", path.display());
    let unread = |error: std::io::Error| fail(&error.to_string());
    let file = fs::metadata(path).map_err(unread)?;
    if !file.is_file() {
        return Err(fail("it is no file"));
    }
    if file.len() > MAX_BYTES {
        return Err(fail(&format!("it is over {} MiB", MAX_BYTES >> 20)));
    }
    let bytes = fs::read(path).map_err(unread)?;
    match media_type(&bytes) {
        Some(media_type) => Ok(format!(
            "data:{media_type};base64,{}",
            STANDARD.encode(&bytes)
        )),
        None => Err(fail("it is no PNG, JPEG, WebP or GIF")),
    }
}

/// Tells by its first bytes what an image is.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        _ if is_webp => Some("image/webp"),
        _ => None,
    }
}

/// Puts images behind the text of a request, in the last message of a user. Returns its messages as a
/// JSON list.
pub(super) fn with_images(content: &Content, images: &[Arc<str>]) -> String {
    let parts = images
        .iter()
        .map(|url| json!({ "type": "image_url", "image_url": { "url": &**url } }));
    let own = content.messages.as_deref();
    let mut messages: Vec<Value> = match own {
        // It has been checked for being a list of objects.
        Some(messages) => serde_json::from_str(messages).unwrap_or_default(),
        None => vec![json!({ "role": "user", "content": content.text })],
    };
    let of_user = messages.iter_mut().rev().find(|one| is_of_user(one));
    if let Some(message) = of_user {
        let mut all = match message["content"].take() {
            Value::Array(parts) => parts,
            Value::String(text) => vec![json!({ "type": "text", "text": text })],
            _ => Vec::new(),
        };
        all.extend(parts);
        message["content"] = all.into();
    }
    Value::from(messages).to_string()
}

/// Whether a message is one of a user, which may have images.
pub(super) fn is_of_user(message: &Value) -> bool {
    message["role"] == "user"
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

    #[test]
    fn a_file_is_read_once_and_an_address_stays_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("a.png", PNG),
            ("b", b"\xff\xd8\xff\xe0"),
            ("c", b"GIF89a"),
            ("d", b"RIFF\0\0\0\0WEBPVP8 "),
        ] {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let mut images = Images::beside(&folder.path().join("lines.jsonl"));
        let begins = ["a.png", "b", "c", "d"].map(|name| {
            let url = images.url(name).unwrap();
            url.split(',').next().unwrap().to_owned()
        });
        let kinds = ["png", "jpeg", "gif", "webp"];
        assert_eq!(
            begins,
            kinds.map(|kind| format!("data:image/{kind};base64"))
        );
        let first = images.url("a.png").unwrap();
        assert_eq!(&*first, "data:image/png;base64,iVBORw0KGgo=");
        let bytes = images.bytes();
        fs::remove_file(folder.path().join("a.png")).unwrap();
        assert!(Arc::ptr_eq(&first, &images.url("a.png").unwrap()));
        assert_eq!(images.bytes(), bytes);
        for address in [
            "https://h/a.png",
            "HTTP://h/b",
            "data:image/png;base64,AA==",
        ] {
            assert_eq!(&*images.url(address).unwrap(), address);
        }
    }

    #[test]
    fn what_is_no_image_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "RIFF and so on").unwrap();
        fs::write(folder.path().join("empty.png"), "").unwrap();
        let mut images = Images::beside(&folder.path().join("lines.jsonl"));
        for (path, why) in [
            ("none.png", "No such file"),
            ("notes.txt", "no PNG, JPEG, WebP or GIF"),
            ("empty.png", "no PNG, JPEG, WebP or GIF"),
            (".", "no file"),
            ("", "no file"),
        ] {
            let message = images.url(path).unwrap_err();
            assert!(message.contains(why), "{path}: {message}");
            assert!(
                message.contains(folder.path().to_str().unwrap()),
                "{message}"
            );
        }
    }

    #[test]
    fn images_stand_behind_the_text_of_the_last_user() {
        let images: [Arc<str>; 1] = ["data:,x".into()];
        let of = |messages: Option<Value>| -> Value {
            let content = Content {
                text: "What is it?".to_owned(),
                messages: messages.map(|messages| messages.to_string()),
                ..Content::default()
            };
            serde_json::from_str(&with_images(&content, &images)).unwrap()
        };
        let text = json!({ "type": "text", "text": "What is it?" });
        let image = json!({ "type": "image_url", "image_url": { "url": "data:,x" } });
        let asked = json!({ "role": "user", "content": [text, image] });
        assert_eq!(of(None), json!([asked]));
        let said = json!([
            { "role": "user", "content": "Hello" },
            { "role": "assistant", "content": "Hi" },
            { "role": "user", "content": [text] },
        ]);
        let sent = of(Some(said.clone()));
        assert_eq!(sent[2], asked);
        assert_eq!((&sent[0], &sent[1]), (&said[0], &said[1]));
    }
}
