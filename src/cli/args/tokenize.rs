//! What `tokenize` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::target::backends;
use crate::backend::{Backend, DEFAULT_PROTOCOL};

#[derive(Debug, Args)]
pub(crate) struct TokenizeArgs {
    /// Files to count: a text, or requests as `--dataset-name custom` has them; `-` is standard input
    ///
    /// Requests are in files that end in .jsonl, .ndjson, .json or .csv, packed with gzip or not, or
    /// that begin with a JSON object. Anything else is one text.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// A Hugging Face `tokenizer.json`, its folder, or a model's name in the hub's cache
    #[arg(long, value_name = "PATH")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// The chat template of the model [default: the one beside the tokenizer]
    #[arg(long, value_name = "FILE", requires = "tokenizer")]
    pub(crate) chat_template: Option<PathBuf>,
    /// Protocol whose prompts are counted: a chat's are made by the chat template
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROTOCOL, value_parser = backends())]
    pub(crate) backend: Backend,
    /// Ask this server for its own counts, and compare
    ///
    /// vLLM, SGLang, llama.cpp and TGI count prompts where they are asked to.
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Model to ask for [default: the first one that the server lists]
    #[arg(long, value_name = "NAME", requires = "base_url")]
    pub(crate) model: Option<String>,
    /// A header of what is asked of the server; may be given several times
    #[arg(long, value_name = "NAME: VALUE", requires = "base_url")]
    pub(crate) header: Vec<String>,
    /// Fields of every request's body, such as `chat_template_kwargs`, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub(crate) extra_body: Option<String>,
    /// What is printed
    #[arg(long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) format: TokenizeForm,
}

/// What `tokenize` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenizeForm {
    /// A line a file, with sums
    Table,
    /// A line a prompt, as CSV
    Csv,
}
