//! The sources of metrics of a run: from what was typed, or what a plan keeps, to what is scraped.

use futures::future::try_join_all;
use url::Url;

use super::args::MetricsArgs;
use super::masks;
use crate::error::Error;
use crate::load::Private;
use crate::plan::RunPlan;
use crate::runtime::block_on;
use crate::scrape::Source;
use crate::secrets::MASK;
use crate::wire::Trust;

/// Sources at most.
const MOST_SOURCES: usize = 64;

/// The sources that were typed.
pub(super) fn typed(args: &MetricsArgs, trust: &Trust) -> Result<Vec<Source>, Error> {
    sources(&args.server_metrics, args.host_metrics, trust)
}

/// The sources of a plan that is driven once more: those that are given now stand in place of its own.
pub(super) fn of_plan(
    plan: &RunPlan,
    args: &MetricsArgs,
    trust: &Trust,
) -> Result<Vec<Source>, Error> {
    let pages = match args.server_metrics.is_empty() {
        true => &plan.server_metrics,
        false => &args.server_metrics,
    };
    if let Some(page) = pages.iter().find(|page| page.contains(MASK)) {
        return Err(Error::usage(
            format!("a secret is masked in `{page}`, whose metrics the plan has scraped"),
            "give all pages again: `--server-metrics URL`",
        ));
    }
    let has_host = args.host_metrics || plan.host_metrics == Some(true);
    sources(pages, has_host, trust)
}

/// Notes in a plan what is scraped, without what is secret of it.
pub(super) fn name_sources(plan: &mut RunPlan, sources: &[Source]) {
    let shown = sources.iter().filter_map(|source| match source {
        Source::Page { shown, .. } => Some(shown.clone()),
        Source::Host => None,
    });
    plan.server_metrics = shown.collect();
    let has_host = sources.iter().any(|source| matches!(source, Source::Host));
    plan.host_metrics = has_host.then_some(true);
}

/// Reads each source once, so that one that has no metrics is known before anything is sent.
pub(super) fn check(private: &Private) -> Result<(), Error> {
    let checks = private.metric_sources.iter();
    let checks = checks.map(|source| source.check(&private.secrets));
    block_on(try_join_all(checks))
        .map_err(|error| Error::System("start the client".into(), error))?
        .map(|_| ())
        .map_err(|error| Error::Target {
            message: error.to_string(),
            hint: Some(error.hint().into()),
        })
}

fn sources(pages: &[String], has_host: bool, trust: &Trust) -> Result<Vec<Source>, Error> {
    let mut urls: Vec<Url> = Vec::new();
    for page in pages {
        let url = address(page)?;
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    if urls.len() > MOST_SOURCES {
        return Err(Error::usage(
            format!(
                "`--server-metrics` names {} pages, and at most {MOST_SOURCES} are scraped",
                urls.len()
            ),
            "leave some of them out",
        ));
    }
    let pages = urls.into_iter().map(|url| Source::Page {
        shown: masks::masked(&url),
        url,
        trust: trust.clone(),
    });
    Ok(pages.chain(has_host.then_some(Source::Host)).collect())
}

/// The address of a page, where a server alone is named with the path that most have.
fn address(page: &str) -> Result<Url, Error> {
    let wrong = |reason: String| {
        Error::usage(
            format!("`--server-metrics` is not an address: {reason}"),
            "write it with its scheme, such as http://127.0.0.1:8000/metrics",
        )
    };
    let mut url = Url::parse(page).map_err(|error| wrong(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("it is neither http nor https".into()));
    }
    url.set_fragment(None);
    if url.path() == "/" {
        url.set_path("/metrics");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pages: &[&str]) -> Vec<String> {
        let pages: Vec<String> = pages.iter().map(|page| (*page).to_owned()).collect();
        let sources = sources(&pages, true, &Trust::System).unwrap();
        let shown = sources.iter().map(Source::shown);
        shown.map(str::to_owned).collect()
    }

    #[test]
    fn a_server_without_a_path_is_asked_for_its_metrics_and_each_page_once() {
        let pages = [
            "http://h:8000",
            "http://h:8000/metrics",
            "http://h/prometheus/metrics?token=abc",
        ];
        assert_eq!(
            shown(&pages),
            [
                "http://h:8000/metrics",
                "http://h/prometheus/metrics?token=***",
                "host"
            ]
        );
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        for page in ["hunter2@h/metrics", "h:8000/metrics", "file:///etc/passwd"] {
            let error = sources(&[page.to_owned()], false, &Trust::System)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("`--server-metrics` is not"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_plan_without_its_secret_asks_for_it() {
        let plan = RunPlan {
            server_metrics: vec!["http://***@h/metrics".to_owned()],
            host_metrics: Some(true),
            ..RunPlan::default()
        };
        let mut args = MetricsArgs {
            server_metrics: Vec::new(),
            host_metrics: false,
        };
        assert!(of_plan(&plan, &args, &Trust::System).is_err());
        args.server_metrics
            .push("http://me:pw@h/metrics".to_owned());
        let sources = of_plan(&plan, &args, &Trust::System).unwrap();
        let mut again = RunPlan::default();
        name_sources(&mut again, &sources);
        assert_eq!(again.server_metrics, plan.server_metrics);
        assert_eq!(again.host_metrics, Some(true));
    }
}
