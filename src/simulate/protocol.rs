//! What a request asks for, and how one is refused; pure.
//!
//! Refusals have the status codes and the JSON shape of vLLM, so that a client which is tried
//! against this server has met the real one's.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::draw;
use super::engine::{Finish, Rejection};
use super::settings::ServerSettings;
use super::template::{Api, UsageEvents};

/// Place of the seed of rejections among what is drawn from the server's.
const REJECTIONS: u64 = u64::MAX;

/// A request, understood and found possible.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    /// The model as the request names it.
    pub(super) model: String,
    pub(super) input_tokens: u32,
    pub(super) output_tokens: u32,
    /// What the last token means.
    pub(super) finish: Finish,
    pub(super) is_streamed: bool,
    pub(super) usage: UsageEvents,
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    /// What is wrong with it, and what would be right.
    pub(super) message: String,
    /// After how many seconds it may be tried again, where that is said.
    pub(super) retry_after_s: Option<u32>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after_s: None,
        }
    }

    /// The body has more bytes than may be.
    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("The body has more than {limit} bytes (`--max-body-bytes`).");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// The draw of this request says so; `None` where it does not.
    pub(super) fn by_chance(settings: &ServerSettings, request: u64) -> Option<Self> {
        // Other draws of a request are from the seed itself.
        let seed = draw::bits(settings.engine.seed, REJECTIONS);
        let is_rejected = draw::unit(seed, request) < settings.reject_rate;
        is_rejected.then(|| Self {
            retry_after_s: Some(1),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "The server is busy (`--reject-rate`). Try again later.",
            )
        })
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The status code of the response.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body of the response, an error object of the OpenAI API.
    pub(super) fn body(&self) -> String {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => "AuthenticationError",
            StatusCode::NOT_FOUND => "NotFoundError",
            StatusCode::TOO_MANY_REQUESTS => "RateLimitError",
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailableError",
            _ => "BadRequestError",
        };
        json!({
            "error": {
                "message": self.message,
                "type": kind,
                "param": null,
                "code": self.status.as_u16(),
            }
        })
        .to_string()
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::QueueFull => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "The queue is full (`--max-queue`). Try again later.",
            ),
            Rejection::TooLarge {
                needed_tokens,
                capacity_tokens,
            } => Self::bad_request(format!(
                "The prompt and its answer need {needed_tokens} tokens of key-value cache, which \
                 holds {capacity_tokens} (`--kv-tokens`)."
            )),
        }
    }
}

/// Refuses who bears no key, or a wrong one, where one is needed. `borne` is the request's
/// `Authorization`.
pub(super) fn authorize(settings: &ServerSettings, borne: Option<&str>) -> Result<(), Refusal> {
    let Some(key) = &settings.api_key else {
        return Ok(());
    };
    let given = borne.and_then(|value| value.strip_prefix("Bearer "));
    if given == Some(key.as_str()) {
        Ok(())
    } else {
        let message = "The request bears no key, or a wrong one: send `Authorization: Bearer`.";
        Err(Refusal::new(StatusCode::UNAUTHORIZED, message))
    }
}

/// Understands the body of a request; `request` is its number, which its draws depend on.
pub(super) fn parse(
    api: Api,
    body: &[u8],
    settings: &ServerSettings,
    request: u64,
) -> Result<Ask, Refusal> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("The body can't be read: {error}.")))?;
    let model = match (&body.model, &settings.served_model_name) {
        (Some(asked), Some(served)) if asked != served => {
            let message = format!("The model `{asked}` does not exist.");
            return Err(Refusal::new(StatusCode::NOT_FOUND, message));
        }
        (Some(asked), _) => asked.clone(),
        (None, _) => settings.model().to_owned(),
    };
    if body.n.unwrap_or(1) != 1 || body.best_of.unwrap_or(1) != 1 {
        return Err(Refusal::bad_request(
            "`n` and `best_of` must be 1: one answer a request is simulated.",
        ));
    }
    let input_tokens = body.input_tokens(api)?;
    let (output_tokens, finish) = body.output(settings, input_tokens, request)?;
    let options = body.stream_options.unwrap_or_default();
    let usage = match (options.include_usage, options.continuous_usage_stats) {
        (Some(true), Some(true)) => UsageEvents::Every,
        (Some(true), _) => UsageEvents::Last,
        _ => UsageEvents::None,
    };
    Ok(Ask {
        model,
        input_tokens,
        output_tokens,
        finish,
        is_streamed: body.stream.unwrap_or(false),
        usage,
    })
}

/// Answers how many tokens a prompt, or the messages of a chat, have, as vLLM does at `/tokenize`; there are no
/// token ids that it could name.
pub(super) fn tokenize(body: &[u8], settings: &ServerSettings) -> Result<Value, Refusal> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("The body can't be read: {error}.")))?;
    let api = match body.messages {
        Some(_) => Api::Chat,
        None => Api::Completions,
    };
    let count = body.input_tokens(api)?;
    Ok(json!({ "count": count, "max_model_len": settings.max_model_len }))
}

/// The fields that matter here; all others are taken and ignored, as a real server does with
/// those that change no count.
#[derive(Debug, Deserialize)]
struct Body {
    model: Option<String>,
    prompt: Option<Prompt>,
    messages: Option<Vec<Message>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    min_tokens: Option<i64>,
    ignore_eos: Option<bool>,
    n: Option<u32>,
    best_of: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "`prompt` must be a text, or a list of token ids"
)]
enum Prompt {
    Text(String),
    Ids(Vec<u32>),
    Texts(Vec<String>),
    IdLists(Vec<Vec<u32>>),
}

#[derive(Debug, Deserialize)]
struct Message {
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "`content` must be a text, or a list of parts with `text`"
)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

impl Body {
    /// Counts the prompt: words of a text, entries of a list of ids. Roles cost nothing.
    fn input_tokens(&self, api: Api) -> Result<u32, Refusal> {
        let tokens = match (api, &self.messages, &self.prompt) {
            (Api::Chat, Some(messages), _) if !messages.is_empty() => {
                messages.iter().map(Message::words).sum()
            }
            (Api::Chat, ..) => {
                return Err(Refusal::bad_request("`messages` must have at least one."));
            }
            (Api::Completions, _, Some(prompt)) => prompt.tokens()?,
            (Api::Completions, ..) => {
                return Err(Refusal::bad_request("`prompt` is missing."));
            }
        };
        // Even an empty prompt has its start token.
        u32::try_from(tokens.max(1))
            .map_err(|_| Refusal::bad_request("The prompt has more tokens than can be counted."))
    }

    /// Decides how long the answer is, and whether it ends by itself.
    fn output(
        &self,
        settings: &ServerSettings,
        input_tokens: u32,
        request: u64,
    ) -> Result<(u32, Finish), Refusal> {
        let max_model_len = settings.max_model_len;
        let room = max_model_len.saturating_sub(input_tokens);
        let limit = match self.max_completion_tokens.or(self.max_tokens) {
            Some(asked) => asked,
            None => i64::from(settings.output_tokens.min(room.max(1))),
        };
        if limit < 1 {
            return Err(Refusal::bad_request(format!(
                "`max_tokens` must be at least 1, got {limit}."
            )));
        }
        let total = limit.saturating_add(i64::from(input_tokens));
        let limit = match u32::try_from(limit) {
            Ok(limit) if limit <= room => limit,
            _ => {
                return Err(Refusal::bad_request(format!(
                    "This model's maximum context length is {max_model_len} tokens. However, you \
                     requested {total} tokens ({input_tokens} in the prompt, {limit} in the \
                     completion). Please reduce the length of the prompt or of the completion."
                )));
            }
        };
        let Some(mean) = settings.stop_mean.filter(|_| self.ignore_eos != Some(true)) else {
            return Ok((limit, Finish::Length));
        };
        let least = u32::try_from(self.min_tokens.unwrap_or(0)).unwrap_or(0);
        let length = geometric(mean, draw::unit(!settings.engine.seed, request)).max(least);
        if length < limit {
            Ok((length, Finish::Stop))
        } else {
            Ok((limit, Finish::Length))
        }
    }
}

impl Message {
    fn words(&self) -> usize {
        match &self.content {
            None => 0,
            Some(Content::Text(text)) => words(text),
            Some(Content::Parts(parts)) => {
                let texts = parts.iter().filter_map(|part| part.text.as_deref());
                texts.map(words).sum()
            }
        }
    }
}

impl Prompt {
    fn tokens(&self) -> Result<usize, Refusal> {
        match self {
            Self::Text(text) => Ok(words(text)),
            Self::Ids(ids) => Ok(ids.len()),
            Self::Texts(texts) if texts.len() == 1 => Ok(texts.iter().map(|t| words(t)).sum()),
            Self::IdLists(lists) if lists.len() == 1 => Ok(lists.iter().map(Vec::len).sum()),
            Self::Texts(_) | Self::IdLists(_) => Err(Refusal::bad_request(
                "`prompt` must be one prompt: send a request for each.",
            )),
        }
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Turns a draw from 0 to 1 into a length of at least 1 with this mean.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and the number is at least 1"
)]
fn geometric(mean: u32, draw: f64) -> u32 {
    let stay = 1.0 - 1.0 / f64::from(mean);
    (1.0 + ((1.0 - draw).ln() / stay.ln()).floor()) as u32
}

/// Renders the answer of `/v1/models`.
pub(super) fn models(settings: &ServerSettings, created_s: i64) -> Value {
    json!({
        "object": "list",
        "data": [{
            "id": settings.model(),
            "object": "model",
            "created": created_s,
            "owned_by": "tokentape",
            "root": settings.model(),
            "parent": null,
            "max_model_len": settings.max_model_len,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(api: Api, body: &Value, settings: &ServerSettings) -> Result<Ask, Refusal> {
        parse(api, body.to_string().as_bytes(), settings, 0)
    }

    fn completion(body: &Value) -> Result<Ask, Refusal> {
        ask(Api::Completions, body, &ServerSettings::default())
    }

    #[test]
    fn a_prompt_counts_by_words_or_by_ids() {
        let tokens =
            |prompt: Value| completion(&json!({"prompt": prompt})).map(|ask| ask.input_tokens);
        assert_eq!(tokens(json!("  one two\nthree ")), Ok(3));
        assert_eq!(tokens(json!([5, 6, 7, 8])), Ok(4));
        assert_eq!(tokens(json!(["one two"])), Ok(2));
        assert_eq!(tokens(json!([[1, 2, 3]])), Ok(3));
        assert_eq!(tokens(json!("")), Ok(1));
        assert!(tokens(json!(["one", "two"])).is_err());
        assert!(tokens(json!({"text": "one"})).is_err());
        assert!(completion(&json!({})).is_err());
    }

    #[test]
    fn messages_count_by_the_words_of_their_texts() {
        let messages = json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "one two three"}, {"type": "image_url"}]},
            {"role": "assistant", "content": null},
        ]);
        let settings = ServerSettings::default();
        let asked = ask(Api::Chat, &json!({"messages": messages}), &settings).unwrap();
        assert_eq!((asked.input_tokens, asked.output_tokens), (5, 128));
        assert!(ask(Api::Chat, &json!({"messages": []}), &settings).is_err());
    }

    #[test]
    fn the_limit_is_the_length_unless_answers_may_stop() {
        let body = json!({"prompt": "one", "max_tokens": 900});
        let asked = completion(&body).unwrap();
        assert_eq!((asked.output_tokens, asked.finish), (900, Finish::Length));

        let settings = ServerSettings {
            stop_mean: Some(50),
            ..ServerSettings::default()
        };
        let lengths: Vec<u32> = (0..2_000)
            .map(|request| {
                let body = body.to_string();
                let ask = parse(Api::Completions, body.as_bytes(), &settings, request).unwrap();
                assert_eq!(ask.finish == Finish::Stop, ask.output_tokens < 900);
                ask.output_tokens
            })
            .collect();
        let mean = lengths.iter().sum::<u32>() / 2_000;
        assert!((45..=55).contains(&mean), "{mean}");
        assert!(lengths.iter().all(|length| *length >= 1));
        let ignoring = json!({"prompt": "one", "max_tokens": 9, "ignore_eos": true});
        let asked = ask(Api::Completions, &ignoring, &settings).unwrap();
        assert_eq!((asked.output_tokens, asked.finish), (9, Finish::Length));
    }

    #[test]
    fn the_context_has_a_limit_that_the_refusal_names() {
        let settings = ServerSettings {
            max_model_len: 10,
            ..ServerSettings::default()
        };
        let ask_for = |max_tokens: Value| {
            let body = json!({"prompt": "a b c d", "max_tokens": max_tokens});
            ask(Api::Completions, &body, &settings)
        };
        assert_eq!(ask_for(json!(6)).map(|ask| ask.output_tokens), Ok(6));
        assert_eq!(ask_for(json!(null)).map(|ask| ask.output_tokens), Ok(6));
        let refusal = ask_for(json!(7)).unwrap_err();
        assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
        assert!(
            refusal.message.contains("requested 11 tokens"),
            "{}",
            refusal.message
        );
        assert!(ask_for(json!(0)).is_err());
        let full = json!({"prompt": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]});
        assert!(ask(Api::Completions, &full, &settings).is_err());
    }

    #[test]
    fn a_share_of_the_requests_is_rejected_by_the_seed() {
        let mut settings = ServerSettings::default();
        let rejected = |settings: &ServerSettings| -> Vec<u64> {
            let is_rejected = |request: &u64| Refusal::by_chance(settings, *request).is_some();
            (0..2_000).filter(is_rejected).collect()
        };
        assert_eq!(rejected(&settings), [0; 0]);
        settings.reject_rate = 0.25;
        let first = rejected(&settings);
        assert!((400..600).contains(&first.len()), "{}", first.len());
        assert_eq!(rejected(&settings), first);
        settings.engine.seed = 1;
        assert_ne!(rejected(&settings), first);
        settings.reject_rate = 1.0;
        assert_eq!(rejected(&settings).len(), 2_000);
        let refusal = Refusal::by_chance(&settings, 0).unwrap();
        assert_eq!(
            (refusal.status().as_u16(), refusal.retry_after_s),
            (429, Some(1))
        );
    }

    #[test]
    fn what_can_not_be_answered_is_refused_by_name() {
        let refusal = completion(&json!({"prompt": "one", "n": 2})).unwrap_err();
        assert!(refusal.message.contains("`n`"));
        let refusal = parse(Api::Chat, b"{\"messages\": ", &ServerSettings::default(), 0);
        assert_eq!(refusal.unwrap_err().status(), StatusCode::BAD_REQUEST);
        let settings = ServerSettings {
            served_model_name: Some("known".to_owned()),
            ..ServerSettings::default()
        };
        let body = json!({"prompt": "one", "model": "unknown"});
        let refusal = ask(Api::Completions, &body, &settings).unwrap_err();
        assert_eq!(refusal.status(), StatusCode::NOT_FOUND);
        let body: Value = serde_json::from_str(&refusal.body()).unwrap();
        assert_eq!(body["error"]["code"], 404);
        assert_eq!(
            body["error"]["message"],
            "The model `unknown` does not exist."
        );
    }
}
