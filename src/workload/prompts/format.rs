//! Writes prompts as CSV, JSON lines or JSON, in the fields that the data set `custom` reads.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::maker::MadePrompt;

/// The form of a file of prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptFormat {
    /// A line of names, then a row a prompt; texts with line breaks stand in quotes.
    Csv,
    /// An object a line.
    JsonLines,
    /// One array of objects.
    Json,
}

impl PromptFormat {
    /// Names of the fields that are told of a prompt and not sent with it.
    pub(in crate::workload) const EXTRAS: [&'static str; 5] = [
        "input_tokens",
        "estimated_input_tokens",
        "pattern",
        "domain",
        "language",
    ];

    /// Returns the form that the ending of a name promises; none for another ending.
    pub fn of_name(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "csv" => Some(Self::Csv),
            "jsonl" => Some(Self::JsonLines),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// The fields of a prompt, in their order.
#[derive(Debug, Serialize)]
struct Fields<'a> {
    prompt: &'a str,
    output_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_input_tokens: Option<u32>,
    pattern: &'static str,
    domain: &'static str,
    language: &'static str,
}

/// Writes prompts one after the other.
pub struct PromptWriter<W: Write> {
    out: Out<W>,
    is_exact: bool,
}

enum Out<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Lines(W),
    Array { into: W, has_items: bool },
}

impl<W: Write> PromptWriter<W> {
    /// Begins a file. Lengths that are no counts have a name that says so.
    pub fn new(format: PromptFormat, into: W, is_exact: bool) -> Self {
        let out = match format {
            PromptFormat::Csv => Out::Csv(Box::new(csv::Writer::from_writer(into))),
            PromptFormat::JsonLines => Out::Lines(into),
            PromptFormat::Json => Out::Array {
                into,
                has_items: false,
            },
        };
        Self { out, is_exact }
    }

    /// Writes a prompt.
    ///
    /// # Errors
    ///
    /// As the writer below.
    pub fn write(&mut self, prompt: &MadePrompt) -> io::Result<()> {
        let tokens = Some(prompt.input_tokens);
        let fields = Fields {
            prompt: &prompt.text,
            output_tokens: prompt.output_tokens,
            input_tokens: tokens.filter(|_| self.is_exact),
            estimated_input_tokens: tokens.filter(|_| !self.is_exact),
            pattern: prompt.pattern.name(),
            domain: prompt.domain,
            language: prompt.language.name(),
        };
        match &mut self.out {
            Out::Csv(csv) => csv.serialize(fields).map_err(of_csv),
            Out::Lines(into) => {
                serde_json::to_writer(&mut *into, &fields)?;
                into.write_all(b"\n")
            }
            Out::Array { into, has_items } => {
                let before: &[u8] = if *has_items { b",\n" } else { b"[\n" };
                into.write_all(before)?;
                *has_items = true;
                serde_json::to_writer(into, &fields)?;
                Ok(())
            }
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    ///
    /// As the writer below.
    pub fn finish(self) -> io::Result<()> {
        match self.out {
            Out::Csv(mut csv) => csv.flush(),
            Out::Lines(mut into) => into.flush(),
            Out::Array {
                mut into,
                has_items,
            } => {
                let end: &[u8] = if has_items { b"\n]\n" } else { b"[]\n" };
                into.write_all(end)?;
                into.flush()
            }
        }
    }
}

/// Takes the error of the disk out of that of the form; no other comes about here.
fn of_csv(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern::{Pattern, PromptLanguage};
    use super::*;

    fn written(format: PromptFormat, is_exact: bool) -> String {
        let prompt = |text: &str| MadePrompt {
            pattern: Pattern::ShortInLongOut,
            domain: "law",
            language: PromptLanguage::English,
            text: text.to_owned(),
            input_tokens: 9,
            wanted_tokens: 9,
            output_tokens: 300,
        };
        let mut bytes = Vec::new();
        let mut writer = PromptWriter::new(format, &mut bytes, is_exact);
        writer.write(&prompt("Say \"hi\", then\n\nleave.")).unwrap();
        writer.write(&prompt("请写一份报告。")).unwrap();
        writer.finish().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn prompts_are_written_in_three_forms() {
        let all = [
            written(PromptFormat::Csv, true),
            written(PromptFormat::JsonLines, true),
            written(PromptFormat::Json, false),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        prompt,output_tokens,input_tokens,pattern,domain,language
        "Say ""hi"", then

        leave.",300,9,short-in-long-out,law,en
        请写一份报告。,300,9,short-in-long-out,law,en

        {"prompt":"Say \"hi\", then\n\nleave.","output_tokens":300,"input_tokens":9,"pattern":"short-in-long-out","domain":"law","language":"en"}
        {"prompt":"请写一份报告。","output_tokens":300,"input_tokens":9,"pattern":"short-in-long-out","domain":"law","language":"en"}

        [
        {"prompt":"Say \"hi\", then\n\nleave.","output_tokens":300,"estimated_input_tokens":9,"pattern":"short-in-long-out","domain":"law","language":"en"},
        {"prompt":"请写一份报告。","output_tokens":300,"estimated_input_tokens":9,"pattern":"short-in-long-out","domain":"law","language":"en"}
        ]
        "#);
    }

    #[test]
    fn the_ending_of_a_name_says_the_form() {
        let of = |name: &str| PromptFormat::of_name(Path::new(name));
        assert_eq!(of("a/b.CSV"), Some(PromptFormat::Csv));
        assert_eq!(of("b.jsonl"), Some(PromptFormat::JsonLines));
        assert_eq!(of("b.json"), Some(PromptFormat::Json));
        assert_eq!(of("b.txt").or(of("csv")).or(of("")), None);
    }
}
