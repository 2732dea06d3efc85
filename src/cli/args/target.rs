//! Where requests go, in which protocol, and what they ask of the sampling.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use crate::backend::{Backend, DEFAULT_PROTOCOL, protocol, protocols, unrecognized};
use crate::plan::{LoraAssignment, UrlStrategy};

/// Parses the name of a protocol.
pub(super) fn backends() -> impl TypedValueParser<Value = Backend> {
    PossibleValuesParser::new(backend_names().collect::<Vec<_>>())
        .map(|name| protocol(&name).expect("it is one of the names above"))
}

fn backend_names() -> impl Iterator<Item = PossibleValue> {
    protocols().map(|it| PossibleValue::new(it.name()).help(it.about()))
}

/// The protocol of a server, or that the server is asked for it.
#[derive(Debug, Clone)]
pub(crate) enum BackendArg {
    Auto,
    Named(Backend),
    /// A template of the user's own, which is read.
    Own {
        text: String,
        backend: Backend,
    },
}

impl BackendArg {
    const AUTO: &'static str = "auto";

    /// Parses the name of a protocol, or `auto`.
    fn parser() -> impl TypedValueParser<Value = Self> {
        let auto = PossibleValue::new(Self::AUTO).help("What the server says that it is");
        let names = [auto].into_iter().chain(backend_names());
        PossibleValuesParser::new(names.collect::<Vec<_>>())
            .map(|name| protocol(&name).map_or(Self::Auto, Self::Named))
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
pub(crate) struct TargetArgs {
    /// Protocol of the server
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROTOCOL, value_parser = BackendArg::parser())]
    pub(crate) backend: BackendArg,
    /// Template of a protocol of your own, in place of --backend
    ///
    /// The file has the body of a request, in which `prompt`, `messages`, `max_tokens` and more
    /// are filled in, below a comment that says where in an event the text is. See
    /// docs/backends.md.
    #[arg(long, value_name = "FILE", conflicts_with = "backend")]
    pub(crate) backend_template: Option<PathBuf>,
    /// Address of the server; may be given several times, for several servers of one model
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    pub(crate) base_url: Vec<String>,
    /// Which of several servers a request goes to [default: round-robin]
    ///
    /// The tape has the server in the column `target`.
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) url_strategy: Option<UrlStrategy>,
    /// Path of the endpoint [default: the backend's own]
    #[arg(long, value_name = "PATH")]
    pub(crate) endpoint: Option<String>,
    /// Model to ask for [default: the first one that the server lists]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// LoRA adapters to ask for in the model's place, one a request
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) lora_modules: Vec<String>,
    /// Which of them a request asks for
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        default_value = "random",
        requires = "lora_modules"
    )]
    pub(crate) lora_assignment: LoraAssignment,
    /// A header of every request; may be given several times
    ///
    /// A bearer token is taken from OPENAI_API_KEY where no header has one. Values of headers are
    /// never stored nor printed.
    #[arg(long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// A header of answers that the tape keeps, in `response_headers`; may be given several times
    ///
    /// Such as the worker that a router chose, or the time that a gateway took for itself.
    #[arg(long, value_name = "NAME")]
    pub(crate) keep_header: Vec<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Speak HTTP/2, with many requests on one connection; takes the reqwest wire
    ///
    /// How many a connection carries at a time is the server's to say: others wait for it, after
    /// the stamp of their send. Over plain HTTP it is spoken without asking ("prior knowledge").
    #[arg(long, conflicts_with = "no_keep_alive")]
    pub(crate) http2: bool,
    /// Connections to open to each server before the schedule starts
    ///
    /// Without it as many are opened as the requests of the first tenth of a second need.
    #[arg(long, value_name = "N")]
    pub(crate) prewarm_connections: Option<u32>,
}

impl TargetArgs {
    /// The address of the first server, which is asked what it serves.
    pub(crate) fn first_base_url(&self) -> &str {
        self.base_url.first().map_or("", String::as_str)
    }

    /// Returns the protocol; where the server has not been asked, that of one which says nothing of
    /// itself.
    pub(crate) fn backend(&self) -> Backend {
        match &self.backend {
            BackendArg::Named(backend) | BackendArg::Own { backend, .. } => *backend,
            BackendArg::Auto => unrecognized(self.endpoint.as_deref()),
        }
    }
}

/// How requests get to the server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Target")]
pub(crate) struct ConnectionArgs {
    /// What takes the requests to the server
    #[arg(long, value_enum, value_name = "WIRE", default_value = "auto")]
    pub(crate) wire: WireArg,
    /// Give each request a new connection, and say `Connection: close`
    ///
    /// For a server that closes connections which it was to keep. Without this flag connections are
    /// kept until one ends just as a request goes out on it: that request is sent again on a new
    /// one (column `resends`), and from then on each has its own, as with this flag.
    #[arg(long)]
    pub(crate) no_keep_alive: bool,
    /// Certificates in PEM of the authorities to believe, in place of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Believe any certificate, also of somebody in between
    #[arg(long, conflicts_with = "ca_cert")]
    pub(crate) insecure: bool,
    /// Threads that read streams [default: one, and more on a machine with cores to spare]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) readers: Option<u32>,
}

/// What `--wire` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WireArg {
    /// `direct`, or `reqwest` where the environment names a proxy for the server
    Auto,
    /// Own sockets: stamps every read, with the kernel's receive time beside it
    Direct,
    /// The reqwest client: passes proxies, stamps what it is handed
    Reqwest,
}

/// What requests ask of the sampling, where the backend has a field for it.
#[derive(Debug, Args)]
pub(crate) struct SamplingArgs {
    /// Share of the likeliest tokens that are drawn from [default: the server's own]
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f64>,
    /// Number of the likeliest tokens that are drawn from [default: the server's own]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub(crate) top_k: Option<i64>,
    /// Least share of the likeliest token's chance [default: the server's own]
    #[arg(long, value_name = "P")]
    pub(crate) min_p: Option<f64>,
    /// Penalty on tokens by how often they came [default: the server's own]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) frequency_penalty: Option<f64>,
    /// Penalty on tokens that came [default: the server's own]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) presence_penalty: Option<f64>,
    /// Factor by which tokens that came are less likely [default: the server's own]
    #[arg(long, value_name = "X")]
    pub(crate) repetition_penalty: Option<f64>,
    /// Ask for the log-probabilities of tokens, with N others beside each
    ///
    /// An event then tells how many tokens it has; servers are slower with it.
    #[arg(long, value_name = "N")]
    pub(crate) logprobs: Option<u32>,
    /// Ask for the ids of tokens, which tell how many an event has
    #[arg(long)]
    pub(crate) return_token_ids: bool,
}
