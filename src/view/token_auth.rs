//! Who may look: whoever has the token, by a name of this server.
//!
//! Any program of any user on this machine, and any web page in the user's browser, can reach a
//! port on loopback. So every path begins with a token that only the terminal shows. It is no
//! cookie, which the browser would show to the servers on all other ports of this machine as well;
//! pages tell it to nobody (`Referrer-Policy`). And a name that a foreign name server made to
//! point here (DNS rebinding) is no name of this server.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::error::Unspecified;
use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes of chance in a token.
const TOKEN_BYTES: usize = 24;

/// Makes a token of 192 bits of the system's randomness, fit for an address.
pub(crate) fn new_token() -> Result<String, Unspecified> {
    let mut bytes = [0; TOKEN_BYTES];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Knows the token and the names of this server.
#[derive(Debug)]
pub(super) struct TokenAuth {
    token: String,
    hosts: [String; 3],
}

impl TokenAuth {
    pub(super) fn new(token: &str, address: SocketAddr) -> Self {
        let port = address.port();
        Self {
            token: token.to_owned(),
            hosts: ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}")),
        }
    }

    /// Returns what of a path comes after the token.
    ///
    /// # Errors
    ///
    /// Says why a request is refused.
    pub(super) fn pass<'a>(
        &self,
        path: &'a str,
        headers: &HeaderMap,
    ) -> Result<&'a str, &'static str> {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| self.hosts.iter().any(|known| known == host)) {
            return Err("this server is called 127.0.0.1 or localhost, with its port");
        }
        let parts = path.trim_start_matches('/').split_once('/');
        match parts {
            Some((token, rest)) if is_same(token.as_bytes(), self.token.as_bytes()) => Ok(rest),
            _ => Err("open the address that `tokentape view` said: it has a token in it"),
        }
    }
}

/// Compares without telling by the time taken where two differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    one.len() == other.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass<'a>(path: &'a str, host: &str) -> Result<&'a str, &'static str> {
        let guard = TokenAuth::new("secret", SocketAddr::from(([127, 0, 0, 1], 8080)));
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        guard.pass(path, &headers)
    }

    #[test]
    fn the_token_lets_in() {
        for host in ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"] {
            assert_eq!(pass("/secret/", host), Ok(""));
            assert_eq!(pass("/secret/sql", host), Ok("sql"));
        }
    }

    #[test]
    fn nobody_else_is_let_in() {
        for path in [
            "/",
            "",
            "/secret",
            "/Secret/",
            "/secretive/",
            "/secre/",
            "//",
            "/x/secret/",
            "/sql",
        ] {
            assert!(pass(path, "localhost:8080").is_err(), "{path}");
        }
    }

    #[test]
    fn another_name_for_this_machine_is_refused_even_with_the_token() {
        for host in [
            "evil.example:8080",
            "127.0.0.1",
            "127.0.0.1:81",
            "localhost.evil.example:8080",
        ] {
            assert!(pass("/secret/", host).is_err(), "{host}");
        }
        let guard = TokenAuth::new("secret", SocketAddr::from(([127, 0, 0, 1], 8080)));
        assert!(guard.pass("/secret/", &HeaderMap::new()).is_err());
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let (one, other) = (new_token().unwrap(), new_token().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 32);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(one.bytes().all(is_plain));
    }
}
