//! A protocol that the user writes: a template of the request's body, and where in an event the text is.
//!
//! One file has both: a comment at its top with a setting a line, and the body below it.
//!
//! ```text
//! {# endpoint: /api/generate
//!    framing: sse
//!    text: /output/text
//!    output_tokens: /usage/output
//! #}
//! {"input": {{ prompt | tojson }}, "max_tokens": {{ max_tokens | tojson }}, "stream": true}
//! ```
//!
//! Places in an event are JSON pointers (RFC 6901).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use minijinja::value::{Serde, Value as Shown};
use minijinja::{Environment, UndefinedBehavior, context};
use serde_json::{Map, Value};

use super::error::TemplateError;
use super::flat::{FlatReader, GrowingText, ReadObject, Said};
use super::framing::Framing;
use super::lenient;
use super::protocol::{EventReader, ExactLength, Protocol};
use super::reading::Usage;
use super::request::{RequestInput, RequestSpec, written_over};
use super::sampling::SamplingFields;
use super::unread;
use crate::secrets::Secrets;

/// The name that plans have.
pub const TEMPLATE: &str = "template";

/// What ends most streams of server-sent events, and is no JSON.
const USUAL_MARK: &str = "[DONE]";

/// What a body can have.
const VALUES: [&str; 6] = [
    "model",
    "prompt",
    "messages",
    "max_tokens",
    "ignore_eos",
    "temperature",
];

/// The body's name in its environment.
const BODY: &str = "body";

/// Size of an event, in bytes, up to which it is read: its values take up to a hundred times the memory.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// The settings, in the order in which they are told.
const SETTINGS: [&str; 10] = [
    "endpoint",
    "framing",
    "text",
    "text_is",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "finish_reason",
    "error",
    "end_mark",
];

/// A template that is read.
#[derive(Debug)]
struct Template {
    body: Environment<'static>,
    endpoint: &'static str,
    framing: Framing,
    end_mark: Option<&'static str>,
    ends_with_its_body: bool,
    places: Arc<Places>,
    exact_length: ExactLength,
    has_limit: bool,
    is_chat: bool,
}

/// Where in an event things are, as JSON pointers.
#[derive(Debug)]
struct Places {
    text: String,
    /// Whether the text of each event begins with that of the one before.
    is_growing: bool,
    input_tokens: Option<String>,
    output_tokens: Option<String>,
    cached_tokens: Option<String>,
    finish_reason: Option<String>,
    error: Option<String>,
}

/// Reads a template. A protocol lives as long as the program, so each text is read once.
///
/// # Errors
///
/// [`TemplateError`] that says which part of it is wrong.
pub fn of_template(text: &str) -> Result<&'static dyn Protocol, TemplateError> {
    static READ: OnceLock<Mutex<BTreeMap<String, &'static Template>>> = OnceLock::new();
    let read = READ.get_or_init(Mutex::default);
    let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = read.get(text) {
        return Ok(*known);
    }
    let template: &'static Template = Box::leak(Box::new(Template::read(text)?));
    read.insert(text.to_owned(), template);
    Ok(template)
}

impl Template {
    fn read(text: &str) -> Result<Self, TemplateError> {
        let rest = text.trim_start().strip_prefix("{#");
        let (settings, body) = rest
            .and_then(|rest| rest.split_once("#}"))
            .ok_or(TemplateError::NoSettings)?;
        let mut given = settings_of(settings)?;
        let mut take = |name| given.remove(name);
        let pointer = |name, value: Option<String>| match value {
            Some(value) if !value.starts_with('/') => Err(TemplateError::Senseless {
                name,
                what: "a JSON pointer, such as `/output/text`",
            }),
            other => Ok(other),
        };
        let missing = |name, what| TemplateError::Senseless { name, what };
        let endpoint = take("endpoint").ok_or(missing("endpoint", "there"))?;
        let framing = match take("framing").as_deref() {
            None | Some("sse") => Framing::Sse,
            Some("json-lines") => Framing::JsonLines,
            Some("json") => Framing::Unary,
            Some(_) => return Err(missing("framing", "`sse`, `json-lines` or `json`")),
        };
        let is_growing = match take("text_is").as_deref() {
            None | Some("new") => false,
            Some("whole") => true,
            Some(_) => return Err(missing("text_is", "`new` or `whole`")),
        };
        let mut place = |name| pointer(name, take(name));
        let places = Places {
            text: place("text")?.ok_or(missing("text", "there"))?,
            is_growing,
            input_tokens: place("input_tokens")?,
            output_tokens: place("output_tokens")?,
            cached_tokens: place("cached_tokens")?,
            finish_reason: place("finish_reason")?,
            error: place("error")?,
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let wrong = |error: minijinja::Error| TemplateError::Body(error.to_string());
        environment
            .add_template_owned(BODY, body.trim().to_owned())
            .map_err(wrong)?;
        let used = environment.get_template(BODY).map_err(wrong)?;
        let used = used.undeclared_variables(false);
        if let Some(stray) = used.iter().find(|name| !VALUES.contains(&name.as_str())) {
            return Err(TemplateError::UnknownValue(stray.clone()));
        }
        let own_mark = take("end_mark").map(|mark| &*mark.leak());
        let usual_mark = (framing == Framing::Sse).then_some(USUAL_MARK);
        let ends_with_its_body = places.finish_reason.is_none() && own_mark.is_none();
        let template = Self {
            endpoint: endpoint.leak(),
            framing,
            end_mark: own_mark.or(usual_mark),
            ends_with_its_body,
            places: Arc::new(places),
            exact_length: match used.contains("ignore_eos") {
                true => ExactLength::Known,
                false => ExactLength::Never,
            },
            has_limit: used.contains("max_tokens"),
            is_chat: used.contains("messages"),
            body: environment,
        };
        template.check()?;
        Ok(template)
    }

    /// Makes a body with a limit and one without.
    fn check(&self) -> Result<(), TemplateError> {
        for (max_tokens, limit) in [(Some(8), "8"), (None, "none")] {
            let spec = RequestSpec {
                model: "model",
                input: RequestInput::Text("a \"word\"\n"),
                max_tokens,
                ignore_eos: max_tokens.is_some(),
                temperature: None,
                extra_body: &Map::new(),
            };
            let body = self.render(&spec)?;
            serde_json::from_str::<Map<String, Value>>(&body).map_err(|error| {
                TemplateError::NoObject {
                    limit,
                    reason: error.to_string(),
                }
            })?;
        }
        Ok(())
    }

    fn render(&self, spec: &RequestSpec<'_>) -> Result<String, TemplateError> {
        let values = context! {
            model => spec.model,
            prompt => spec.input.text(),
            messages => Shown::from(Serde(spec.input.messages())),
            max_tokens => spec.max_tokens,
            ignore_eos => spec.ignore_eos,
            temperature => spec.temperature,
        };
        let body = self.body.get_template(BODY);
        body.and_then(|body| body.render(values))
            .map_err(|error| TemplateError::Body(error.to_string()))
    }
}

/// Reads the settings, a line each.
fn settings_of(text: &str) -> Result<BTreeMap<&'static str, String>, TemplateError> {
    let mut given = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let unknown = || TemplateError::Unknown(line.chars().take(60).collect());
        let (name, value) = line.split_once(':').ok_or_else(unknown)?;
        let known = SETTINGS.into_iter().find(|known| *known == name.trim());
        given.insert(known.ok_or_else(unknown)?, value.trim().to_owned());
    }
    Ok(given)
}

impl Protocol for Template {
    fn name(&self) -> &'static str {
        TEMPLATE
    }

    fn about(&self) -> &'static str {
        "A protocol of one's own"
    }

    fn endpoint(&self) -> &'static str {
        self.endpoint
    }

    fn framing(&self) -> Framing {
        self.framing
    }

    fn end_mark(&self) -> Option<&'static str> {
        self.end_mark
    }

    fn ends_with_its_body(&self) -> bool {
        self.ends_with_its_body
    }

    fn is_chat(&self) -> bool {
        self.is_chat
    }

    fn exact_length(&self) -> ExactLength {
        self.exact_length
    }

    fn sampling(&self) -> SamplingFields {
        SamplingFields::NONE
    }

    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8> {
        // That it can be rendered was found out when it was read.
        let body = self.render(spec).unwrap_or_default();
        if spec.extra_body.is_empty() {
            return body.into_bytes();
        }
        let fields = serde_json::from_str(&body).unwrap_or_else(|_| Map::new());
        written_over(Value::Object(fields), spec, &[])
    }

    fn output_limit(&self, spec: &RequestSpec<'_>) -> Option<u32> {
        spec.max_tokens.filter(|_| self.has_limit)
    }

    fn reader(&self, keep_text: bool) -> Box<dyn EventReader> {
        let pointed = Pointed {
            places: Arc::clone(&self.places),
            text: GrowingText::default(),
        };
        Box::new(FlatReader::new(pointed, self.end_mark, keep_text))
    }
}

/// Reads events by the places of their template.
#[derive(Debug)]
struct Pointed {
    places: Arc<Places>,
    text: GrowingText,
}

impl ReadObject for Pointed {
    fn read<'a>(&mut self, data: &'a [u8]) -> Option<Said<'a>> {
        if data.len() > MAX_EVENT_BYTES {
            return Some(Said::default());
        }
        let event = lenient::any(data)?;
        let places = &self.places;
        let at = |place: &Option<String>| event.pointer(place.as_deref()?);
        let count = |place| at(place)?.as_u64().and_then(|n| u32::try_from(n).ok());
        let usage = Usage {
            input: count(&places.input_tokens),
            output: count(&places.output_tokens),
            reasoning: None,
            cached: count(&places.cached_tokens),
        };
        let text = event.pointer(&places.text);
        let is_known = text.is_some();
        let unread_text = match is_known {
            true => None,
            false => unread::text_in(data, &Secrets::default()),
        };
        let text = text.and_then(Value::as_str).map(str::to_owned);
        let text = text.map(Cow::Owned).map(|text| match places.is_growing {
            true => self.text.what_is_new(text),
            false => text,
        });
        let error = at(&places.error).filter(|error| !error.is_null());
        let error = error.map(Value::to_string);
        let finish_reason = at(&places.finish_reason).and_then(Value::as_str);
        Some(Said {
            text,
            usage: (usage != Usage::default()).then_some(usage),
            finish_reason: finish_reason.map(|reason| Cow::Owned(reason.to_owned())),
            is_known,
            unread_text,
            is_error: error.is_some(),
            error,
            ..Said::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::super::flat::{asked, read_in_every_way};
    use super::*;

    const OWN: &str = r#"{# endpoint: /api/generate
        text: /output/text
        input_tokens: /usage/in
        output_tokens: /usage/out
        finish_reason: /output/why
        error: /problem
        end_mark: END
    #}
    {"input": {{ prompt | tojson }}, "max": {{ max_tokens | tojson }}, "exact": {{ ignore_eos | tojson }}}"#;

    #[test]
    fn a_body_is_rendered_and_the_fields_of_the_user_are_laid_over_it() {
        let own = of_template(OWN).unwrap();
        assert_eq!(own.endpoint(), "/api/generate");
        assert_eq!(own.exact_length(), ExactLength::Known);
        let (body, limit) = asked(own, Some(8), &json!({}));
        assert_snapshot!(body, @r#"{"input": "hi", "max": 8, "exact": true}"#);
        assert_eq!(limit, Some(8));
        let (body, limit) = asked(own, None, &json!({ "top_k": 2 }));
        assert_snapshot!(body, @r#"{"input":"hi","max":null,"exact":false,"top_k":2}"#);
        assert_eq!(limit, None);
        let plain =
            of_template("{# endpoint: /x\ntext: /t #}{\"p\": {{ messages | tojson }}}").unwrap();
        assert_eq!(plain.exact_length(), ExactLength::Never);
        let (body, limit) = asked(plain, Some(8), &json!({}));
        assert_snapshot!(body, @r#"{"p": [{"role": "user", "content": "hi"}]}"#);
        assert_eq!(limit, None);
    }

    #[test]
    fn events_are_read_at_their_places() {
        let (events, _) = read_in_every_way(
            of_template(OWN).unwrap(),
            concat!(
                "data: {\"output\":{\"text\":\" a\"},\"usage\":{\"in\":3,\"out\":1}}\n\n",
                "data: {\"output\":{\"text\":\"\"}}\n\n",
                "data: {\"other\":1}\n\n",
                "data: {\"output\":{\"text\":\"é\",\"why\":\"length\"},\"usage\":{\"in\":3,\"out\":2}}\n\n",
                "data: {\"problem\":{\"message\":\"no\"}}\n\n",
                "data: END\n\n",
            ),
        );
        assert_snapshot!(events, @r#"
        content 1 by Usage usage 3/1/-/- text " a"
        empty
        other
        content 1 by Usage usage 3/2/-/- text "é" finish "length"
        error error "no None"
        done done ""
        "#);
        let growing = "{# endpoint: /x\nframing: json-lines\ntext: /t\ntext_is: whole #}{}";
        let (events, _) = read_in_every_way(
            of_template(growing).unwrap(),
            "{\"t\":\"a\"}\n{\"t\":\"a b\"}\n{\"t\":\"a b\"}\n",
        );
        assert_snapshot!(events, @r#"
        content 1 by Event text "a"
        content 1 by Event text " b"
        empty
        "#);
    }

    #[test]
    fn what_is_wrong_with_a_template_is_named() {
        let error = |text: &str| of_template(text).unwrap_err().to_string();
        let errors = [
            "{}",
            "{# endpoint: /x #}{}",
            "{# text: /t #}{}",
            "{# endpoint: /x\ntext: output #}{}",
            "{# endpoint: /x\ntext: /t\ncolour: red #}{}",
            "{# endpoint: /x\ntext: /t\nframing: tcp #}{}",
            "{# endpoint: /x\ntext: /t #}{\"p\": {{ promt }}}",
            "{# endpoint: /x\ntext: /t #}{\"p\": {{ }",
            "{# endpoint: /x\ntext: /t #}{\"p\": {{ prompt }}}",
            "{# endpoint: /x\ntext: /t #}{\"m\": {{ max_tokens }}}",
        ]
        .map(error);
        assert_snapshot!(errors.join("\n"), @r#"
        it does not begin with a comment that has the settings
        its setting `text` is not there
        its setting `endpoint` is not there
        its setting `text` is not a JSON pointer, such as `/output/text`
        its setting `colour: red` is not known
        its setting `framing` is not `sse`, `json-lines` or `json`
        its body has `promt`, and there is no such value
        its body can't be rendered: syntax error: unexpected `}` (in body:1)
        its body is no JSON object where a request has a limit of 8 (values are written with `| tojson`): expected value at line 1 column 7
        its body is no JSON object where a request has a limit of none (values are written with `| tojson`): expected value at line 1 column 7
        "#);
    }
}
