//! Flags about what is scraped while a run goes on.

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "Server metrics")]
pub(crate) struct MetricsArgs {
    /// Pages of metrics to scrape each second; may be given several times
    ///
    /// Prometheus' text format, as vLLM, SGLang, TGI, llama.cpp, Dynamo and exporters (DCGM, node)
    /// serve it; without a path, /metrics. All they say goes onto the tape, as the view
    /// server_metrics. A page that can't be read before the run is refused; one that fails later is
    /// a gap.
    #[arg(long, value_name = "URL", num_args = 1..)]
    pub(crate) server_metrics: Vec<String>,
    /// Scrape this machine too: CPU, memory, disk, network, and what its power meters tell
    #[arg(long)]
    pub(crate) host_metrics: bool,
}
