//! The head of a request, written once a run.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::wire::Target;

/// Everything of a head but the length of the body, which comes last.
#[derive(Debug)]
pub(super) struct RequestHead {
    start: Vec<u8>,
    /// The user's own headers say what becomes of the connection.
    names_connection: bool,
}

impl RequestHead {
    pub(super) fn new(target: &Target) -> Self {
        let url = &target.url;
        let mut start = Vec::with_capacity(512);
        start.extend_from_slice(b"POST ");
        start.extend_from_slice(url.path().as_bytes());
        if let Some(query) = url.query() {
            start.push(b'?');
            start.extend_from_slice(query.as_bytes());
        }
        start.extend_from_slice(b" HTTP/1.1\r\n");
        let names = |name: &str| {
            let mut headers = target.headers.iter();
            headers.any(|(other, _)| other.as_str() == name)
        };
        let user_agent = concat!("tokentape/", env!("CARGO_PKG_VERSION"));
        let own = [
            ("host", Some(authority(url))),
            ("user-agent", Some(user_agent.to_owned())),
            ("content-type", Some("application/json".to_owned())),
            (AUTHORIZATION.as_str(), basic_credentials(url)),
        ];
        for (name, value) in own {
            // What the user names replaces what is set here or stands in the address.
            if let Some(value) = value.filter(|_| !names(name)) {
                push(&mut start, name, value.as_bytes());
            }
        }
        for (name, value) in &target.headers {
            // The length of a body is not the user's to say.
            if name != CONTENT_LENGTH && name != TRANSFER_ENCODING {
                push(&mut start, name.as_str(), value.as_bytes());
            }
        }
        start.extend_from_slice(CONTENT_LENGTH.as_str().as_bytes());
        start.extend_from_slice(b": ");
        Self {
            start,
            names_connection: names(CONNECTION.as_str()),
        }
    }

    /// The head of a request with a body of `length` bytes, after which the connection is kept or
    /// not.
    pub(super) fn with_length(&self, length: usize, keeps_alive: bool) -> Vec<u8> {
        let closing: &[u8] = if keeps_alive || self.names_connection {
            b""
        } else {
            b"\r\nconnection: close"
        };
        let length = length.to_string();
        let mut head = Vec::with_capacity(self.start.len() + length.len() + closing.len() + 4);
        head.extend_from_slice(&self.start);
        head.extend_from_slice(length.as_bytes());
        head.extend_from_slice(closing);
        head.extend_from_slice(b"\r\n\r\n");
        head
    }
}

fn push(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// The host as a request names it, with the port where it is not the scheme's own.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The `authorization` that credentials in the address stand for.
fn basic_credentials(url: &Url) -> Option<String> {
    let password = url.password();
    if url.username().is_empty() && password.is_none() {
        return None;
    }
    let mut plain: Vec<u8> = percent_decode_str(url.username()).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(password.unwrap_or_default()));
    Some(format!("Basic {}", STANDARD.encode(plain)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::secrets::Secrets;
    use crate::wire::Trust;

    fn head(url: &str, headers: &[(&str, &str)]) -> String {
        let target = Target {
            url: url.parse().unwrap(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
            secrets: Secrets::default(),
            trust: Trust::System,
            kept_headers: Vec::new(),
            connect_timeout: Duration::from_secs(1),
            keeps_alive: true,
            http2: false,
        };
        let (kept, closed) = [true, false]
            .map(|keeps_alive| RequestHead::new(&target).with_length(7, keeps_alive))
            .into();
        let closed = String::from_utf8(closed).unwrap();
        assert_eq!(closed.to_lowercase().matches("\r\nconnection: ").count(), 1);
        String::from_utf8(kept).unwrap()
    }

    #[test]
    fn a_head_has_what_a_server_needs() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            head("http://127.0.0.1:8000/v1/completions?a=b%20c", &[]),
            format!(
                "POST /v1/completions?a=b%20c HTTP/1.1\r\nhost: 127.0.0.1:8000\r\n\
                 user-agent: tokentape/{version}\r\ncontent-type: application/json\r\n\
                 content-length: 7\r\n\r\n"
            )
        );
    }

    #[test]
    fn the_port_is_named_where_it_is_not_the_schemes_own() {
        assert!(head("https://a.example/", &[]).contains("\r\nhost: a.example\r\n"));
        assert!(head("https://a.example:443/", &[]).contains("\r\nhost: a.example\r\n"));
        assert!(head("http://[::1]:80/", &[]).contains("\r\nhost: [::1]\r\n"));
        assert!(head("http://[::1]:81/", &[]).contains("\r\nhost: [::1]:81\r\n"));
    }

    #[test]
    fn the_users_headers_replace_our_own_and_may_repeat() {
        let head = head(
            "http://u:p@a/",
            &[
                ("Authorization", "Bearer k"),
                ("host", "b"),
                ("x-a", "1"),
                ("x-a", "2"),
                ("content-length", "0"),
                ("transfer-encoding", "chunked"),
            ],
        );
        assert_eq!(head.matches("authorization: Bearer k\r\n").count(), 1);
        assert!(!head.contains("Basic"));
        assert!(head.contains("host: b\r\n") && !head.contains("host: a\r\n"));
        assert!(head.contains("x-a: 1\r\nx-a: 2\r\n"));
        assert!(head.ends_with("content-length: 7\r\n\r\n"));
        assert!(!head.contains("transfer-encoding") && !head.contains("content-length: 0"));
    }

    #[test]
    fn what_becomes_of_the_connection_is_the_users_to_say() {
        let head = head("http://a/", &[("Connection", "keep-alive")]);
        assert!(head.contains("\r\nconnection: keep-alive\r\n"), "{head}");
    }

    #[test]
    fn credentials_in_the_address_are_sent_as_they_are_meant() {
        let head = head("http://us%3Aer:p%40ss@a/", &[]);
        // "us:er:p@ss"
        assert!(
            head.contains("\r\nauthorization: Basic dXM6ZXI6cEBzcw==\r\n"),
            "{head}"
        );
    }
}
