//! Keys and passwords that the user gave for a server, masked wherever they come back.
//!
//! A server, or a router before it, may repeat a key in an error, a header's value in an answer.
//! What was given is known, so it is found in any text: as it is, percent-encoded, escaped as in
//! JSON or HTML (also twice), and in base64, alone or inside something longer. The start of one is
//! taken for it from [`MIN_START`] bytes on, since whoever shortens a message may cut one in two.
//!
//! Not found are values that are too short to be told from words (see [`is_telling`]), and a key
//! that a server encrypts, hashes, reverses or spells out.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Bytes of the start of a secret that are masked where the rest does not follow.
const MIN_START: usize = 8;

/// Characters of a value that can be told from a word of a message.
const MIN_CHARS: usize = 6;

/// Characters of one that is made of lower-case letters alone, as words are.
const MIN_LETTERS: usize = 8;

/// How often what is encoded may be encoded again.
const MAX_NESTING: usize = 3;

/// Backslashes before one character at most.
const MAX_BACKSLASHES: usize = 15;

/// The secrets of a run; cheap to clone. It does not show them, not even to a debugger's print.
#[derive(Clone, Default)]
pub struct Secrets(Option<Arc<Known>>);

struct Known {
    /// Each secret as it is and in base64.
    forms: Vec<Vec<u8>>,
    /// Bytes with which one can begin, in any writing.
    can_begin: [bool; 256],
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secrets(***)")
    }
}

/// Says whether a value is masked in what a server says: one of six characters or more, and of
/// eight where all are lower-case letters. A shorter one would mask words of every message.
fn is_telling(value: &str) -> bool {
    let is_word = value.bytes().all(|byte| byte.is_ascii_lowercase());
    let least = if is_word { MIN_LETTERS } else { MIN_CHARS };
    value.chars().count() >= least
}

impl Secrets {
    /// Makes the secrets of their values; those that are too short to be found are left out.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms = BTreeSet::new();
        for value in values.into_iter().filter(|value| is_telling(value)) {
            forms.insert(value.as_bytes().to_vec());
            forms.extend((0..3).flat_map(|before| in_base64(value.as_bytes(), before)));
        }
        if forms.is_empty() {
            return Self(None);
        }
        let mut can_begin = [false; 256];
        let firsts = forms.iter().filter_map(|form| form.first());
        for byte in firsts.chain(b"%\\&") {
            can_begin[usize::from(byte.to_ascii_lowercase())] = true;
            can_begin[usize::from(byte.to_ascii_uppercase())] = true;
        }
        let forms = forms.into_iter().collect();
        Self(Some(Arc::new(Known { forms, can_begin })))
    }

    /// Returns the text with [`MASK`] in place of every secret.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(known) = &self.0 else {
            return Cow::Borrowed(text);
        };
        let found = known.find(text);
        if found.spans.is_empty() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(masked(text, 0, &found.spans))
    }

    /// As [`Secrets::mask`], of a text that is long and not copied where it has none.
    pub fn mask_owned(&self, text: String) -> String {
        match self.mask(&text) {
            Cow::Owned(masked) => masked,
            Cow::Borrowed(_) => text,
        }
    }
}

/// Masks a text that comes in parts, each of which is given on at once: of a secret that is cut
/// into parts, the first bytes that could be any word's stay, and nothing after them.
#[derive(Debug, Default)]
pub struct PartMask {
    /// What ended the parts so far and may be the start of a secret.
    held: String,
}

impl PartMask {
    /// Returns the next part of the text without what belongs to a secret.
    pub fn mask(&mut self, secrets: &Secrets, part: String) -> String {
        let Some(known) = &secrets.0 else {
            return part;
        };
        let start = self.held.len();
        let mut whole = std::mem::take(&mut self.held);
        whole.push_str(&part);
        let found = known.find(&whole);
        whole
            .get(found.open..)
            .unwrap_or_default()
            .clone_into(&mut self.held);
        if found.spans.iter().all(|span| span.end <= start) {
            return part;
        }
        masked(&whole, start, &found.spans)
    }
}

/// Writes what follows `start`, with [`MASK`] for each of the spans.
fn masked(text: &str, start: usize, spans: &[Range<usize>]) -> String {
    let mut shown = String::with_capacity(text.len() - start);
    let mut at = start;
    for span in spans.iter().filter(|span| span.end > start) {
        shown.push_str(text.get(at..span.start).unwrap_or_default());
        shown.push_str(MASK);
        at = span.end;
    }
    shown.push_str(text.get(at..).unwrap_or_default());
    shown
}

/// What a text has of secrets.
struct Found {
    /// Where they stand, in order and apart.
    spans: Vec<Range<usize>>,
    /// Where one begins that the text's end cuts; the length of the text where none does.
    open: usize,
}

impl Known {
    fn find(&self, text: &str) -> Found {
        let bytes = text.as_bytes();
        let mut spans = Vec::new();
        let mut open = bytes.len();
        let mut at = 0;
        while at < bytes.len() {
            if !self.can_begin[usize::from(bytes[at])] || !text.is_char_boundary(at) {
                at += 1;
                continue;
            }
            let mut end = at;
            for form in &self.forms {
                for nesting in 0..=MAX_NESTING {
                    let agreement = Agreement::of(&bytes[at..], form, nesting);
                    if agreement.matched >= form.len().min(MIN_START) {
                        end = end.max(at + agreement.read);
                    }
                    if agreement.is_cut {
                        open = open.min(at);
                    }
                }
            }
            if end == at {
                at += 1;
                continue;
            }
            while !text.is_char_boundary(end) {
                end += 1;
            }
            spans.push(at..end);
            at = end;
        }
        Found { spans, open }
    }
}

/// How far a text begins with a secret.
struct Agreement {
    /// Bytes of the secret.
    matched: usize,
    /// Bytes of the text that say so.
    read: usize,
    /// The text ends before it could agree further.
    is_cut: bool,
}

impl Agreement {
    /// Goes along both, in a text that was encoded as often. A secret can itself look like something
    /// encoded, so one number of times does not do for all.
    fn of(text: &[u8], form: &[u8], nesting: usize) -> Self {
        let (mut matched, mut read) = (0, 0);
        while matched < form.len()
            && let Some((taken, bytes)) = step(&text[read..], &form[matched..], nesting)
        {
            matched += taken;
            read += bytes;
        }
        Self {
            matched,
            read,
            is_cut: matched < form.len() && is_cut(&text[read..], nesting),
        }
    }
}

/// Says whether the text ends where a character begins, or inside one that is encoded.
fn is_cut(text: &[u8], nesting: usize) -> bool {
    match text {
        [] => true,
        [b'%', ..] => text.len() < 1 + 2 * nesting,
        [b'\\', ..] if nesting > 0 => {
            let rest = text.iter().skip_while(|byte| **byte == b'\\').count();
            rest < 5 && text.len() - rest <= MAX_BACKSLASHES
        }
        [b'&', ..] if nesting > 0 => text.len() < 8 && !text.contains(&b';'),
        _ => false,
    }
}

/// Reads the first character of `form`, encoded that many times or as it is: how many bytes of the
/// form and of the text that takes.
fn step(text: &[u8], form: &[u8], nesting: usize) -> Option<(usize, usize)> {
    let escaped = match text.first()? {
        _ if nesting == 0 => None,
        b'%' => percent(text, form, nesting),
        b'\\' => backslash(text, form),
        b'&' => entity(text, form),
        _ => None,
    };
    escaped.or_else(|| plain(text, form))
}

/// Reads the first byte of `form` as it is, whatever its case.
fn plain(text: &[u8], form: &[u8]) -> Option<(usize, usize)> {
    let (byte, expected) = (text.first()?, form.first()?);
    byte.eq_ignore_ascii_case(expected).then_some((1, 1))
}

/// `%2F`, and `%252F` where that was encoded once more.
fn percent(text: &[u8], form: &[u8], nesting: usize) -> Option<(usize, usize)> {
    let mut at = 1;
    for _ in 1..nesting {
        at += text.get(at..)?.strip_prefix(b"25").map(|_| 2)?;
    }
    let byte = u8::try_from(number(text.get(at..at + 2)?, 16)?).ok()?;
    plain(&[byte], form).map(|_| (1, at + 2))
}

/// `\/`, `\"` and `\u002f`, with more backslashes where that was escaped once more.
fn backslash(text: &[u8], form: &[u8]) -> Option<(usize, usize)> {
    let run = text.iter().take(MAX_BACKSLASHES);
    let run = run.take_while(|byte| **byte == b'\\').count();
    if form.first() == Some(&b'\\') {
        return Some((1, run));
    }
    if text.get(run) == Some(&b'u')
        && let Some(code) = text.get(run + 1..run + 5).and_then(|code| number(code, 16))
    {
        return character(code, form).map(|taken| (taken, run + 5));
    }
    plain(&text[run..], form).map(|(taken, read)| (taken, run + read))
}

/// `&amp;`, `&#47;` and `&#x2f;`.
fn entity(text: &[u8], form: &[u8]) -> Option<(usize, usize)> {
    const NAMED: [(&[u8], u8); 5] = [
        (b"&amp;", b'&'),
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&quot;", b'"'),
        (b"&apos;", b'\''),
    ];
    let named = NAMED
        .iter()
        .find(|(name, byte)| text.starts_with(name) && form.first() == Some(byte));
    if let Some((name, _)) = named {
        return Some((1, name.len()));
    }
    let inner = text.strip_prefix(b"&#")?;
    let length = inner.iter().take(8).position(|byte| *byte == b';')?;
    let code = match &inner[..length] {
        [b'x' | b'X', code @ ..] => number(code, 16),
        code => number(code, 10),
    };
    character(code?, form).map(|taken| (taken, 2 + length + 1))
}

/// Returns how many bytes of `form` are the character of that number; `None` where it is another.
fn character(code: u32, form: &[u8]) -> Option<usize> {
    let mut buffer = [0; 4];
    let bytes = char::from_u32(code)?.encode_utf8(&mut buffer).as_bytes();
    let start = form.get(..bytes.len())?;
    start.eq_ignore_ascii_case(bytes).then_some(bytes.len())
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let digits = str::from_utf8(digits).ok()?;
    let are_digits = digits.chars().all(|digit| digit.is_digit(radix));
    u32::from_str_radix(digits, radix)
        .ok()
        .filter(|_| are_digits)
}

/// What base64 makes of the value wherever it stands behind `before` bytes of another, modulo
/// three: the letters that no neighbour has a part in, in both alphabets.
fn in_base64(value: &[u8], before: usize) -> [Vec<u8>; 2] {
    let padded: Vec<u8> = std::iter::repeat_n(0, before)
        .chain(value.iter().copied())
        .collect();
    let own = (before * 8).div_ceil(6)..padded.len() * 8 / 6;
    [&STANDARD, &URL_SAFE].map(|alphabet| alphabet.encode(&padded).as_bytes()[own.clone()].to_vec())
}

/// Says whether people give this name to secrets: of a field, of a part of a query.
pub fn is_secret_name(name: &str) -> bool {
    // Anywhere in it, as in `x-apikey`.
    const PARTS: [&str; 11] = [
        "key",
        "secret",
        "password",
        "passwd",
        "passphrase",
        "authoriz",
        "credential",
        "cookie",
        "bearer",
        "session",
        "signature",
    ];
    // As a word of its own: `author` and `passage` are none.
    const WORDS: [&str; 10] = [
        "auth",
        "authn",
        "authentication",
        "oauth",
        "pwd",
        "pw",
        "pass",
        "jwt",
        "sig",
        "private",
    ];
    // Of the text, and not of the one who asks.
    const OF_TEXT: [&str; 7] = ["eos", "bos", "pad", "unk", "stop", "special", "max"];
    let lower = name.to_ascii_lowercase();
    let words = words(name);
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    let is_token = [words.first(), words.last()].contains(&Some(&"token".to_owned()));
    PARTS.iter().any(|part| lower.contains(part)) || has(&WORDS) || (is_token && !has(&OF_TEXT))
}

/// The words of a name, by what stands between them and by capitals, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut parted = String::new();
    let mut was_lower = false;
    for letter in name.chars() {
        if was_lower && letter.is_ascii_uppercase() {
            parted.push('_');
        }
        was_lower = letter.is_ascii_lowercase();
        parted.push(letter.to_ascii_lowercase());
    }
    parted
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .map(str::to_owned)
        .collect()
}

/// Says whether a text has a word in the form that services give to their keys.
pub fn looks_like_key(text: &str) -> bool {
    const STARTS: [&str; 16] = [
        "sk-",
        "sk_",
        "pk-",
        "rk_",
        "ghp_",
        "gho_",
        "ghs_",
        "github_pat_",
        "glpat-",
        "xoxb-",
        "xoxp-",
        "hf_",
        "gsk_",
        "nvapi-",
        "AIza",
        "eyJ",
    ];
    const LEAST_CHARS: usize = 16;
    text.split(|letter: char| letter.is_whitespace() || "\"'=:,;".contains(letter))
        .any(|word| {
            let is_access_key = (word.starts_with("AKIA") || word.starts_with("ASIA"))
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            word.len() >= LEAST_CHARS
                && (is_access_key || STARTS.iter().any(|start| word.starts_with(start)))
        })
        || text.contains("-----BEGIN")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-Aé/b+c=d\"7%41&x";

    fn masks(text: &str) -> String {
        Secrets::new([KEY, "hunter2"]).mask(text).into_owned()
    }

    #[test]
    fn a_secret_is_masked_in_every_writing() {
        let percent: String = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let twice = percent.replace('%', "%25");
        let json = serde_json::to_string(KEY).unwrap();
        let nested = serde_json::to_string(&json).unwrap();
        let unicode: String = KEY
            .chars()
            .map(|c| format!("\\u{:04x}", u32::from(c)))
            .collect();
        let html: String = KEY
            .chars()
            .map(|c| format!("&#{};", u32::from(c)))
            .collect();
        let slashes = KEY.replace('/', "\\/").replace('"', "&quot;");
        for written in [KEY, &percent, &twice, &unicode, &html, &slashes] {
            assert_eq!(
                masks(&format!("bad key {written}, sorry")),
                "bad key ***, sorry"
            );
            assert_eq!(masks(&format!("Bearer {written}")), "Bearer ***");
        }
        assert_eq!(masks(&json), "\"***\"");
        assert_eq!(masks(&nested), "\"\\\"***\\\"\"");
        assert_eq!(masks(&KEY.to_uppercase().replace('É', "é")), "***");
        assert_eq!(masks("a HUNTER2 b"), "a *** b");
    }

    #[test]
    fn a_secret_is_masked_in_base64_wherever_it_stands() {
        for before in ["", "u", "us", "user:"] {
            for after in ["", "!", "?!"] {
                for alphabet in [&STANDARD, &URL_SAFE] {
                    let shown = masks(&alphabet.encode(format!("{before}{KEY}{after}")));
                    assert!(
                        shown.contains(MASK) && shown.len() <= MASK.len() + 16,
                        "{shown}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_start_of_a_secret_is_masked_and_a_word_is_not() {
        assert_eq!(masks("cut: sk-Aé/b…"), "cut: ***…");
        assert_eq!(masks("sk-A is a start"), "sk-A is a start");
        let short = Secrets::new(["ollama", "abc12", ""]);
        assert_eq!(short.mask("ollama abc12"), "ollama abc12");
        assert_eq!(Secrets::default().mask("anything"), "anything");
        assert!(!format!("{:?}", Secrets::new([KEY])).contains(KEY));
    }

    #[test]
    fn a_secret_in_parts_is_masked_from_where_it_is_known() {
        let secrets = Secrets::new(["0123456789abcdef"]);
        let percent: String = "0123456789abcdef"
            .bytes()
            .map(|byte| format!("%25{byte:02x}"))
            .collect();
        let unicode = percent.replace("%25", "\\u00");
        for (size, written) in (1..20).flat_map(|size| {
            ["0123456789abcdef", &percent, &unicode].map(|written| (size, written.to_owned()))
        }) {
            let text = format!("so {written} {written}, and 01234 on");
            let text: Vec<char> = text.chars().collect();
            let mut part_mask = PartMask::default();
            let shown: String = text
                .chunks(size)
                .map(|part| part_mask.mask(&secrets, part.iter().collect()))
                .collect();
            for part in ["01234567", "89abcd", "%2538", "u0038"] {
                assert!(!shown.contains(part), "{size}: {shown}");
            }
            assert!(shown.ends_with(", and 01234 on"), "{size}: {shown}");
        }
    }

    #[test]
    fn a_text_that_is_made_to_be_slow_is_not() {
        let secrets = Secrets::new(["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "\\\\\\\\\\\\\\\\x"]);
        for part in ["aaaaaaa-", "\\", "%25", "a", "&#"] {
            secrets.mask(&part.repeat(20_000));
        }
    }

    #[test]
    fn names_and_values_of_secrets_are_told() {
        for name in [
            "auth",
            "Authorization",
            "x-api-key",
            "accessKey",
            "userAuth",
            "pwd",
            "session",
            "sig",
            "id_token",
            "token",
            "proxy_cookie",
            "private_key",
            "clientSecret",
            "passwd",
            "bearer",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "author",
            "max_tokens",
            "stop_token_ids",
            "eos_token",
            "top_k",
            "passage",
            "bypass_cache",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
        for value in [
            "sk-proj-0123456789abcdef",
            "ghp_0123456789abcdefghij",
            "eyJhbGciOiJIUzI1NiJ9.e30.x",
            "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x",
            "AKIAIOSFODNN7EXAMPLE",
        ] {
            assert!(looks_like_key(value), "{value}");
        }
        for value in [
            "sk-short",
            "an ordinary sentence",
            "meta-llama/Llama-3-8B-Instruct",
        ] {
            assert!(!looks_like_key(value), "{value}");
        }
    }
}
