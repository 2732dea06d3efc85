//! The reader of pages of metrics: no page makes it panic, and what it reads it reads again.

use tokentape::scrape::samples;

pub(crate) fn check(bytes: &[u8]) {
    let page = String::from_utf8_lossy(bytes);
    let lines = page.lines().count();
    let found: Vec<_> = samples(&page).collect();
    assert!(found.len() <= lines, "more samples than lines");
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    for sample in found.into_iter().flatten() {
        assert!(!sample.name.is_empty(), "a sample without a name");
        // Other names stand in quotes, among the labels.
        if !sample.name.chars().all(is_plain) {
            continue;
        }
        let text = format!("{}{{{}}} {}", sample.name, sample.labels, sample.value);
        let again = samples(&text).next().flatten();
        let again = again.unwrap_or_else(|| panic!("`{text}` is not read again"));
        assert_eq!(again.name, sample.name);
        assert_eq!(again.labels, sample.labels);
        let is_same = again.value.to_bits() == sample.value.to_bits();
        assert!(
            is_same || sample.value.is_nan(),
            "`{text}` has another value"
        );
    }
}
