//! `docs/metrics.md`: every metric, view and query, written from the headers of their files.
//!
//! `TOKENTAPE_UPDATE=1 cargo test` writes the page anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::analyze::{CATALOG, views};
use crate::sql::Definition;

const HEAD: &str = "\
# Metrics

Every number is made by a SQL file, and this page is written from the headers of those files; a test compares.
`tokentape sql --list` lists them, `tokentape sql --show NAME` shows one with its SQL, and `tokentape sql TAPE --query NAME` runs one.
In `sql` a query's result is also there by its name, like a view: `SELECT * FROM goodput`.

Latencies, speeds and smoothness cover the measured requests that were ok; with `analyze --from` and `--to` only those that were due in that window.
Shares are of 1, times in nanoseconds, and null means unknown or not applicable.

## Index

| metric | unit | is | file |
|---|---|---|---|
";

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn rows(page: &mut String, defines: &[Definition], file: &str) {
    for one in defines {
        let link = format!("[`{file}`](../queries/{file})");
        writeln!(
            page,
            "| `{}` | {} | {} | {link} |",
            one.name,
            cell(&one.unit),
            cell(&one.meaning)
        )
        .unwrap();
    }
}

fn notes(page: &mut String, notes: &[String]) {
    if !notes.is_empty() {
        page.push('\n');
    }
    for note in notes {
        writeln!(page, "- {note}").unwrap();
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let views = views();
    for view in &views {
        rows(
            &mut page,
            &view.defines,
            &format!("views/{}.sql", view.name),
        );
    }
    for query in CATALOG.iter() {
        rows(&mut page, &query.defines, &format!("{}.sql", query.name));
    }
    let mut group = "";
    for query in CATALOG.iter() {
        if query.group != group {
            group = query.group;
            write!(page, "\n## {group}\n").unwrap();
        }
        let name = query.name;
        write!(page, "\n### {name}\n\n").unwrap();
        let only = if query.is_on_request {
            " (on request)"
        } else {
            ""
        };
        writeln!(page, "[{}](../queries/{name}.sql){only}", query.purpose).unwrap();
        let columns: Vec<String> = query
            .columns
            .iter()
            .map(|(column, unit)| match unit {
                Some(unit) => format!("`{column}` ({unit})"),
                None => format!("`{column}`"),
            })
            .collect();
        write!(page, "\nColumns: {}.\n", columns.join(", ")).unwrap();
        notes(&mut page, &query.notes);
    }
    for (heading, is_public) in [("Views", true), ("Views that queries stand on", false)] {
        write!(page, "\n## {heading}\n").unwrap();
        for view in views.iter().filter(|view| view.is_public == is_public) {
            let name = view.name;
            write!(page, "\n### {name}\n\n").unwrap();
            writeln!(page, "[{}](../queries/views/{name}.sql)", view.purpose).unwrap();
            notes(&mut page, &view.notes);
        }
    }
    page
}

#[test]
fn the_page_of_metrics_says_what_the_files_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = page();
    if std::env::var_os("TOKENTAPE_UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let mut lines = kept.lines().zip(page.lines()).enumerate();
    if let Some((number, (kept, now))) = lines.find(|(_, (kept, now))| kept != now) {
        panic!(
            "docs/metrics.md line {}: has `{kept}`, and the files say `{now}`; \
             TOKENTAPE_UPDATE=1 writes it anew",
            number + 1
        );
    }
    assert_eq!(kept.len(), page.len(), "TOKENTAPE_UPDATE=1 writes it anew");
}
