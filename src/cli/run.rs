//! `run`: the plan of a tape, or one in a file, driven once more.

use std::fs;

use serde_json::{Map, Value};
use url::Url;

use super::args::{Global, RunArgs, WireArg};
use super::drive::{Planned, RunOutput, api_key, drive, private_for, trust};
use super::{goals, masks, metrics, plan};
use crate::backend::of_plan;
use crate::capture::Manifest;
use crate::error::Error;
use crate::load::{LoadError, Private};
use crate::plan::RunPlan;
use crate::secrets::MASK;

/// Most that is read of a plan in a file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Most characters of the reason why a plan can't be read.
const MAX_REASON_CHARS: usize = 300;

/// Drives the plan of a tape, or one in a file, once more.
pub(super) fn run(args: &RunArgs, global: &Global) -> Result<u8, Error> {
    if let Some(stray) = args.output.goals.strays().first() {
        return Err(goals::not_a_goal(&stray.display().to_string()));
    }
    let output = RunOutput::of(&args.output, global)?;
    drive(planned(args)?, &output, global)
}

/// Reads the plan that is named, and makes of it what is to be driven now.
fn planned(args: &RunArgs) -> Result<Planned, Error> {
    let mut plan = read(args)?;
    let backend = of_plan(&plan).map_err(LoadError::from)?;
    let private = private(&plan, args)?;
    metrics::name_sources(&mut plan, &private.metric_sources);
    if !args.base_url.is_empty() {
        let is_for_several = args.base_url.len() > 1;
        plan.url_strategy = is_for_several.then(|| plan.url_strategy.unwrap_or_default());
        plan::direct(&mut plan, &private, WireArg::Auto);
    } else {
        plan::name_target(&mut plan, &private);
    }
    plan.command = Some(masks::typed_command());
    if let Some(model) = &args.model {
        plan.model = Some(model.clone());
    }
    if args.output.keep.is_some() {
        plan.keeps_text = Some(true);
    }
    plan.labels.extend(plan::labels(&args.output.label)?);
    let models_url = plan::models_beside(&private.urls[0], backend);
    let notes = vec![what_goes_where(&plan)];
    Ok(Planned {
        plan,
        private,
        models_url,
        pipe: None,
        notes,
    })
}

/// Says what a plan that somebody else may have made sends where.
fn what_goes_where(plan: &RunPlan) -> String {
    let what = match &plan.trace {
        Some(trace) => format!("the requests of `{}`", trace.path.display()),
        None => "its requests".to_owned(),
    };
    let urls = plan.urls().map(|url| format!("`{url}`"));
    let urls = urls.collect::<Vec<_>>().join(", ");
    let has_key = plan.header_names.iter().any(|name| name == "authorization");
    let key = if has_key { ", with the key" } else { "" };
    let pages = plan.server_metrics.iter().map(|page| format!("`{page}`"));
    let pages = pages.collect::<Vec<_>>().join(", ");
    let pages = match pages.is_empty() {
        true => pages,
        false => format!(", and reads metrics from {pages}"),
    };
    format!("note: the plan sends {what} to {urls}{key}{pages}")
}

fn read(args: &RunArgs) -> Result<RunPlan, Error> {
    let path = &args.plan;
    if path.is_dir() {
        return Ok(Manifest::read(path)?.plan);
    }
    let unread = |source| Error::File {
        verb: "read",
        path: path.clone(),
        source,
    };
    let wrong = |why: String| {
        Error::usage(
            format!("`{}` is no plan: {why}", path.display()),
            "name a tape, or a file as `tokentape load --dry-run` or `replay --dry-run` prints it",
        )
    };
    let size = fs::metadata(path).map_err(unread)?.len();
    if size > MAX_BYTES {
        return Err(wrong(format!("it has {size} bytes")));
    }
    let text = fs::read_to_string(path).map_err(unread)?;
    let plan: RunPlan = serde_json::from_str(&text).map_err(|error| {
        // It quotes what it does not take, which may be long.
        wrong(error.to_string().chars().take(MAX_REASON_CHARS).collect())
    })?;
    match plan.other.keys().next() {
        Some(name) => Err(wrong(format!("there is no field `{name}`"))),
        None => Ok(plan),
    }
}

/// Puts in what the plan does not keep, as it is given now.
fn private(plan: &RunPlan, args: &RunArgs) -> Result<Private, Error> {
    let urls = urls(plan, args)?;
    let trust = trust(plan.ca_cert.as_deref(), plan.insecure == Some(true))?;
    let sources = metrics::of_plan(plan, &args.metrics, &trust)?;
    let given = plan::extra_body(args.extra_body.as_deref())?;
    let mut extra_body = plan.extra_body.clone();
    extra_body.extend(given);
    if let Some(name) = masked_field(&extra_body) {
        return Err(Error::usage(
            format!("the plan does not keep the value of `{name}` in the body, which is a secret"),
            format!("give it again: `--extra-body '{{\"{name}\": ...}}'`"),
        ));
    }
    let is_given = |name: &str| {
        let mut names = args
            .header
            .iter()
            .filter_map(|header| header.split([':', '=']).next());
        names.any(|given| given.trim().eq_ignore_ascii_case(name))
    };
    let kept = plan.headers.iter().filter(|(name, _)| !is_given(name));
    let mut headers: Vec<String> = kept
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    headers.extend(args.header.iter().cloned());
    // A key goes only where the plan's requests had one, or where the user says now that they go.
    let takes_key =
        !args.base_url.is_empty() || plan.header_names.iter().any(|name| name == "authorization");
    let key = if takes_key { api_key(&urls) } else { None };
    let private = Private {
        trust,
        ..private_for(urls, (&headers, key), extra_body, sources)?
    };
    let is_there = |name: &String| {
        private
            .headers
            .iter()
            .any(|(known, _)| known == name.as_str())
    };
    match plan.header_names.iter().find(|name| !is_there(name)) {
        None => Ok(private),
        Some(name) if name == "authorization" => Err(Error::usage(
            "the plan's requests carry a key, which no plan keeps",
            "set OPENAI_API_KEY, or give `--header \"Authorization: Bearer KEY\"`",
        )),
        Some(name) => Err(Error::usage(
            format!("the plan does not keep the value of the header `{name}`"),
            format!("give it again: `--header \"{name}: VALUE\"`"),
        )),
    }
}

/// The addresses of the endpoint: the plan's, or the same on other servers.
fn urls(plan: &RunPlan, args: &RunArgs) -> Result<Vec<Url>, Error> {
    let wrong = |why: String| {
        Error::usage(
            format!("the plan has no address to send to: {why}"),
            "give `--base-url`, and `--endpoint` where that holds a secret",
        )
    };
    let planned = plan.urls().map(|url| {
        let parsed: Result<Url, _> = url.parse();
        parsed.map_err(|error| wrong(error.to_string()))
    });
    let planned = planned.collect::<Result<Vec<_>, _>>()?;
    let first = planned
        .first()
        .ok_or_else(|| wrong("there is none".to_owned()))?;
    let endpoint = |planned: &Url| match (&args.endpoint, planned.query()) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, Some(query)) => format!("{}?{query}", planned.path()),
        (None, None) => planned.path().to_owned(),
    };
    let of_plan = |planned: &Url| match &args.endpoint {
        None => Ok(planned.clone()),
        Some(endpoint) => plan::join(&planned[..url::Position::BeforePath], endpoint),
    };
    let urls: Vec<Url> = if args.base_url.is_empty() {
        planned.iter().map(of_plan).collect::<Result<_, _>>()?
    } else {
        let bases = args.base_url.iter();
        bases
            .map(|base| plan::join(base, &endpoint(first)))
            .collect::<Result<_, _>>()?
    };
    match urls.iter().find(|url| url.as_str().contains(MASK)) {
        Some(url) => Err(wrong(format!("a secret is masked in `{url}`"))),
        None => {
            plan::check_urls(&urls)?;
            Ok(urls)
        }
    }
}

/// Finds a field at the top whose value has something masked in it.
fn masked_field(fields: &Map<String, Value>) -> Option<&str> {
    fn is_masked(value: &Value) -> bool {
        match value {
            Value::String(text) => text == MASK,
            Value::Array(items) => items.iter().any(is_masked),
            Value::Object(fields) => fields.values().any(is_masked),
            _ => false,
        }
    }
    let mut masked = fields.iter().filter(|(_, value)| is_masked(value));
    masked.next().map(|(name, _)| name.as_str())
}
