//! The rules that every page keeps, whatever was measured.

use std::collections::BTreeSet;

use super::*;
use crate::analyze::{Analysis, CATALOG, Cell, Thresholds};

/// Options with templates of a user's own.
fn with(files: impl IntoIterator<Item = (String, String)>) -> PageOptions {
    PageOptions {
        templates: Templates::new(files),
        ..PageOptions::default()
    }
}

/// Every analysis that a page has to stand.
pub(super) fn all() -> Vec<(&'static str, Analysis)> {
    vec![
        (
            "nothing",
            Analysis {
                runs: vec![],
                tables: vec![],
                slos: vec![],
                thresholds: Thresholds::default(),
                command: String::new(),
            },
        ),
        ("no request", fixture::of_size(0)),
        ("one request", fixture::of_size(1)),
        ("two requests", fixture::of_size(2)),
        ("one run", fixture::single()),
        ("a closed loop", fixture::closed()),
        ("a limited client", fixture::limited()),
        ("a scraped server", fixture_server::scraped()),
        ("two runs", fixture::several(2)),
        ("eight runs", fixture::several(8)),
        ("hostile text", fixture::hostile()),
        (
            "no tables",
            Analysis {
                tables: vec![],
                ..fixture::single()
            },
        ),
        ("much", much()),
    ]
}

#[test]
fn the_tables_of_the_fixture_have_columns_that_their_queries_return() {
    for (what, analysis) in all() {
        for table in &analysis.tables {
            let query = CATALOG.iter().find(|query| query.name == table.name);
            let query = query.unwrap_or_else(|| panic!("{what}: no query {}", table.name));
            for column in &table.columns {
                let mut known = query.columns.iter().map(|(name, _)| name);
                assert!(
                    known.any(|name| *name == column.name),
                    "{what}: {} returns no {}",
                    table.name,
                    column.name
                );
            }
        }
    }
}

/// Several runs with far more windows, cells and errors than a query should return.
fn much() -> Analysis {
    let mut analysis = fixture::several(6);
    for table in &mut analysis.tables {
        table.sql = table.sql.repeat(400);
        let is_long = ["over_time", "heatmap", "health", "outcome"];
        if !is_long.iter().any(|part| table.name.contains(part)) {
            continue;
        }
        let rows = table.rows.clone();
        let at = table
            .columns
            .iter()
            .position(|column| column.name == "at_ns");
        for copy in 1..12 {
            table.rows.extend(rows.iter().map(|row| {
                let mut row = row.clone();
                if let Some(Cell::Int(ns)) = at.map(|at| &mut row[at]) {
                    *ns += copy * 40_000_000_000;
                }
                row
            }));
        }
    }
    analysis
}

/// A page without its script, which is one and ours.
fn without_script(page: &str) -> String {
    let (before, rest) = page.split_once("<script>").unwrap();
    let (script, after) = rest.split_once("</script>").unwrap();
    assert_eq!(
        script,
        include_str!("../../templates/_script.js").trim_end()
    );
    format!("{before}{after}")
}

// `openssl dgst -sha256 -binary | base64` of the script says the same.
#[test]
fn the_policy_of_a_page_lets_its_own_script_run_and_no_other() {
    let page = html(&fixture::single(), &PageOptions::default()).unwrap();
    let (_, rest) = page.split_once("<script>").unwrap();
    let (script, _) = rest.split_once("</script>").unwrap();
    let hash = ring::digest::digest(&ring::digest::SHA256, script.as_bytes());
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
    let policy = format!(
        "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'\">"
    );
    assert!(page.contains(&policy), "{policy}");
}

#[test]
fn a_page_has_no_address_no_script_but_its_own_and_loads_nothing() {
    for (name, analysis) in all() {
        let page = without_script(&html(&analysis, &PageOptions::default()).unwrap());
        for banned in [
            "http://", "https://", "<script", "<link", "<img", "<iframe", "@import", "url(",
        ] {
            assert!(!page.contains(banned), "{name}: {banned}");
        }
        for part in page.split("href=\"").skip(1) {
            assert!(part.starts_with('#'), "{name}: {}", &part[..20]);
        }
        // Text has no `<` of its own, so what follows one is a tag of ours.
        for tag in page
            .split('<')
            .skip(1)
            .filter_map(|part| part.split('>').next())
        {
            assert!(
                !tag.contains(" src=") && !tag.contains(" on"),
                "{name}: {tag}"
            );
        }
    }
}

#[test]
fn a_page_is_light_whatever_it_shows() {
    for (name, analysis) in all() {
        let page = html(&analysis, &PageOptions::default()).unwrap();
        let size = page.len();
        assert!(size < 500_000, "{name}: {size} bytes");
    }
}

#[test]
fn every_figure_has_a_caption_with_n_and_a_table() {
    for (name, analysis) in all() {
        let page = html(&analysis, &PageOptions::default()).unwrap();
        for figure in page.split("<figure").skip(1) {
            let figure = figure.split("</figure>").next().unwrap();
            let title = figure.split("<h3>").nth(1).unwrap_or_default();
            let caption = figure.split("<figcaption>").nth(1).unwrap_or_default();
            let caption = caption.split("</figcaption>").next().unwrap_or_default();
            assert!(
                caption.contains("<h3>") && caption.contains("n = "),
                "{name}: {title}"
            );
            assert!(
                figure.contains("<svg ") && figure.contains("aria-label="),
                "{name}: {title}"
            );
            assert!(
                figure.contains("<details>") && figure.contains("<tbody>"),
                "{name}: {title}"
            );
        }
    }
}

#[test]
fn tags_are_balanced_and_anchors_lead_somewhere() {
    for (name, analysis) in all() {
        let page = html(&analysis, &PageOptions::default()).unwrap();
        for tag in [
            "section", "figure", "table", "tr", "details", "svg", "div", "ul", "dl", "bdi", "p",
        ] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(
                opened,
                page.matches(&format!("</{tag}>")).count(),
                "{name}: <{tag}>"
            );
        }
        let ids: Vec<&str> = page
            .split(" id=\"")
            .skip(1)
            .filter_map(|part| part.split('"').next())
            .collect();
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), unique.len(), "{name}: an id stands twice");
        for part in page.split("href=\"#").skip(1) {
            let target = part.split('"').next().unwrap();
            assert!(unique.contains(target), "{name}: #{target}");
        }
    }
}

#[test]
fn no_format_ever_says_nan_or_inf() {
    for (name, mut analysis) in all() {
        for cell in analysis
            .tables
            .iter_mut()
            .flat_map(|table| table.rows.iter_mut().flatten())
        {
            if let Cell::Float(value) = cell
                && value.fract().abs() < 0.3
            {
                *value = if *value > 1e6 {
                    f64::INFINITY
                } else {
                    f64::NAN
                };
            }
        }
        let mut texts = vec![terminal(&analysis, &TerminalOptions::default())];
        let exported = Exported {
            analysis: &analysis,
            page: &PageOptions::default(),
            conditions: &[],
        };
        for exporter in EXPORTERS {
            match exporter.render {
                Render::File(text) => texts.push(text(&exported).unwrap()),
                Render::Folder { files, .. } => {
                    texts.extend(files(&exported).unwrap().into_iter().map(|file| file.1));
                }
            }
        }
        for text in texts {
            let words = text.split(|letter: char| !letter.is_alphanumeric());
            for word in words {
                assert!(
                    !["nan", "NaN", "inf", "Infinity", "infinity"].contains(&word),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn hostile_text_stays_text() {
    let page = html(&fixture::hostile(), &PageOptions::default()).unwrap();
    assert!(!page.contains("alert(1)</script>") && !page.contains("<img"));
    assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}') && !page.contains('\u{0}'));
    assert!(
        !page.contains("987656"),
        "a template inside the text was run"
    );
    assert!(page.contains("שלום") && page.contains("<bdi>"));
    let text = markdown(&fixture::hostile(), &PageOptions::default()).unwrap();
    let outside = outside_code(&text);
    assert!(
        !outside.contains("<img") && !outside.contains("<script"),
        "{outside}"
    );
}

/// Returns Markdown without its code spans.
fn outside_code(text: &str) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        let mut rest = line;
        while let Some(start) = rest.find('`') {
            let opened = &rest[start..];
            let fence: String = opened.chars().take_while(|letter| *letter == '`').collect();
            if rest[..start].ends_with('\\') {
                kept.push_str(&rest[..=start]);
                rest = &rest[start + 1..];
                continue;
            }
            let inner = &opened[fence.len()..];
            let mut at = 0;
            // A span ends at a run of as many backticks as it began with.
            let end = loop {
                let Some(found) = inner[at..].find('`') else {
                    break None;
                };
                let length = inner[at + found..]
                    .chars()
                    .take_while(|l| *l == '`')
                    .count();
                if length == fence.len() {
                    break Some(at + found + length);
                }
                at += found + length;
            };
            let Some(end) = end else { break };
            kept.push_str(&rest[..start]);
            rest = &inner[end..];
        }
        kept.push_str(rest);
        kept.push('\n');
    }
    kept
}

#[test]
fn every_colour_that_is_drawn_follows_the_page() {
    let style = include_str!("../../templates/_style.css");
    for analysis in [fixture::several(8), fixture::single()] {
        let page = html(&analysis, &PageOptions::default()).unwrap();
        for part in page.split("<svg ").skip(1) {
            let svg = part.split("</svg>").next().unwrap();
            for attribute in ["fill", "stroke"] {
                for use_of in svg.split(&format!(" {attribute}=\"#")).skip(1) {
                    let rule = format!("svg [{attribute}=\"#{}\"]", &use_of[..6]);
                    assert!(style.contains(&rule), "{rule}");
                }
            }
        }
    }
}

#[test]
fn an_open_loop_shows_both_forms_and_a_closed_one_only_the_actual() {
    let open = markdown(&fixture::single(), &PageOptions::default()).unwrap();
    assert!(open.contains("| TTFT | intended |"));
    let closed = markdown(&fixture::closed(), &PageOptions::default()).unwrap();
    assert!(!closed.contains("| intended |") && !closed.contains("From intended"));
}

#[test]
fn weak_percentiles_are_marked() {
    let page = html(&fixture::of_size(50), &PageOptions::default()).unwrap();
    assert!(page.contains("class=\"n faint\">†"));
    assert!(
        !html(&fixture::several(2), &PageOptions::default())
            .unwrap()
            .contains("few values in this")
    );
}

#[test]
fn page_opens_with_verdict() {
    let page = html(&fixture::limited(), &PageOptions::default()).unwrap();
    let body = page.split("<main>").nth(1).unwrap();
    let first = body.split("</p>").next().unwrap();
    assert!(
        first.contains("CLIENT-LIMITED")
            && first.contains("too busy to measure")
            && first.contains("p99 send slip"),
        "{first}"
    );
}

/// The places of a view model, such as `runs[].verdict.word`.
fn places(value: &serde_json::Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                let below = if at.is_empty() {
                    name.clone()
                } else {
                    format!("{at}.{name}")
                };
                places(field, &below, found);
            }
        }
        serde_json::Value::Array(items) => {
            let below = format!("{at}[]");
            if items.is_empty() {
                found.insert(below.clone());
            }
            for item in items {
                places(item, &below, found);
            }
        }
        _ => {
            found.insert(at.to_owned());
        }
    }
}

#[test]
fn the_page_on_templates_has_every_place_of_the_view_model_and_no_other() {
    let mut found = BTreeSet::new();
    for (_, analysis) in all() {
        let model = serde_json::to_value(model::report(&analysis).unwrap()).unwrap();
        places(&model, "", &mut found);
    }
    // An empty list is one of what others have in it.
    let lists: Vec<String> = found
        .iter()
        .filter(|place| place.ends_with("[]"))
        .cloned()
        .collect();
    for list in lists {
        let has_more = found
            .iter()
            .any(|place| place.len() > list.len() && place.starts_with(&list));
        if has_more {
            found.remove(&list);
        }
    }
    let text = include_str!("../../docs/templates.md");
    let told: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(place, _)| place.trim_start_matches("report.").to_owned())
        .collect();
    let missing: Vec<_> = found.difference(&told).collect();
    let stale: Vec<_> = told.difference(&found).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "missing {missing:#?}, stale {stale:#?}"
    );
}

#[test]
fn a_template_of_ones_own_stands_in_for_the_built_in_one() {
    let own = |name: &str, text: &str| with([(name.to_owned(), text.to_owned())]);
    let page = html(
        &fixture::hostile(),
        &own("report.html", "<p>{{ report.title }}</p>"),
    )
    .unwrap();
    assert!(page.starts_with("<p>&lt;&#x2f;script&gt;"), "{page}");
    // A part alone, inside what is built in; the policy follows the script.
    let page = html(&fixture::single(), &own("_script.js", "let own = 1;")).unwrap();
    assert!(page.contains("<script>let own = 1;</script>"));
    let hash = ring::digest::digest(&ring::digest::SHA256, b"let own = 1;");
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
    assert!(page.contains(&format!("script-src 'sha256-{hash}'")));
    let text = markdown(
        &fixture::single(),
        &own("report.md", "{{ report.runs[0].tiles[0].value }}"),
    );
    assert_eq!(text.unwrap(), "5,683\n");
}

#[test]
fn a_template_that_is_wrong_is_named_with_its_line() {
    for (text, said) in [
        ("\n\n{{ report.nothing }}", "undefined"),
        ("\n\n{% for %}", "report.html:3"),
        ("{% include \"../../etc/passwd\" %}", "non-existing"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "fuel",
        ),
    ] {
        let own = with([("report.html".to_owned(), text.to_owned())]);
        let refused = html(&fixture::single(), &own).unwrap_err();
        assert_eq!(refused.to_string(), "fill in the template `report.html`");
        let source = std::error::Error::source(&refused).unwrap().to_string();
        assert!(source.contains(said), "{source}");
    }
}

#[test]
fn the_built_in_page_is_far_from_being_given_up() {
    let mut environment = page::environment(&PageOptions::default()).unwrap();
    environment.set_fuel(Some(1_000_000));
    let report = model::report(&fixture::several(8)).unwrap();
    page::fill(&environment, "report.html", &report).unwrap();
}

#[test]
fn the_example_of_a_summary_is_one_short_page() {
    let text = include_str!("../../examples/executive/report.html").to_owned();
    let own = with([("report.html".to_owned(), text)]);
    for (name, analysis) in all() {
        let page = html(&analysis, &own).unwrap();
        assert!(page.len() < 60_000, "{name}: {} bytes", page.len());
        for banned in ["http://", "https://", "<script", "NaN"] {
            assert!(!page.contains(banned), "{name}: {banned}");
        }
    }
}
