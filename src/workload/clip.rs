//! A file of audio that a request sends.

use std::sync::Arc;

use bytes::Bytes;

/// A file of audio that a request sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// Its name, without its folder.
    pub name: Arc<str>,
    /// Its media type.
    pub media_type: &'static str,
    /// All of it.
    pub bytes: Bytes,
}
