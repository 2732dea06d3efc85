//! Reports over hostile text: names, addresses, messages and labels of any content stay text in
//! every format.
//!
//! Input: texts, parted by the byte 0xFF, which take the places of what comes from outside.

use std::collections::BTreeMap;

use tokentape::analyze::{Analysis, Cell};
use tokentape::report::{
    EXPORTERS, Exported, PageOptions, Render, TerminalOptions, html, json, markdown, terminal,
};

/// Stands before every text; a page that has any of it as it is has not escaped it.
const MARK: &str = "'\"<zqx>&";

/// Columns whose text comes from a server, a file or a user.
const FOREIGN: [&str; 6] = [
    "run",
    "error_kind",
    "example_message",
    "check_name",
    "output_tokens_source",
    "finish_reason",
];

pub(crate) fn check(bytes: &[u8], mut analysis: Analysis) {
    let texts: Vec<String> = bytes
        .split(|byte| *byte == 0xff)
        .map(|text| format!("{MARK}{}", String::from_utf8_lossy(text)))
        .collect();
    let mut next = texts.iter().cycle();
    put(&mut analysis, || next.next().cloned().unwrap_or_default());
    check_page(&html(&analysis, &PageOptions::default()).unwrap());
    check_markdown(&markdown(&analysis, &PageOptions::default()).unwrap());
    let shown = terminal(&analysis, &TerminalOptions::default());
    let is_harmless = |letter: char| !letter.is_control() || letter == '\n';
    assert!(shown.chars().all(is_harmless), "{shown:?}");
    let object = json(&analysis).to_string();
    serde_json::from_str::<serde_json::Value>(&object).unwrap();
    let exported = Exported {
        analysis: &analysis,
        page: &PageOptions::default(),
        conditions: &[],
    };
    for exporter in EXPORTERS {
        match exporter.render {
            Render::File(text) => {
                let text = text(&exported).unwrap();
                if exporter.flag == "junit" {
                    assert!(!text.contains("<zqx"), "{text}");
                    assert!(text.chars().all(is_harmless), "{text:?}");
                }
            }
            Render::Folder { files, is_own } => {
                let files = files(&exported).unwrap();
                assert!(files.iter().all(|(name, _)| is_own(name)), "{exporter:?}");
            }
        }
    }
}

/// Puts a text into every place that is filled from outside.
fn put(analysis: &mut Analysis, mut text: impl FnMut() -> String) {
    let name = text();
    for run in &mut analysis.runs {
        run.run.clone_from(&name);
        run.notes = vec![text()];
        let manifest = &mut run.manifest;
        manifest.target = text();
        manifest.run_id = text();
        manifest.host.name = text();
        manifest.host.system = text();
        manifest.tool_version = text();
        manifest.labels = BTreeMap::from([(text(), text())]);
        manifest.bounds_hit = BTreeMap::from([(text(), 3)]);
        manifest.plan =
            serde_json::from_value(serde_json::json!({ "model": text(), text(): [text()] }))
                .unwrap_or_default();
    }
    analysis.command = text();
    for table in &mut analysis.tables {
        table.sql = text();
        table.purpose = text();
        for row in &mut table.rows {
            for (column, cell) in table.columns.iter().zip(row) {
                let is_foreign = FOREIGN.contains(&column.name.as_str());
                if column.name == "run" {
                    *cell = Cell::Text(name.clone());
                } else if is_foreign && *cell != Cell::Null {
                    *cell = Cell::Text(text());
                }
            }
        }
    }
}

/// The one script of a page.
const SCRIPT: &str = include_str!("../../templates/_script.js");

/// A page asks for nothing, runs nothing but its own script, and has no text of ours left as it
/// came.
fn check_page(page: &str) {
    let (before, rest) = page.split_once("<script>").expect("a script");
    let (script, after) = rest.split_once("</script>").expect("an end");
    assert_eq!(script, SCRIPT.trim_end(), "another script");
    let page = format!("{before}{after}");
    for banned in [
        "<zqx",
        "zqx>",
        "\"&lt;zqx",
        "'&quot;",
        "http://",
        "https://",
        "<script",
        "<link",
        "<img",
        "<iframe",
        "@import",
        "url(",
    ] {
        assert!(!page.contains(banned), "`{banned}` in the page");
    }
    for part in page.split("href=\"").skip(1) {
        assert!(part.starts_with('#'), "a link that leads away");
    }
    for part in page.split('<').skip(1) {
        let tag = part.split('>').next().unwrap_or_default();
        let first = tag.chars().next().unwrap_or(' ');
        assert!(
            first.is_ascii_alphabetic() || "/!".contains(first),
            "<{tag}"
        );
        assert!(!tag.contains(" src=") && !tag.contains(" on"), "<{tag}");
    }
    let is_harmless = |letter: char| !letter.is_control() || letter == '\n';
    assert!(page.chars().all(is_harmless), "a control character");
}

/// Every row of a table has as many cells as its head, whatever stands in them.
fn check_markdown(text: &str) {
    let mut width = None;
    for line in text.lines() {
        if !line.starts_with('|') {
            width = None;
            continue;
        }
        let cells = line.replace("\\|", "").matches('|').count();
        assert_eq!(*width.get_or_insert(cells), cells, "{line}");
    }
}
