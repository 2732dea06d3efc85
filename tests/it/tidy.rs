//! The shape of the repository: which stage may use which, and that every file says what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::program::root;

/// What each stage may use beside itself. The tree is the pipeline, so the table is short.
const DIRECTIONS: [(&str, &[&str]); 16] = [
    ("analyze", &["capture", "sql"]),
    ("backend", &["capture"]),
    ("capture", &[]),
    (
        "load",
        &[
            "backend", "capture", "schedule", "scrape", "trace", "wire", "workload",
        ],
    ),
    ("plan", &[]),
    ("report", &["analyze", "backend", "capture"]),
    ("schedule", &[]),
    ("scrape", &["capture", "wire"]),
    ("simulate", &["capture"]),
    ("sql", &["capture"]),
    ("time", &[]),
    ("trace", &["sql"]),
    (
        "verify",
        &[
            "analyze", "backend", "capture", "load", "report", "schedule", "wire", "workload",
        ],
    ),
    ("view", &["analyze", "report", "sql"]),
    ("wire", &["capture"]),
    ("workload", &["capture", "trace"]),
];

/// Files at the top of `src/` that hold no stage's work: any stage may use them.
const FOUNDATIONS: [&str; 13] = [
    "draw",
    "flag",
    "http_server",
    "plan",
    "runtime",
    "secrets",
    "server_names",
    "template_value",
    "testing",
    "throttle",
    "time",
    "units",
    "visible",
];

/// Returns all files under a folder of the repository that end so, in order.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, ending, found);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), ending, &mut found);
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns a path as it is written in the repository.
fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// Returns the paths after `crate::` in a source, as far as `stage::module`.
fn uses(source: &str) -> BTreeSet<String> {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let mut found = BTreeSet::new();
    for line in code {
        for path in line.split("crate::").skip(1) {
            let is_part = |c: char| c.is_ascii_lowercase() || c == '_' || c == ':';
            let path = path.split(|c| !is_part(c)).next().unwrap_or_default();
            let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
            found.insert(parts[..parts.len().min(2)].join("::"));
        }
    }
    found
}

#[test]
fn stages_use_only_the_stages_before_them() {
    let mut strays = Vec::new();
    for path in files("src", ".rs") {
        let name = name(&path);
        let stage = name.split('/').nth(1).unwrap();
        if stage.ends_with(".rs") || stage == "cli" {
            // What stands above the stages may use all of them.
            continue;
        }
        let allowed = DIRECTIONS.iter().find(|(of, _)| *of == stage);
        let Some((_, allowed)) = allowed else {
            panic!("`src/{stage}` has no line in the table of directions")
        };
        for used in uses(&read(&path)) {
            let first = used.split("::").next().unwrap_or_default();
            let is_allowed =
                first == stage || FOUNDATIONS.contains(&first) || allowed.contains(&first);
            if !is_allowed {
                strays.push(format!("{name} uses crate::{used}"));
            }
        }
    }
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}

#[test]
fn the_engine_the_client_the_charts_and_the_clock_are_each_in_one_place() {
    let places = [
        ("SessionStateBuilder::", &["src/sql/session.rs"][..]),
        ("SessionContext::new", &["src/sql/session.rs"]),
        ("SessionConfig::", &["src/sql/session.rs"]),
        ("reqwest::", &["src/wire/"]),
        ("plotters::", &["src/report/"]),
        (
            "minijinja::",
            &["src/report/", "src/backend/template.rs", "src/workload/"],
        ),
        ("Instant::now(", &["src/time/clock.rs"]),
        ("SystemTime::now(", &["src/time/clock.rs"]),
    ];
    let mut strays = Vec::new();
    for path in files("src", ".rs") {
        let name = name(&path);
        let source = read(&path);
        for (library, homes) in places {
            let is_used = source.lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//") && line.contains(library)
            });
            // Tests may look from outside at what they test.
            let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
            let is_home = homes.iter().any(|home| name.starts_with(home));
            if is_used && !is_home && !is_test {
                strays.push(format!("{name} uses {library}"));
            }
        }
    }
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}

/// Places outside `src/backend/` that name a protocol, and in how many lines. The list may only shrink.
const NAMED_PROTOCOLS: [(&str, usize); 2] = [
    // A plan that tests of several stages begin with.
    ("src/plan.rs", 1),
    ("src/report/counting.rs", 3),
];

#[test]
fn a_protocol_is_named_in_its_own_place_alone() {
    let names: Vec<&str> = tokentape::backend::protocols()
        .map(|protocol| protocol.name())
        .collect();
    let is_of_word = |letter: char| letter.is_alphanumeric() || "-_".contains(letter);
    let mut found = BTreeMap::new();
    for path in files("src", ".rs") {
        let name = name(&path);
        let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
        // The simulated server speaks one of them; definitions have the names of other tools, and what
        // is said of pages of metrics those of engines.
        let is_its_place = [
            "src/backend/",
            "src/simulate/",
            "src/analyze/definitions.rs",
            "src/scrape/error.rs",
            "src/report/fixture_server.rs",
        ]
        .iter()
        .any(|place| name.starts_with(place));
        if is_test || is_its_place {
            continue;
        }
        let source = read(&path);
        let code = source.split("#[cfg(test)]\nmod tests {").next();
        let lines = code.unwrap_or_default().lines();
        let named = lines.filter(|line| {
            let line = line.trim_start().to_lowercase();
            !line.starts_with("//")
                && line
                    .split(|letter| !is_of_word(letter))
                    .any(|word| names.contains(&word))
        });
        let count = named.count();
        if count > 0 {
            found.insert(name, count);
        }
    }
    let known = NAMED_PROTOCOLS.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(found, BTreeMap::from(known));
}

#[test]
fn every_source_begins_with_its_purpose() {
    for folder in ["src", "tests", "benches"] {
        for path in files(folder, ".rs") {
            let source = read(&path);
            let first = source.lines().next().unwrap_or_default();
            let purpose = first.strip_prefix("//! ").unwrap_or_default();
            assert!(purpose.len() > 10, "{} begins with `{first}`", name(&path));
        }
    }
}

/// The first sentence of a source's documentation.
fn job(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//! "));
    let text = lines.collect::<Vec<_>>().join(" ");
    let end = text.find(". ").unwrap_or(text.len());
    let sentence = text.get(..end).unwrap_or_default();
    sentence.trim_end_matches('.').replace('|', "\\|")
}

/// `docs/code-map.md` is written from the sources: `TOKENTAPE_UPDATE=1 cargo test --test it`.
#[test]
fn the_code_map_is_that_of_the_sources() {
    let mut stages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in files("src", ".rs") {
        let name = name(&path);
        let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
        if is_test {
            continue;
        }
        let parts: Vec<&str> = name.split('/').collect();
        let stage = if parts.len() > 2 { parts[1] } else { "" };
        let file = parts[1 + usize::from(parts.len() > 2)..].join("/");
        let row = format!("| `{file}` | {} |\n", job(&read(&path)));
        stages.entry(stage.to_owned()).or_default().push(row);
    }
    let mut map = String::from(
        "# Code map\n\nEach source file and its job, from the file's first sentence.\n\
         It is written by a test; see [ARCHITECTURE.md](../ARCHITECTURE.md) for how the parts work together.\n",
    );
    for (stage, rows) in &stages {
        let direction = DIRECTIONS.iter().find(|(of, _)| of == stage);
        let may_use = match (stage.as_str(), direction) {
            ("", _) => {
                "The ground floor, which every stage may use, and the two ends of the program."
                    .to_owned()
            }
            (_, Some((_, []))) => "Uses no other stage.".to_owned(),
            (_, Some((_, used))) => format!("May use `{}`.", used.join("`, `")),
            (_, None) => "May use every stage.".to_owned(),
        };
        let title = if stage.is_empty() {
            "src/".to_owned()
        } else {
            format!("src/{stage}/")
        };
        map += &format!(
            "\n## `{title}`\n\n{may_use}\n\n| file | job |\n|---|---|\n{}",
            rows.concat()
        );
    }
    let path = root().join("docs/code-map.md");
    if std::env::var_os("TOKENTAPE_UPDATE").is_some() {
        fs::write(&path, &map).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == map,
        "docs/code-map.md is not that of the sources: run with TOKENTAPE_UPDATE=1"
    );
}

#[test]
fn no_source_is_two_things() {
    for path in files("src", ".rs") {
        let lines = read(&path).lines().count();
        assert!(lines <= 800, "{} has {lines} lines", name(&path));
    }
}

#[test]
fn every_query_has_its_header() {
    for path in files("queries", ".sql") {
        let sql = read(&path);
        let keys: &[&str] = if name(&path).starts_with("queries/traces/") {
            &[
                "name", "purpose", "requires", "rejects", "quantum", "ordered", "block",
            ]
        } else {
            &["name", "purpose", "input", "columns (unit)"]
        };
        for key in keys {
            let key = format!("-- {key}:");
            let has_key = sql.lines().any(|line| line.starts_with(&key));
            assert!(has_key, "{} has no `{key}`", name(&path));
        }
        let stem = path.file_stem().unwrap().to_string_lossy();
        assert!(
            sql.contains(&format!("-- name: {stem}\n")),
            "{}",
            name(&path)
        );
    }
}

#[test]
fn every_query_and_template_is_used() {
    let sources: String = files("src", ".rs").iter().map(|path| read(path)).collect();
    for path in files("queries", ".sql")
        .into_iter()
        .chain(files("templates", ""))
    {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let stem = file.trim_end_matches(".sql");
        let is_named =
            sources.contains(&format!("/{file}\"")) || sources.contains(&format!("(\"{stem}\")"));
        assert!(is_named, "{} is used by nothing", name(&path));
    }
}

#[test]
fn templates_fetch_nothing() {
    for path in files("templates", "") {
        let text = read(&path).replace("http://www.w3.org/2000/svg", "");
        for address in ["http://", "https://", "src=\"//", "href=\"//", "@import"] {
            assert!(!text.contains(address), "{} has `{address}`", name(&path));
        }
    }
}

#[test]
fn the_layout_table_of_the_readme_names_what_is_there() {
    let Ok(readme) = fs::read_to_string(root().join("README.md")) else {
        return crate::program::skipped("needs README.md");
    };
    let layout = readme.split("\n## ").find(|section| {
        let title = section.lines().next().unwrap_or_default();
        title.to_lowercase().contains("layout") || title.to_lowercase().contains("where things are")
    });
    let Some(layout) = layout else {
        return crate::program::skipped("needs a layout table in README.md");
    };
    let mut named = BTreeSet::new();
    for row in layout.lines().filter(|line| line.starts_with('|')) {
        let cell = row.trim_matches('|').split('|').next().unwrap_or_default();
        for word in cell.split('`').skip(1).step_by(2) {
            assert!(
                root().join(word).exists(),
                "README.md names `{word}`, which is not there"
            );
            named.insert(word.trim_end_matches('/').to_owned());
        }
    }
    if named.is_empty() {
        return;
    }
    for path in fs::read_dir(root().join("src")).unwrap() {
        let path = path.unwrap().path();
        let folder = name(&path);
        let is_named = named.iter().any(|word| folder == *word || word == "src");
        assert!(
            !path.is_dir() || is_named,
            "README.md's layout has no `{folder}`"
        );
    }
}
