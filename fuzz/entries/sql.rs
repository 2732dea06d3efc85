//! The door of statements: any text is understood, or refused with a short message.
//!
//! Input: statements as they are typed.

use tokentape::runtime::block_on;
use tokentape::sql::understood;

/// Longest message, in bytes.
const MESSAGE_BYTES: usize = 8 << 10;

pub(crate) fn check(bytes: &[u8]) {
    let Ok(sql) = str::from_utf8(bytes) else {
        return;
    };
    if let Err(error) = block_on(async { understood(sql) }).unwrap() {
        let message = error.to_string();
        assert!(!message.trim().is_empty());
        assert!(
            message.len() < MESSAGE_BYTES,
            "a message of {} bytes",
            message.len()
        );
    }
}
