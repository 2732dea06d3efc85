//! Chat templates: how a server makes one text of the messages of a request.
//!
//! A template is one of the model's files, in Jinja, rendered as `apply_chat_template` of Hugging
//! Face's transformers does: a tag's line is no line of the text, `raise_exception`,
//! `strftime_now` and a `tojson` in Python's spelling are there, and so are the methods of Python's
//! strings, lists and objects. What it makes has the beginning-of-text token in it, where the model
//! has one, so that none is added when it is tokenized.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Shown};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::{Map, Value, json};

use super::error::WorkloadError;
use super::python_json::to_json;

/// The file that newer models have their template in.
const FILE: &str = "chat_template.jinja";

/// The file that has it, and the model's special tokens, otherwise.
const CONFIG: &str = "tokenizer_config.json";

/// The template for messages alone, and the one for messages with tools, where a model has both.
const NAMES: [&str; 2] = ["default", "tool_use"];

/// Instructions that one rendering may take: a template without an end must not stop a run.
const FUEL: u64 = 50_000_000;

/// Bytes of a file at most.
const MAX_BYTES: u64 = 16 << 20;

/// What a server does with the messages of a request before it tokenizes them.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Where it is from.
    path: PathBuf,
    /// The model's special tokens, such as `bos_token`.
    special_tokens: Vec<(String, Shown)>,
    content: ContentForm,
}

/// In which form a template takes the content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContentForm {
    /// As a text; parts are put together, a line each, as vLLM does.
    Text,
    /// As parts; a text is the one part.
    Parts,
    /// As either.
    Any,
}

/// What a template is rendered with, beside the messages.
#[derive(Debug, Clone, Default)]
pub struct ChatFields<'a> {
    /// The tools, each with its `function`.
    tools: Option<Value>,
    documents: Option<&'a Value>,
    /// Further values by their names.
    kwargs: Option<&'a Map<String, Value>>,
}

impl<'a> ChatFields<'a> {
    /// Takes them from the body of a request: `tools`, `documents` and `chat_template_kwargs`, as vLLM
    /// and SGLang do.
    pub fn of_body(body: &'a Map<String, Value>) -> Self {
        let tools = body.get("tools").and_then(Value::as_array);
        let tools = tools.filter(|tools| !tools.is_empty());
        Self {
            tools: tools.map(|tools| tools.iter().map(function_tool).collect()),
            documents: body
                .get("documents")
                .filter(|documents| documents.is_array()),
            kwargs: body.get("chat_template_kwargs").and_then(Value::as_object),
        }
    }
}

/// A tool as templates have it, with its fields in vLLM's order. Chat has the function under `function`, Responses beside `type`, and
/// Messages with its parameters as `input_schema`.
fn function_tool(tool: &Value) -> Value {
    let function = match &tool["function"] {
        Value::Null => tool,
        function => function,
    };
    let parameters = function
        .get("parameters")
        .or_else(|| function.get("input_schema"));
    let field = |name: &str| function.get(name).cloned().unwrap_or_default();
    let mut tool = json!({
        "type": "function",
        "function": {
            "name": field("name"),
            "description": field("description"),
            "parameters": parameters.cloned().unwrap_or_default(),
        },
    });
    if let Some(strict) = function.get("strict").filter(|strict| !strict.is_null()) {
        tool["function"]["strict"] = strict.clone();
    }
    tool
}

impl ChatTemplate {
    /// Looks for a model's template in its folder. `None` where it has none.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::ChatTemplate`] for a file that is no template, or no JSON.
    pub fn of_folder(folder: &Path) -> Result<Option<Self>, WorkloadError> {
        let config_path = folder.join(CONFIG);
        let config = read_json(&config_path)?.unwrap_or_default();
        let special_tokens = special_tokens(&config);
        let file = folder.join(FILE);
        if let Some(text) = read_text(&file)? {
            return Self::new(file, &[(NAMES[0], text)], special_tokens).map(Some);
        }
        let texts = named_templates(&config);
        match texts.is_empty() {
            true => Ok(None),
            false => Self::new(config_path, &texts, special_tokens).map(Some),
        }
    }

    /// Reads a template from a file, with the special tokens of the model in `folder`.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::ChatTemplate`] for a file that can't be read, or is no template.
    pub fn of_file(path: &Path, folder: Option<&Path>) -> Result<Self, WorkloadError> {
        let config = match folder {
            Some(folder) => read_json(&folder.join(CONFIG))?,
            None => None,
        };
        let text = read_text(path)?.ok_or_else(|| wrong(path, "it does not exist"))?;
        let special_tokens = special_tokens(&config.unwrap_or_default());
        Self::new(path.to_owned(), &[(NAMES[0], text)], special_tokens)
    }

    fn new(
        path: PathBuf,
        texts: &[(&'static str, String)],
        special_tokens: Vec<(String, Shown)>,
    ) -> Result<Self, WorkloadError> {
        let mut environment = environment();
        for (name, text) in texts {
            environment
                .add_template_owned(*name, without_generation_tags(text))
                .map_err(|error| wrong(&path, said(&error)))?;
        }
        let mut template = Self {
            environment,
            path,
            special_tokens,
            content: ContentForm::Any,
        };
        template.content = template
            .content_form()
            .ok_or_else(|| wrong(&template.path, "what it makes does not have the messages"))?;
        Ok(template)
    }

    /// Returns the file that it is from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the text that a server makes of messages, up to where the answer begins.
    ///
    /// # Errors
    ///
    /// What the template says where it refuses the messages, with its file and line.
    pub fn render(
        &self,
        messages: &[Value],
        fields: &ChatFields<'_>,
    ) -> Result<String, WorkloadError> {
        let messages = messages.iter().map(|message| self.message(message));
        self.rendered(Value::Array(messages.collect()), fields)
            .map_err(|error| wrong(&self.path, said(&error)))
    }

    fn rendered(&self, messages: Value, fields: &ChatFields<'_>) -> Result<String, Error> {
        let wants_tools = fields.tools.is_some();
        let (tool_use, default) = (NAMES[1], NAMES[0]);
        let template = match self.environment.get_template(tool_use) {
            Ok(template) if wants_tools => template,
            _ => self.environment.get_template(default)?,
        };
        let mut context: Vec<(String, Shown)> = self.special_tokens.clone();
        let optional =
            |value: Option<&Value>| value.map_or_else(|| ().into(), |value| Serde(value).into());
        context.push(("messages".to_owned(), Serde(messages).into()));
        context.push(("tools".to_owned(), optional(fields.tools.as_ref())));
        context.push(("documents".to_owned(), optional(fields.documents)));
        context.push(("add_generation_prompt".to_owned(), true.into()));
        let kwargs = fields.kwargs.into_iter().flatten();
        context.extend(kwargs.map(|(name, value)| (name.clone(), Serde(value).into())));
        template.render(context.into_iter().collect::<BTreeMap<_, _>>())
    }

    /// A message in the form that the template takes, as servers bring it there.
    fn message(&self, message: &Value) -> Value {
        let mut message = message.clone();
        let Some(fields) = message.as_object_mut() else {
            return message;
        };
        if let Some(content) = fields.get_mut("content") {
            match (self.content, &*content) {
                (ContentForm::Text, Value::Array(parts)) => *content = joined(parts).into(),
                (ContentForm::Parts, Value::String(text)) => {
                    *content = json!([{ "type": "text", "text": text }]);
                }
                _ => {}
            }
        }
        let calls = fields.get_mut("tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten() {
            // Requests have them as a text, and templates as an object.
            let arguments = call.pointer_mut("/function/arguments");
            if let Some(arguments) = arguments
                && let Some(text) = arguments.as_str()
                && let Ok(object) = serde_json::from_str::<Map<String, Value>>(text)
            {
                *arguments = object.into();
            }
        }
        message
    }

    /// Finds out in which form contents are taken, by what becomes of a word; `None` where it is lost in
    /// either. A template that refuses the word is taken to have a text.
    fn content_form(&self) -> Option<ContentForm> {
        const WORD: &str = "tokentape";
        let shows = |content: Value| {
            let messages = json!([{ "role": "user", "content": content }]);
            let text = self.rendered(messages, &ChatFields::default());
            text.map(|text| text.contains(WORD) && !text.contains("'type'"))
        };
        let takes_text = shows(WORD.into()).unwrap_or(true);
        let takes_parts = shows(json!([{ "type": "text", "text": WORD }])).unwrap_or(false);
        match (takes_text, takes_parts) {
            (false, false) => None,
            (false, true) => Some(ContentForm::Parts),
            (true, true) => Some(ContentForm::Any),
            (true, false) => Some(ContentForm::Text),
        }
    }
}

/// The texts of parts, a line each.
fn joined(parts: &[Value]) -> String {
    let texts = parts.iter().filter_map(|part| part["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.expect("the usual tags differ"));
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_filter("tojson", to_json);
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<Shown, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    environment.add_function("strftime_now", |format: String| {
        chrono::Local::now().format(&format).to_string()
    });
    environment
}

/// What a template engine says of an error, with the line where it is.
fn said(error: &Error) -> String {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    }
}

fn wrong(path: &Path, message: impl Into<String>) -> WorkloadError {
    WorkloadError::ChatTemplate {
        path: path.to_owned(),
        message: message.into(),
    }
}

/// Reads a small file; `None` where there is none.
fn read_text(path: &Path) -> Result<Option<String>, WorkloadError> {
    let unread = |error: std::io::Error| wrong(path, error.to_string());
    match fs::metadata(path) {
        Ok(about) if about.len() > MAX_BYTES => {
            Err(wrong(path, format!("it is over {} MiB", MAX_BYTES >> 20)))
        }
        Ok(_) => fs::read_to_string(path).map(Some).map_err(unread),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unread(error)),
    }
}

fn read_json(path: &Path) -> Result<Option<Value>, WorkloadError> {
    let Some(text) = read_text(path)? else {
        return Ok(None);
    };
    let read = serde_json::from_str(&text);
    read.map(Some)
        .map_err(|error| wrong(path, error.to_string()))
}

/// The templates in a configuration: one text, or a list of them with their names.
fn named_templates(config: &Value) -> Vec<(&'static str, String)> {
    match &config["chat_template"] {
        Value::String(text) => vec![(NAMES[0], text.clone())],
        Value::Array(all) => {
            let text_of = |name| all.iter().find(|one| one["name"] == name)?["template"].as_str();
            let named = NAMES.into_iter();
            named
                .filter_map(|name| Some((name, text_of(name)?.to_owned())))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// The special tokens in a configuration: each a text, or an object with one.
fn special_tokens(config: &Value) -> Vec<(String, Shown)> {
    let fields = config.as_object().into_iter().flatten();
    let token = |value: &Value| -> Option<Shown> {
        let text = value.as_str().or_else(|| value["content"].as_str())?;
        Some(Shown::from(text))
    };
    fields
        .filter(|(name, _)| name.ends_with("_token"))
        .filter_map(|(name, value)| Some((name.clone(), token(value)?)))
        .collect()
}

/// Some templates mark what the assistant says by tags of transformers' own, which change no text.
fn without_generation_tags(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        plain.push_str(before);
        let inner = tag.trim_start_matches("{%").trim_end_matches("%}");
        match inner.trim_matches(['-', '+', ' ', '\t', '\n']) {
            "generation" => plain.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => plain.push_str(&tag.replace("endgeneration", "endif")),
            _ => plain.push_str(tag),
        }
        rest = after;
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::path::Path;
    use std::sync::Arc;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::testing::shared_file;
    use crate::workload::{PromptCounter, PromptForm, Tokenizer, Workload};

    /// Made to use what templates of many models use; what it makes of these messages in transformers
    /// 5.23 is what the tests expect.
    const TEMPLATE: &str = include_str!("chat_template/test.jinja");

    fn of(files: &[(&str, &str)]) -> Result<Option<ChatTemplate>, WorkloadError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        ChatTemplate::of_folder(folder.path())
    }

    fn rendered(template: &ChatTemplate, messages: &Value, body: &Value) -> String {
        let fields = ChatFields::of_body(body.as_object().unwrap());
        let messages = messages.as_array().unwrap();
        template.render(messages, &fields).unwrap()
    }

    fn said_of(error: &WorkloadError) -> String {
        let text = error.to_string();
        let (_, message) = text.split_once("`: ").unwrap();
        message.to_owned()
    }

    const CONFIG_TEXT: &str = r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "unk_token": null}"#;

    #[test]
    fn a_template_is_rendered_as_transformers_renders_it() {
        let files = [(FILE, TEMPLATE), (CONFIG, CONFIG_TEXT)];
        let template = of(&files).unwrap().unwrap();
        let parts = json!([{ "type": "text", "text": "p" }, { "type": "image" }, { "type": "text", "text": "q" }]);
        let messages = json!([
            { "role": "user", "content": " a\nb " },
            { "role": "assistant", "content": " x|--y " },
            { "role": "user", "content": parts },
        ]);
        assert_eq!(
            rendered(&template, &messages, &json!({})),
            "<s>[4]\n<USER>a\nb\ny</s>p;q;True None [1, 'a', True] {'k': None} 1.0 3  >>"
        );
        let tool = json!({ "type": "function", "function": { "name": "w", "parameters": { "z": 1, "a": [] } } });
        assert_eq!(
            rendered(&template, &messages, &json!({ "tools": [tool] })),
            "<s>[4]\n<USER>a\nb\ny</s>p;q;True None [1, 'a', True] {'k': None} 1.0 3  [\n    {\n        \
             \"type\": \"function\",\n        \"function\": {\n            \"name\": \"w\",\n            \
             \"description\": null,\n            \"parameters\": {\n                \"z\": 1,\n                \
             \"a\": []\n            }\n        }\n    }\n] >>"
        );
        let refused = [json!({ "role": "tool", "content": "x" })];
        let error = template.render(&refused, &ChatFields::default());
        insta::assert_snapshot!(said_of(&error.unwrap_err()), @"line 19: the last message is a tool's");
    }

    #[test]
    fn the_template_of_qwen3_makes_what_transformers_makes_of_it() {
        let Some(config) = shared_file("tokenizers/qwen3/tokenizer_config.json") else {
            return;
        };
        let template = ChatTemplate::of_folder(config.parent().unwrap())
            .unwrap()
            .unwrap();
        let user = json!([{ "role": "user", "content": "Hi" }]);
        let system = json!([
            { "role": "system", "content": "Be short." },
            { "role": "user", "content": "Hi" },
            { "role": "assistant", "content": "<think>\nhm\n</think>\n\nHello" },
            { "role": "user", "content": "\u{4f60}\u{597d}" },
        ]);
        let arguments = r#"{"city": "K\u00f6ln", "n": 1.5}"#;
        let call =
            json!({ "type": "function", "function": { "name": "w", "arguments": arguments } });
        let tool = json!([
            { "role": "user", "content": "Weather?" },
            { "role": "assistant", "content": "", "tool_calls": [call] },
            { "role": "tool", "content": "rain" },
            { "role": "user", "content": "ok" },
        ]);
        let tools = json!([{ "type": "function", "function": {
            "name": "w",
            "description": "Weather <b>",
            "parameters": {
                "type": "object",
                "properties": { "z": { "type": "string" }, "a": { "type": "number" } },
                "required": ["z"],
            },
        } }]);
        let bodies = [
            json!({}),
            json!({ "chat_template_kwargs": { "enable_thinking": false } }),
            json!({ "tools": tools }),
        ];
        let lengths = [&user, &system, &tool].map(|messages| {
            bodies
                .each_ref()
                .map(|body| rendered(&template, messages, body).chars().count())
        });
        assert_eq!(lengths, [[52, 71, 650], [159, 178, 729], [265, 284, 863]]);
        let with_tools = rendered(&template, &tool, &bodies[2]);
        assert!(with_tools.contains(
            "<tools>\n{\"type\": \"function\", \"function\": {\"name\": \"w\", \"description\": \"Weather <b>\", \
             \"parameters\": {\"type\": \"object\", \"properties\": {\"z\": {\"type\": \"string\"}, \"a\": \
             {\"type\": \"number\"}}, \"required\": [\"z\"]}}}\n</tools>\n"
        ));
        assert!(with_tools.ends_with(
            "<tool_call>\n{\"name\": \"w\", \"arguments\": {\"city\": \"K\u{f6}ln\", \"n\": 1.5}}\n</tool_call><|im_end|>\n\
             <|im_start|>user\n<tool_response>\nrain\n</tool_response><|im_end|>\n<|im_start|>user\nok<|im_end|>\n\
             <|im_start|>assistant\n"
        ));
    }

    #[test]
    fn contents_come_in_the_form_that_a_template_takes() {
        let of_text = "{% for m in messages %}{{ m.content + '!' }}{% endfor %}";
        let of_parts =
            "{% for m in messages %}{% for p in m.content %}{{ p.text }}!{% endfor %}{% endfor %}";
        let parts = json!([{ "role": "user", "content": [
            { "type": "text", "text": "a" }, { "type": "image_url" }, { "type": "text", "text": "b" },
        ] }]);
        let text = json!([{ "role": "user", "content": "a" }]);
        let forms = [of_text, of_parts].map(|template| {
            let template = of(&[(FILE, template)]).unwrap().unwrap();
            [&text, &parts].map(|messages| rendered(&template, messages, &json!({})))
        });
        assert_eq!(forms, [["a!", "a\nb!"], ["a!", "a!!b!"]]);
    }

    #[test]
    fn the_template_for_tools_is_taken_where_there_are_tools() {
        let config = json!({ "chat_template": [
            { "name": "default", "template": "d{% for m in messages %}{{ m.content }}{% endfor %}" },
            { "name": "tool_use", "template": "t" },
            { "name": "rag", "template": "{% broken" },
        ] });
        let template = of(&[(CONFIG, &config.to_string())]).unwrap().unwrap();
        let messages = json!([]);
        assert_eq!(rendered(&template, &messages, &json!({})), "d");
        assert_eq!(rendered(&template, &messages, &json!({ "tools": [] })), "d");
        assert_eq!(
            rendered(&template, &messages, &json!({ "tools": [{ "name": "w" }] })),
            "t"
        );
        assert!(template.path().ends_with(CONFIG));
    }

    #[test]
    fn what_is_no_template_is_told_with_its_line() {
        assert!(of(&[]).unwrap().is_none());
        assert!(of(&[(CONFIG, "{}")]).unwrap().is_none());
        let messages = [
            of(&[(FILE, "a\n{% if %}")]),
            of(&[(FILE, "{{ 1 | no_such_filter }}{% endfor %}")]),
            of(&[(CONFIG, "{\"chat_template\": \"{% fo\"}")]),
            of(&[(CONFIG, "{\"chat_template\": ")]),
            of(&[(CONFIG, "{\"chat_template\": \"{{ raise_exception(1) }}\"}")]),
            of(&[(FILE, "{\"prompt\": \"a line of JSON\"}")]),
        ]
        .map(|read| {
            read.err()
                .map_or("read".to_owned(), |error| said_of(&error))
        });
        insta::assert_snapshot!(messages.join("\n"), @r"
        line 2: unexpected end of block
        line 1: unknown statement endfor
        line 1: unknown statement fo
        EOF while parsing a value at line 1 column 18
        read
        what it makes does not have the messages
        ");
        let missing = ChatTemplate::of_file(Path::new("no/such.jinja"), None).unwrap_err();
        assert_eq!(said_of(&missing), "it does not exist");
    }

    #[test]
    fn a_template_without_an_end_is_stopped() {
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}";
        let template = of(&[(FILE, endless)]).unwrap().unwrap();
        assert!(template.render(&[], &ChatFields::default()).is_err());
    }

    /// The beginning of text is in what the template makes, and is not added to it again.
    #[test]
    fn no_beginning_of_text_token_comes_twice() {
        let Some(packed) = shared_file("tokenizers/gptoss/tokenizer.json.gz") else {
            return;
        };
        let mut json = String::new();
        GzDecoder::new(fs::File::open(packed).unwrap())
            .read_to_string(&mut json)
            .unwrap();
        let mut json: Value = serde_json::from_str(&json).unwrap();
        json["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<|startoftext|>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<|startoftext|>": { "id": "<|startoftext|>", "ids": [199_998], "tokens": ["<|startoftext|>"] } },
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        fs::write(&path, json.to_string()).unwrap();
        let template = "{{ bos_token }}<|start|>user<|message|>{{ messages[0].content }}<|end|>";
        fs::write(folder.path().join(FILE), template).unwrap();
        fs::write(
            folder.path().join(CONFIG),
            r#"{"bos_token": "<|startoftext|>"}"#,
        )
        .unwrap();

        let tokenizer = Arc::new(Tokenizer::load(&path).unwrap());
        let chat = PromptForm::of_chat(None, &path).unwrap();
        let workload = Arc::new(Workload::new(&tokenizer, 1));
        let counters = [PromptForm::Text, chat].map(|form| {
            PromptCounter::new(Arc::clone(&tokenizer), form, Map::new()).measured_by(&workload)
        });
        assert_eq!(tokenizer.count("Hello there"), Some(2));
        let [text, chat] = counters
            .each_ref()
            .map(|counter| counter.verbatim("Hello there", None, None));
        assert_eq!((text, chat), (Some(3), Some(7)));
        assert_eq!(counters.map(|counter| counter.added()), [Some(1), Some(5)]);
    }
}
