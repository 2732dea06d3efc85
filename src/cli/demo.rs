//! `demo`: all of it in one go, on this machine alone.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Parser;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::args::{App, DemoArgs, Global, Verb};
use super::drive;
use super::output::{make_folder, write_error};
use super::talk::say;
use crate::error::{Error, exit};
use crate::simulate::{ServerSettings, serve};
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
    let base_url = format!("http://{}", server.address);
    let code = verb(&[
        "replay".into(),
        trace,
        "--backend=openai-chat".into(),
        format!("--base-url={base_url}").into(),
        format!("--out={}", tape.display()).into(),
        "--num-warmups=2".into(),
        "--no-summary".into(),
        "--force".into(),
    ])?;
    drop(server);
    if code != exit::DONE {
        return Ok(code);
    }
    report(&args.out, &tape)
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
fn report(folder: &Path, tape: &Path) -> Result<u8, Error> {
    let (html, markdown) = (folder.join(HTML), folder.join(MARKDOWN));
    let code = verb(&[
        "analyze".into(),
        tape.to_owned(),
        format!("--html={}", html.display()).into(),
        format!("--markdown={}", markdown.display()).into(),
        "--force".into(),
        "--goodput".into(),
        "ttft:500".into(),
        "tpot:50".into(),
    ])?;
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

/// Runs another verb as if it had been typed, so that the demo shows nothing that users can't do.
fn verb(words: &[PathBuf]) -> Result<u8, Error> {
    let words = std::iter::once(PathBuf::from("tokentape")).chain(words.iter().cloned());
    let app = App::try_parse_from(words)
        .map_err(|error| Error::usage(error.to_string(), "this is a bug in the demo"))?;
    match &app.verb {
        Verb::Replay(args) => drive::replay(args, &app.global),
        Verb::Analyze(args) => super::analyze::run(args, &app.global),
        _ => Ok(exit::USAGE),
    }
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
