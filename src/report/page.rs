//! Fills a template of `templates/` with the view model.

use std::collections::BTreeMap;
use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use ring::digest::{SHA256, digest};
use serde::Serialize;

use super::ReportError;
use super::language::{Language, filled, said, spoken};

/// What makes a page come alive; the only script that the page's own policy lets run.
const SCRIPT: &str = "_script.js";

/// The templates, by file name; those with an underscore are parts of others.
const TEMPLATES: [(&str, &str); 13] = [
    ("report.html", include_str!("../../templates/report.html")),
    ("report.md", include_str!("../../templates/report.md")),
    ("sql.html", include_str!("../../templates/sql.html")),
    ("refused.html", include_str!("../../templates/refused.html")),
    ("_live.html", include_str!("../../templates/_live.html")),
    ("_head.html", include_str!("../../templates/_head.html")),
    ("_style.css", include_str!("../../templates/_style.css")),
    (SCRIPT, include_str!("../../templates/_script.js")),
    (
        "_run_card.html",
        include_str!("../../templates/_run_card.html"),
    ),
    (
        "_verdict.html",
        include_str!("../../templates/_verdict.html"),
    ),
    ("_grid.html", include_str!("../../templates/_grid.html")),
    ("_figure.html", include_str!("../../templates/_figure.html")),
    (
        "_definitions.html",
        include_str!("../../templates/_definitions.html"),
    ),
];

/// Most steps that a template may take: the built-in page of eight runs takes under a million.
const FUEL: u64 = 50_000_000;

/// Templates of a user's own. One that is called like a built-in one stands in for it; others are
/// there to be included and imported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Templates {
    files: BTreeMap<String, String>,
}

impl Templates {
    /// Takes files by their names, each with its text.
    pub fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            files: files.into_iter().collect(),
        }
    }

    /// Names the built-in templates.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        TEMPLATES.iter().map(|(name, _)| *name)
    }

    /// Tells whether one of the built-in templates is replaced.
    pub fn replaces_any(&self) -> bool {
        Self::built_in().any(|name| self.files.contains_key(name))
    }
}

/// How a page or a Markdown text is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageOptions {
    /// Templates that stand in for built-in ones.
    pub templates: Templates,
    /// Its language.
    pub language: Language,
    /// What a page that is served can be asked anew with; none for a file.
    pub live: Option<Live>,
}

/// A page that is served: the form by which it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Live {
    /// What stands in the form's fields, by their names.
    pub fields: BTreeMap<String, String>,
    /// Why the page that was asked for is not there.
    pub refused: Option<String>,
}

/// Returns an environment with all templates, which escapes for HTML by file name and refuses a
/// name that the view model lacks.
pub(crate) fn environment(options: &PageOptions) -> Result<Environment<'static>, ReportError> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map_err(|source| ReportError::Template {
            template: "report.html".to_owned(),
            source,
        })?;
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.add_function("say", say);
    environment.add_global("language", spoken().tag());
    let live = serde_json::to_value(&options.live).map_err(ReportError::Model)?;
    environment.add_global("live", Value::from(Serde(live)));
    environment.set_auto_escape_callback(|name| {
        if name.ends_with(".html") {
            AutoEscape::Html
        } else {
            AutoEscape::None
        }
    });
    for (template, source) in TEMPLATES {
        environment
            .add_template(template, source)
            .map_err(|source| failed(template, source))?;
    }
    for (template, text) in &options.templates.files {
        environment
            .add_template_owned(template.clone(), text.clone())
            .map_err(|source| failed(template, source))?;
    }
    let script = environment
        .get_template(SCRIPT)
        .and_then(|script| script.render(()))
        .map_err(|source| failed(SCRIPT, source))?;
    let hash = STANDARD.encode(digest(&SHA256, script.as_bytes()));
    environment.add_global("script_hash", Value::from_safe_string(hash));
    environment.add_global("script", Value::from_safe_string(script));
    Ok(environment)
}

/// Renders the page that stands where a live report cannot, with its form and the reason.
///
/// # Errors
///
/// As [`super::html()`].
pub fn refused_page(options: &PageOptions) -> Result<String, ReportError> {
    options.language.speaking(|| {
        let report = BTreeMap::from([("tool_version", env!("CARGO_PKG_VERSION"))]);
        fill(&environment(options)?, "refused.html", &report)
    })
}

/// Renders `template` with `model` under the name `report`.
pub(crate) fn fill(
    environment: &Environment<'_>,
    template: &str,
    model: &impl Serialize,
) -> Result<String, ReportError> {
    let model = serde_json::to_value(model).map_err(ReportError::Model)?;
    let context = BTreeMap::from([("report", Value::from(Serde(model)))]);
    environment
        .get_template(template)
        .and_then(|page| page.render(Value::from(context)))
        .map_err(|source| failed(template, source))
}

/// Says a sentence of a template in the language of the page, with values by their names:
/// `say("{n} warnings", n=3)`.
fn say(sentence: &str, values: Kwargs) -> Result<String, minijinja::Error> {
    let mut named = Vec::new();
    for name in values.args() {
        named.push((name, values.get::<Value>(name)?));
    }
    let named: Vec<(&str, &dyn Display)> = named
        .iter()
        .map(|(name, value)| (*name, value as &dyn Display))
        .collect();
    Ok(filled(&said(sentence), &named))
}

fn failed(template: &str, source: minijinja::Error) -> ReportError {
    // What was included may be at fault, and says so itself.
    ReportError::Template {
        template: source.name().unwrap_or(template).to_owned(),
        source,
    }
}
