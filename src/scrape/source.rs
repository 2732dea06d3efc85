//! The sources of metrics: pages of servers and exporters, and this machine.

use std::time::Duration;

use url::Url;

use super::error::ScrapeError;
use super::host::Host;
use super::prometheus::samples;
use crate::secrets::Secrets;
use crate::visible::visible;
use crate::wire::{Text, TextClient, Trust};

/// How long one page may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Characters of a reason at most: some of it is a server's own words.
const MAX_REASON_CHARS: usize = 200;

/// A source of metrics.
#[derive(Debug, Clone)]
pub enum Source {
    /// A page in Prometheus' text format.
    Page {
        /// Its address, secrets and all.
        url: Url,
        /// Its address without secrets.
        shown: String,
        /// Whose certificates are believed.
        trust: Trust,
    },
    /// This machine.
    Host,
}

impl Source {
    /// What it is called: an address without secrets, or `host`.
    pub fn shown(&self) -> &str {
        match self {
            Self::Page { shown, .. } => shown,
            Self::Host => "host",
        }
    }

    /// Reads the source once, to see whether it has metrics.
    ///
    /// # Errors
    ///
    /// [`ScrapeError`] where it can't be read, or serves something else.
    pub async fn check(&self, secrets: &Secrets) -> Result<(), ScrapeError> {
        let mut reader = Reader::open(self, secrets)?;
        let page = reader.read().await?;
        match samples(&page).any(|sample| sample.is_some()) {
            true => Ok(()),
            false => Err(no_metrics(self.shown(), "a page without a sample")),
        }
    }
}

/// Reads one source again and again.
pub(super) struct Reader {
    way: Way,
    shown: String,
    secrets: Secrets,
}

/// How a source is read.
enum Way {
    Page(TextClient),
    /// This machine, unless a look at it has not come back.
    Host(Option<Host>),
}

impl Reader {
    /// Opens a source; nothing is read yet.
    pub(super) fn open(source: &Source, secrets: &Secrets) -> Result<Self, ScrapeError> {
        let shown = source.shown().to_owned();
        let way = match source {
            Source::Page { url, trust, .. } => {
                let client = TextClient::new(url, &[], trust, PATIENCE);
                Way::Page(client.map_err(|error| unread(&shown, &error.message, secrets))?)
            }
            Source::Host => Way::Host(Some(Host::default())),
        };
        Ok(Self {
            way,
            shown,
            secrets: secrets.clone(),
        })
    }

    /// Reads the page.
    pub(super) async fn read(&mut self) -> Result<String, ScrapeError> {
        match &mut self.way {
            Way::Host(host) => match host.take() {
                Some(mut looking) => {
                    // A driver may hang, and others wait for this thread.
                    let looked = tokio::task::spawn_blocking(move || (looking.page(), looking));
                    let (page, looking) = looked
                        .await
                        .map_err(|_| unread(&self.shown, "it could not be read", &self.secrets))?;
                    *host = Some(looking);
                    Ok(page)
                }
                None => Err(unread(
                    &self.shown,
                    "the last look has not come back",
                    &self.secrets,
                )),
            },
            Way::Page(client) => {
                let answer = client.get().await;
                let answer =
                    answer.map_err(|error| unread(&self.shown, &error.message, &self.secrets))?;
                match is_web_page(&answer) {
                    true => Err(no_metrics(&self.shown, "a web page (HTML)")),
                    false => Ok(answer.text),
                }
            }
        }
    }
}

fn is_web_page(answer: &Text) -> bool {
    answer.media_type.contains("html") || answer.text.trim_start().starts_with('<')
}

fn no_metrics(shown: &str, what: &'static str) -> ScrapeError {
    ScrapeError::NoMetrics {
        shown: shown.to_owned(),
        what,
    }
}

fn unread(shown: &str, reason: &str, secrets: &Secrets) -> ScrapeError {
    let reason = secrets.mask(reason);
    let reason = visible(&reason);
    ScrapeError::Unread {
        shown: shown.to_owned(),
        reason: reason.chars().take(MAX_REASON_CHARS).collect(),
    }
}
