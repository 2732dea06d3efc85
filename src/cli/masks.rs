//! What the user gave that is secret: masked where it is kept or shown, and known by its value, so
//! that it is masked where a server repeats it.

use std::collections::BTreeMap;
use std::env;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use url::Url;

use super::words;
use crate::load::Private;
use crate::scrape::Source;
use crate::secrets::{MASK, Secrets, is_secret_name, looks_like_key};

/// Headers whose values are no secrets: a server's messages speak of them.
const PLAIN_HEADERS: [&str; 9] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "connection",
    "content-type",
    "host",
    "http-referer",
    "user-agent",
    "x-title",
];

/// The flag that takes several addresses.
const METRICS: &str = "--server-metrics";

/// Variables of the environment that name proxies, whose addresses may have credentials.
const PROXIES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// The secrets that go to servers: those of the headers as they were typed, of the addresses, of the
/// user's fields of the body, of the pages of metrics, and of the environment.
pub(super) fn secrets(
    headers: &[String],
    urls: &[Url],
    extra_body: &Map<String, Value>,
    sources: &[Source],
) -> Secrets {
    let mut known = Vec::new();
    for header in headers {
        if let Some((name, value)) = header.split_once([':', '=']) {
            let name = name.trim().to_ascii_lowercase();
            if !PLAIN_HEADERS.contains(&name.as_str()) {
                note_header(value.trim(), &mut known);
            }
        }
    }
    for url in urls {
        note_address(url, &mut known);
    }
    note_fields(extra_body, &mut known);
    for source in sources {
        if let Source::Page { url, .. } = source {
            note_address(url, &mut known);
        }
    }
    known.extend(env::var("OPENAI_API_KEY").ok());
    let names = PROXIES
        .iter()
        .flat_map(|name| [name.to_ascii_lowercase(), (*name).to_owned()]);
    for value in names.filter_map(|name| env::var(name).ok()) {
        // An address without a scheme is one of http to those who read the variable.
        for address in [value.clone(), format!("http://{value}")] {
            if let Ok(url) = Url::parse(&address) {
                note_credentials(&url, &mut known);
            }
        }
    }
    Secrets::new(known.iter().map(String::as_str))
}

/// Notes a header's value, and each part of it: behind a scheme, of a cookie, of a list.
fn note_header(value: &str, known: &mut Vec<String>) {
    known.push(value.to_owned());
    let parts: Vec<&str> = value
        .split([' ', ',', ';'])
        .filter(|part| !part.is_empty())
        .collect();
    // `Bearer`, `Basic`.
    let has_scheme = parts.len() > 1 && parts[0].bytes().all(|byte| byte.is_ascii_alphabetic());
    for part in parts.iter().skip(usize::from(has_scheme)) {
        known.push((*part).to_owned());
        let named = part
            .split_once('=')
            .map(|(_, value)| value.trim_matches('"'));
        known.extend(named.map(str::to_owned));
        let decoded = STANDARD
            .decode(part)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((user, password)) = decoded.as_ref().and_then(|pair| pair.split_once(':')) {
            known.extend([user.to_owned(), password.to_owned()]);
        }
    }
}

/// Notes what [`masked`] masks, as it is without the address's own encoding.
fn note_address(url: &Url, known: &mut Vec<String>) {
    note_credentials(url, known);
    let secret = url
        .query_pairs()
        .filter(|(name, value)| is_secret(name, value));
    known.extend(secret.map(|(_, value)| value.into_owned()));
    let bare = url
        .query_pairs()
        .filter(|(name, value)| is_bare_key(name, value));
    known.extend(bare.map(|(name, _)| name.into_owned()));
    let keys = url.path().split('/').filter(|part| looks_like_key(part));
    known.extend(keys.map(str::to_owned));
}

fn note_credentials(url: &Url, known: &mut Vec<String>) {
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    if !user.is_empty() || !password.is_empty() {
        let (user, password) = (decoded(user), decoded(password));
        known.extend([format!("{user}:{password}"), user, password]);
    }
}

fn note_fields(fields: &Map<String, Value>, known: &mut Vec<String>) {
    fn note(value: &Value, is_secret: bool, known: &mut Vec<String>) {
        match value {
            Value::String(text) if is_secret || looks_like_key(text) => known.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| note(item, is_secret, known)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    note(value, is_secret || is_secret_name(name), known);
                }
            }
            _ => {}
        }
    }
    for (name, value) in fields {
        note(value, is_secret_name(name), known);
    }
}

/// Says whether a part of a query is secret.
fn is_secret(name: &str, value: &str) -> bool {
    // That of Azure's functions is called a code.
    is_secret_name(name) || name.eq_ignore_ascii_case("code") || looks_like_key(value)
}

/// Says whether a part of a query without a value may itself be a key: it looks like one, or is as
/// long as keys are and has digits in it.
fn is_bare_key(name: &str, value: &str) -> bool {
    const LEAST_CHARS: usize = 16;
    let has_digit = name.bytes().any(|byte| byte.is_ascii_digit());
    value.is_empty() && (looks_like_key(name) || (has_digit && name.chars().count() >= LEAST_CHARS))
}

/// The address without credentials, and without a fragment, which is sent to nobody.
pub(super) fn masked(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    if !url.username().is_empty() || url.password().is_some() {
        // Both fail for addresses without a host alone, which have no credentials.
        let _ = url.set_username(MASK);
        let _ = url.set_password(None);
    }
    if url
        .query_pairs()
        .any(|(name, value)| is_secret(&name, &value) || is_bare_key(&name, &value))
    {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                if is_bare_key(&name, &value) {
                    return (MASK.to_owned(), String::new());
                }
                let value = if is_secret(&name, &value) {
                    MASK.into()
                } else {
                    value.into_owned()
                };
                (name.into_owned(), value)
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    if url.path().split('/').any(looks_like_key) {
        let parts = url.path().split('/');
        let parts = parts.map(|part| if looks_like_key(part) { MASK } else { part });
        let path = parts.collect::<Vec<_>>().join("/");
        url.set_path(&path);
    }
    url.to_string()
}

/// The fields with everything masked that looks like a secret.
pub(super) fn masked_fields(fields: &Map<String, Value>) -> Map<String, Value> {
    fn mask(value: &Value) -> Value {
        match value {
            Value::Object(fields) => Value::Object(masked_fields(fields)),
            Value::Array(items) => items.iter().map(mask).collect(),
            Value::String(text) if looks_like_key(text) => json!(MASK),
            other => other.clone(),
        }
    }
    let masked = fields.iter().map(|(name, value)| {
        let value = if is_secret_name(name) {
            json!(MASK)
        } else {
            mask(value)
        };
        (name.clone(), value)
    });
    masked.collect()
}

/// The values of those headers that are no secrets.
pub(super) fn plain_headers(private: &Private) -> BTreeMap<String, String> {
    let plain = private.headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        let is_plain = PLAIN_HEADERS.contains(&name.as_str())
            && !looks_like_key(value)
            && private.secrets.mask(value) == value;
        is_plain.then(|| (name.as_str().to_owned(), value.to_owned()))
    });
    plain.collect()
}

/// The command line of this process, as [`masked_command`] has it.
pub(super) fn typed_command() -> String {
    // A name of a file need not be text.
    masked_command(
        words::typed()
            .into_iter()
            .map(|word| word.to_string_lossy().into_owned()),
    )
}

/// A command line, quoted for a shell, with secrets masked.
fn masked_command(words: impl Iterator<Item = String>) -> String {
    let mut typed = vec!["tokentape".to_owned()];
    let mut flag = String::new();
    for word in words.skip(1) {
        let masked = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => {
                format!("{name}={}", masked_value(name, value))
            }
            _ => masked_value(&flag, &word),
        };
        // It takes several values.
        if word.starts_with("--") || flag != METRICS {
            flag = word;
        }
        typed.push(quoted(&masked));
    }
    typed.join(" ")
}

/// The value of a flag, with what may be secret in it masked.
fn masked_value(flag: &str, value: &str) -> String {
    match flag {
        "--header" => match value.split_once([':', '=']) {
            Some((name, _)) => format!("{name}: {MASK}"),
            None => MASK.to_owned(),
        },
        "--extra-body" => serde_json::from_str(value).map_or_else(
            |_| MASK.to_owned(),
            |fields| Value::Object(masked_fields(&fields)).to_string(),
        ),
        "--base-url" | METRICS => masked_address(value, ""),
        "--endpoint" => masked_address(value, "http://h/"),
        _ => value.to_owned(),
    }
}

/// An address, or what follows `base`, in the form in which it was typed unless there is something
/// to mask.
fn masked_address(value: &str, base: &str) -> String {
    let Ok(url) = Url::parse(&format!("{base}{value}")) else {
        // What is no address is refused, and may be a secret all the same.
        return if base.is_empty() && !value.contains(['@', '?']) {
            value.to_owned()
        } else {
            MASK.to_owned()
        };
    };
    let masked = masked(&url);
    if masked == url.as_str() {
        value.to_owned()
    } else {
        masked.strip_prefix(base).unwrap_or(&masked).to_owned()
    }
}

/// Quotes a word for a shell where it needs to be.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_is_a_key_alone_is_masked_and_a_fragment_left_out() {
        let shown = |address: &str| masked(&Url::parse(address).unwrap());
        assert_eq!(shown("http://h/v1?Sup3rS3cret/K+ey42"), "http://h/v1?***=");
        assert_eq!(shown("http://h/v1#Sup3rS3cret"), "http://h/v1");
        assert_eq!(shown("http://h/v1?stream&beta"), "http://h/v1?stream&beta");
        let mut known = Vec::new();
        let url = Url::parse("http://h/v1?Sup3rS3cretKey42").unwrap();
        note_address(&url, &mut known);
        assert!(known.iter().any(|value| value == "Sup3rS3cretKey42"));
    }

    #[test]
    fn nothing_that_looks_like_a_secret_is_kept() {
        for (url, shown) in [
            (
                "http://me:pw@h/v1?api_key=abc&x=1",
                "http://***@h/v1?api_key=***&x=1",
            ),
            ("http://h/v1?code=abc&sig=d", "http://h/v1?code=***&sig=***"),
            (
                "http://h/sk-0123456789abcdef/v1?x=ghp_0123456789abcdef",
                "http://h/***/v1?x=***",
            ),
            ("http://h/v1?api-version=1", "http://h/v1?api-version=1"),
        ] {
            assert_eq!(masked(&Url::parse(url).unwrap()), shown);
        }
        let fields = serde_json::from_str(
            r#"{"top_k": 3, "api-key": "abc", "max_tokens": 5, "auth": {"n": "t"},
                "m": [{"password": 1, "x": "sk-0123456789abcdef"}]}"#,
        )
        .unwrap();
        assert_eq!(
            Value::Object(masked_fields(&fields)),
            json!({"top_k": 3, "api-key": "***", "max_tokens": 5, "auth": "***",
                   "m": [{"password": "***", "x": "***"}]})
        );
    }

    #[test]
    fn the_command_line_is_kept_without_its_secrets() {
        let words = [
            "target/tokentape",
            "load",
            "--header",
            "X-Key: s1",
            "--header=Y=s2",
            "--base-url",
            "http://me:s3@h:1",
            "--extra-body",
            r#"{"api_key": "s4", "k": "it's"}"#,
            "--endpoint",
            "/v1/chat?key=s5&v=1",
            "--endpoint=v1/chat?v=1",
            "--server-metrics",
            "http://h:1/metrics",
            "http://me:s6@h:2/metrics",
            "--out=a b",
        ];
        assert_eq!(
            masked_command(words.map(str::to_owned).into_iter()),
            r#"tokentape load --header 'X-Key: ***' '--header=Y: ***' --base-url 'http://***@h:1/' --extra-body '{"api_key":"***","k":"it'\''s"}' --endpoint '/v1/chat?key=***&v=1' '--endpoint=v1/chat?v=1' --server-metrics http://h:1/metrics 'http://***@h:2/metrics' '--out=a b'"#
        );
    }

    #[test]
    fn every_secret_that_goes_to_a_server_is_known() {
        let headers = [
            "Authorization: Basic bWUtbXlzZWxmOmh1bnRlcjI=",
            "Cookie: a=cookie-one; b=cookie-two",
            "X-Any: Bearer header-one",
            "Accept: text/event-stream",
        ];
        let url = Url::parse("http://so:pass%2Fword@h/v1?key=in-query&v=plain-text").unwrap();
        let fields = serde_json::from_str(
            r#"{"m": {"auth": ["in-body", {"x": "deep-body"}]}, "s": "of-the-text"}"#,
        );
        let page: Url = "http://o:of-metrics@h/metrics?token=in-metrics"
            .parse()
            .unwrap();
        let source = Source::Page {
            shown: masked(&page),
            trust: crate::wire::Trust::System,
            url: page,
        };
        let headers = headers.map(str::to_owned);
        let secrets = secrets(&headers, &[url], &fields.unwrap(), &[source]);
        for value in [
            "bWUtbXlzZWxmOmh1bnRlcjI=",
            "me-myself",
            "hunter2",
            "cookie-one",
            "cookie-two",
            "header-one",
            "pass/word",
            "c286cGFzcy93b3Jk",
            "in-query",
            "in-body",
            "deep-body",
            "of-metrics",
            "in-metrics",
        ] {
            assert_eq!(secrets.mask(value), MASK, "{value}");
        }
        for value in ["Bearer", "text/event-stream", "plain-text", "of-the-text"] {
            assert_eq!(secrets.mask(value), value);
        }
    }
}
