//! The server's own tokenizer, where it has a path at which it counts the tokens of a text.
//!
//! It is asked before a run, one text after the other, and never while one goes on: what counts tokens does
//! not answer requests meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::error::{CountError, LoadError};
use crate::backend::{Countable, TokenizeAnswer, TokenizeDialect};
use crate::secrets::Secrets;
use crate::wire::{TextClient, Trust};
use crate::workload::TokenCounter;

/// Time that a server may take for one count.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Asks a server for numbers of tokens.
#[derive(Debug)]
pub struct ServerTokenizer {
    /// Where its paths begin.
    base: Url,
    model: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    trust: Trust,
    secrets: Secrets,
    asking: Mutex<Asking>,
}

/// What asks.
#[derive(Debug)]
struct Asking {
    /// None once nothing is asked any more: a runtime must not be dropped on a thread of another one.
    runtime: Option<Runtime>,
    /// How the server is asked, once that is known.
    dialect: Option<TokenizeDialect>,
    /// What asks at each path.
    clients: BTreeMap<&'static str, TextClient>,
    /// Why a text could not be counted.
    failure: Option<CountError>,
}

impl ServerTokenizer {
    /// Asks the server at `base`, in front of all its paths, for the counts of a model.
    ///
    /// # Errors
    ///
    /// The system refuses a runtime.
    pub fn new(
        base: Url,
        model: String,
        headers: Vec<(HeaderName, HeaderValue)>,
        (trust, secrets): (Trust, Secrets),
    ) -> io::Result<Self> {
        let asking = Asking {
            runtime: Some(Builder::new_current_thread().enable_all().build()?),
            dialect: None,
            clients: BTreeMap::new(),
            failure: None,
        };
        Ok(Self {
            base,
            model,
            headers,
            trust,
            secrets,
            asking: Mutex::new(asking),
        })
    }

    /// Returns the number of tokens. Blocking: it must not be called on a thread of a runtime.
    ///
    /// # Errors
    ///
    /// The server can't be asked, or does not count.
    pub fn count(&self, countable: Countable<'_>) -> Result<u64, CountError> {
        let mut asking = self.asking();
        let known = asking.dialect.map(|dialect| vec![dialect]);
        let mut why = None;
        for dialect in known.unwrap_or_else(|| TokenizeDialect::ALL.to_vec()) {
            match self.ask(&mut asking, dialect, countable)? {
                Ok(count) => {
                    asking.dialect = Some(dialect);
                    return Ok(count);
                }
                Err(reason) => why = why.or(Some(reason)),
            }
        }
        Err(CountError::Refused {
            base: (self.secrets.mask(self.base.as_str()))
                .trim_end_matches('/')
                .to_owned(),
            why: self.secrets.mask(&why.unwrap_or_default()).into_owned(),
        })
    }

    /// Runs a function with what counts texts alone: while it runs, and until the first failure.
    ///
    /// # Errors
    ///
    /// Why a text could not be counted, or the function's own.
    pub(super) fn counting<T>(
        self: &Arc<Self>,
        run: impl FnOnce(&TokenCounter) -> Result<T, LoadError>,
    ) -> Result<T, LoadError> {
        let made = run(&self.counter());
        let mut asking = self.asking();
        asking.runtime = None;
        match asking.failure.take() {
            Some(error) => Err(error.into()),
            None => made,
        }
    }

    fn counter(self: &Arc<Self>) -> TokenCounter {
        let server = Arc::clone(self);
        Arc::new(move |text: &str| {
            let is_over = {
                let asking = server.asking();
                asking.runtime.is_none() || asking.failure.is_some()
            };
            if is_over {
                return None;
            }
            let counted = server.count(Countable::Text(text));
            counted
                .map_err(|error| server.asking().failure = Some(error))
                .ok()
                .and_then(|count| u32::try_from(count).ok())
        })
    }

    fn asking(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks in one dialect. Returns why there is no count, where the server is there and has none.
    fn ask(
        &self,
        asking: &mut Asking,
        dialect: TokenizeDialect,
        countable: Countable<'_>,
    ) -> Result<Result<u64, String>, CountError> {
        let mut call = dialect.call(&self.model, countable);
        loop {
            let unreachable = |message: &str| CountError::Unreachable {
                url: self.secrets.mask(self.url(call.path).as_str()).into_owned(),
                message: self.secrets.mask(message).into_owned(),
            };
            if !asking.clients.contains_key(call.path) {
                let url = self.url(call.path);
                let client = TextClient::new(&url, &self.headers, &self.trust, TIMEOUT)
                    .map_err(|error| unreachable(&error.message))?;
                asking.clients.insert(call.path, client);
            }
            let Asking {
                runtime, clients, ..
            } = asking;
            let Some(runtime) = runtime else {
                return Ok(Err("it is not asked while a run goes on".to_owned()));
            };
            let client = &clients[call.path];
            let text = match runtime.block_on(client.post(&call.body)) {
                Ok(answer) => answer.text,
                Err(error) if error.is_status() => return Ok(Err(error.message)),
                Err(error) => return Err(unreachable(&error.message)),
            };
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            match dialect.read(&answer) {
                Some(TokenizeAnswer::Count(count)) => return Ok(Ok(count)),
                Some(TokenizeAnswer::Next(next)) => call = next,
                None => return Ok(Err("its answer has no count of tokens".to_owned())),
            }
        }
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        url
    }
}

/// Where the paths of a server begin, by the full address of one of its endpoints.
pub(super) fn base_of(endpoint: &Url) -> Url {
    let path = endpoint.path();
    let end = path.find("/v1/").unwrap_or(0);
    let mut base = endpoint.clone();
    base.set_path(&path[..end]);
    base
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::base_of;

    #[test]
    fn the_paths_of_a_server_begin_before_the_version() {
        for (endpoint, base) in [
            ("http://h:1/v1/chat/completions", "http://h:1/"),
            ("http://h/gate/v1/completions?k=1", "http://h/gate?k=1"),
            ("http://h/generate_stream", "http://h/"),
        ] {
            let endpoint = Url::parse(endpoint).unwrap();
            assert_eq!(base_of(&endpoint).as_str(), base);
        }
    }
}
