//! `demo`: all of it in one go, on this machine alone.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::Map;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::analyze::{self, Wanted};
use super::args::{DemoArgs, Global, WireArg};
use super::drive::{self, Planned, RunOutput};
use super::output::{make_folder, write_error};
use super::talk::{has_color, say, terminal_columns};
use super::{masks, plan};
use crate::analyze::{Options, Slo};
use crate::backend::of_plan;
use crate::error::{Error, exit};
use crate::load::LoadError;
use crate::plan::{EMBEDDED_TOKENIZER, RunPlan, TracePlan};
use crate::report::{PageOptions, TerminalOptions, exporter};
use crate::simulate::{CHAT_BACKEND, ServerSettings, serve};
use crate::trace::DEMO;

/// What a demo leaves in its folder, beside the trace.
const TAPE: &str = "demo.tape";
const HTML: &str = "report.html";
const MARKDOWN: &str = "report.md";

pub(super) fn run(args: &DemoArgs, global: &Global) -> Result<u8, Error> {
    make_folder(&args.out, global.force || is_own(&args.out))?;
    let trace = args.out.join(DEMO.file_name);
    fs::write(&trace, DEMO.text).map_err(|source| write_error(&trace, source))?;
    let server = Server::start()?;
    let tape = args.out.join(TAPE);
    say(&format!(
        "replaying a bundled trace against a simulated server on {}",
        server.address
    ));
    let global = Global {
        force: true,
        ..global.clone()
    };
    let output = RunOutput {
        tape: Some(tape.clone()),
        goals: Vec::new(),
        shown: TerminalOptions::default(),
        has_summary: false,
        result: None,
        has_tables: false,
        hides_progress: false,
    };
    let code = drive::drive(planned(trace, server.address)?, &output, &global)?;
    drop(server);
    if code != exit::DONE {
        return Ok(code);
    }
    report(&args.out, &tape, &global)
}

/// The replay of the trace.
fn planned(trace: PathBuf, server: SocketAddr) -> Result<Planned, Error> {
    let base_url = format!("http://{server}");
    let mut plan = RunPlan {
        command: Some(masks::typed_command()),
        verb: Some("demo".into()),
        backend: Some(CHAT_BACKEND.into()),
        trace: Some(TracePlan {
            path: trace,
            ..TracePlan::default()
        }),
        num_warmups: Some(2),
        tokenizer: Some(EMBEDDED_TOKENIZER.into()),
        ..RunPlan::default()
    };
    let backend = of_plan(&plan).map_err(LoadError::from)?;
    let url = plan::join(&base_url, backend.endpoint())?;
    let private = drive::private_for(vec![url], (&[], None), Map::new(), Vec::new())?;
    plan::direct(&mut plan, &private, WireArg::Auto);
    Ok(Planned {
        plan,
        models_url: plan::models_beside(&private.urls[0], backend),
        private,
        pipe: None,
        notes: Vec::new(),
    })
}

/// Says whether a demo was run there before, which may be replaced: a folder that has something else
/// in it, or a link to it, is somebody's.
fn is_own(folder: &Path) -> bool {
    let is_own = |entry: fs::DirEntry| {
        let is_link = entry.file_type().map_or(true, |kind| kind.is_symlink());
        let own = [DEMO.file_name, TAPE, HTML, MARKDOWN];
        !is_link && own.iter().any(|name| entry.file_name() == *name)
    };
    fs::read_dir(folder).is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(is_own)))
}

/// Analyses the tape and says where everything is.
fn report(folder: &Path, tape: &Path, global: &Global) -> Result<u8, Error> {
    let (html, markdown) = (folder.join(HTML), folder.join(MARKDOWN));
    let goal = |metric: &str, limit_ms: i64| Slo {
        metric: metric.to_owned(),
        limit_ns: limit_ms * 1_000_000,
    };
    let shown = TerminalOptions {
        color: has_color(global.color),
        width: terminal_columns().unwrap_or(TerminalOptions::default().width),
        ..TerminalOptions::default()
    };
    let options = Options {
        slos: vec![goal("ttft", 500), goal("tpot", 50)],
        outputs: vec![("html", html.clone()), ("markdown", markdown.clone())],
        ..Options::default()
    };
    let files = [("html", &html), ("markdown", &markdown)];
    let wanted = Wanted {
        reports: files
            .into_iter()
            .filter_map(|(flag, path)| Some((exporter(flag)?, path.clone())))
            .collect(),
        ..Wanted::default()
    };
    let tapes = [tape.to_owned()];
    let page = PageOptions::default();
    let (analysis, _) = analyze::report(&tapes, &options, (wanted, &page), (&shown, global))?;
    let code = analyze::verdict_code(&analysis, global);
    let name = env!("CARGO_PKG_NAME");
    let (tape, html, markdown) = (tape.display(), html.display(), markdown.display());
    for line in [
        String::new(),
        format!("tape      {tape}"),
        format!("report    {html}"),
        format!("markdown  {markdown}"),
        String::new(),
        format!("next: {name} sql {tape} -c \"SELECT * FROM requests LIMIT 5\""),
    ] {
        say(&line);
    }
    Ok(code)
}

/// The simulated server on a free port, until it is dropped.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start() -> Result<Self, Error> {
        let refused = |error| Error::System("start the simulated server".into(), error);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(refused)?;
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("simulate".into())
            .spawn(move || {
                let shutdown = async {
                    // A sender that is gone asks to stop as well.
                    let _ = stopped.await;
                };
                let served = runtime.block_on(serve(listener, ServerSettings::default(), shutdown));
                if let Err(error) = served {
                    say(&format!("the simulated server stopped: {error}"));
                }
            })
            .map_err(refused)?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A server that panicked has said so.
            let _ = thread.join();
        }
    }
}
