//! The filter `tojson` of chat templates, which writes JSON as Python's `json.dumps` does.
//!
//! Arguments are those of transformers' filter: `indent`, `ensure_ascii`, `sort_keys` and `separators`.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Value as Shown};
use minijinja::{Error, ErrorKind};
use serde_json::Value;

/// Spaces of one step of indentation at most.
const MAX_INDENT: usize = 16;

/// The filter.
pub(super) fn to_json(value: &Shown, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let escapes: Option<bool> = options.get("ensure_ascii")?;
    let sorts: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let mut value = serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    if sorts == Some(true) {
        value.sort_all_objects();
    }
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.as_str(), key.as_str()),
        _ if indent.is_some() => (",", ": "),
        _ => (", ", ": "),
    };
    let mut spelling = Spelling {
        indent: indent.map(|spaces| spaces.min(MAX_INDENT)),
        item,
        key,
        escapes: escapes == Some(true),
        text: String::new(),
    };
    spelling.value(&value, 0);
    Ok(spelling.text)
}

/// How JSON is spelled, and what is spelled so far.
struct Spelling<'a> {
    /// Spaces of one step of indentation; one line where there is none.
    indent: Option<usize>,
    /// Between two items.
    item: &'a str,
    /// Between a key and its value.
    key: &'a str,
    /// Writes ASCII alone.
    escapes: bool,
    text: String,
}

impl Spelling<'_> {
    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Array(items) => {
                self.list(('[', ']'), items.iter(), depth, |spelling, item| {
                    spelling.value(item, depth + 1);
                });
            }
            Value::Object(fields) => {
                self.list(
                    ('{', '}'),
                    fields.iter(),
                    depth,
                    |spelling, (name, item)| {
                        spelling.string(name);
                        spelling.text.push_str(spelling.key);
                        spelling.value(item, depth + 1);
                    },
                );
            }
            Value::String(text) => self.string(text),
            // Numbers, and words that Python's JSON has in common with others'.
            other => self.text.push_str(&other.to_string()),
        }
    }

    fn list<T>(
        &mut self,
        (open, close): (char, char),
        items: impl ExactSizeIterator<Item = T>,
        depth: usize,
        write: impl Fn(&mut Self, T),
    ) {
        let is_empty = items.len() == 0;
        self.text.push(open);
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.text.push_str(self.item);
            }
            self.line(depth + 1);
            write(self, item);
        }
        if !is_empty {
            self.line(depth);
        }
        self.text.push(close);
    }

    fn line(&mut self, depth: usize) {
        if let Some(spaces) = self.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', spaces * depth));
        }
    }

    fn string(&mut self, text: &str) {
        let quoted = Value::from(text).to_string();
        if !self.escapes {
            self.text.push_str(&quoted);
            return;
        }
        let mut units = [0; 2];
        for letter in quoted.chars() {
            if letter.is_ascii() {
                self.text.push(letter);
                continue;
            }
            for unit in letter.encode_utf16(&mut units) {
                // Writing to a string does not fail.
                let _ = write!(self.text, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};
    use serde_json::json;

    use super::*;

    fn spelled(filter: &str) -> String {
        let mut environment = Environment::new();
        environment.add_filter("tojson", to_json);
        let value = json!({ "b": [1, 2.5, null, true], "a": { "\u{e9}\u{1f600}": "x\ny<" }, "e": [], "o": {} });
        let value = Shown::from(minijinja::value::Serde(&value));
        let template = format!("{{{{ value | {filter} }}}}");
        environment
            .render_str(&template, context! { value })
            .unwrap()
    }

    /// What Python 3.12 prints for the same.
    #[test]
    fn json_is_spelled_as_python_spells_it() {
        assert_eq!(
            spelled("tojson"),
            r#"{"b": [1, 2.5, null, true], "a": {"\u{e9}\u{1f600}": "x\ny<"}, "e": [], "o": {}}"#
                .replace(r"\u{e9}\u{1f600}", "\u{e9}\u{1f600}")
        );
        assert_eq!(
            spelled("tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':'))"),
            r#"{"a":{"\u00e9\ud83d\ude00":"x\ny<"},"b":[1,2.5,null,true],"e":[],"o":{}}"#
        );
        assert_eq!(
            spelled("tojson(indent=2)"),
            "{\n  \"b\": [\n    1,\n    2.5,\n    null,\n    true\n  ],\n  \"a\": {\n    \"\u{e9}\u{1f600}\": \"x\\ny<\"\n  },\n  \"e\": [],\n  \"o\": {}\n}"
        );
    }

    #[test]
    fn an_argument_that_is_not_known_is_refused() {
        let mut environment = Environment::new();
        environment.add_filter("tojson", to_json);
        assert!(
            environment
                .render_str("{{ 1 | tojson(odd=1) }}", ())
                .is_err()
        );
    }
}
