//! What several modules' unit tests share.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Returns a file of `../shared`, or none after saying that the running test is skipped.
///
/// The message goes past the test harness, which hides what passing tests print.
pub(crate) fn shared_file(path: &str) -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(path);
    if file.exists() {
        return Some(file);
    }
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "skipped: {test} needs ../shared/{path}").ok();
    None
}
