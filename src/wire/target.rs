//! Where requests go, and which wire takes them there.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use hyper_util::client::proxy::matcher::Matcher;
use url::{Host, Url};

use super::trust::Trust;
use crate::secrets::Secrets;

/// Where requests go, and what goes with each of them.
#[derive(Debug, Clone)]
pub struct Target {
    /// The full address of the endpoint.
    pub url: Url,
    /// Headers of every request, beside content type and length.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What of all this, and of the bodies that are sent there, must not be repeated.
    pub secrets: Secrets,
    /// Names of the headers of answers that are kept, in lower case.
    pub kept_headers: Vec<String>,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// How long DNS, TCP and TLS may take together.
    pub connect_timeout: Duration,
    /// Connections are kept for the next request, until the server is found to close them.
    pub keeps_alive: bool,
    /// HTTP/2 is spoken, and nothing else.
    pub http2: bool,
}

impl Target {
    /// Its host and port, as an address is written.
    pub fn address(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port_or_known_default() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }
}

/// The wires that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireKind {
    /// Own sockets: every read is stamped.
    Direct,
    /// The reqwest client, which knows proxies.
    Reqwest,
}

impl WireKind {
    /// The wire that serves `url`: the direct one, unless the environment sends it to a proxy.
    pub fn for_url(url: &Url) -> Self {
        Self::choose(url, &Matcher::from_env())
    }

    fn choose(url: &Url, proxies: &Matcher) -> Self {
        let Ok(uri) = url.as_str().parse() else {
            return Self::Direct;
        };
        if !is_loopback(url) && proxies.intercept(&uri).is_some() {
            Self::Reqwest
        } else {
            Self::Direct
        }
    }

    /// Returns the wire of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Direct, Self::Reqwest]
            .into_iter()
            .find(|wire| wire.name() == name)
    }

    /// Its name, as flags and the manifest have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Reqwest => "reqwest",
        }
    }
}

/// True when the host is this machine: a proxy from the environment can't mean that.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_takes_the_reqwest_wire_and_nothing_else_does() {
        let proxies = Matcher::builder()
            .http("http://proxy:3128")
            .no("inside.example")
            .build();
        let none = Matcher::builder().build();
        for (url, proxies, expected) in [
            ("http://outside.example/v1", &proxies, WireKind::Reqwest),
            ("http://inside.example/v1", &proxies, WireKind::Direct),
            ("http://127.0.0.1:8000/v1", &proxies, WireKind::Direct),
            ("http://localhost:8000/v1", &proxies, WireKind::Direct),
            ("https://outside.example/v1", &proxies, WireKind::Direct),
            ("http://outside.example/v1", &none, WireKind::Direct),
        ] {
            let url: Url = url.parse().unwrap();
            assert_eq!(WireKind::choose(&url, proxies), expected, "{url}");
        }
    }

    #[test]
    fn a_loopback_address_is_this_machine() {
        for (url, expected) in [
            ("http://127.0.0.1:8000", true),
            ("http://127.3.2.1:8000", true),
            ("http://localhost", true),
            ("http://[::1]:8000", true),
            ("http://10.0.0.1:8000", false),
            ("https://example.org", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
