//! `verify`: the client's own error, one rung after another.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Map;
use tokio::sync::watch;

use super::args::{
    BackendArg, Global, LadderArgs, LadderLoop, StampingArgs, TargetArgs, VerifyArgs,
};
use super::output::{Output, make_folder, write_error};
use super::talk::{has_color, print_painted, say};
use super::{drive, ending, failure, host, interrupt, masks, metrics, plan, progress};
use crate::capture::manifest::Host;
use crate::error::{Error, exit};
use crate::load::{Private, Setup, Stop};
use crate::plan::{Loop, LoraAssignment};
use crate::scrape::Source;
use crate::secrets::Secrets;
use crate::time::clock::utc_now_ns;
use crate::verify::{
    self, Cores, LadderSetup, Measurement, OwnServer, Rung, StampingServer, Verification,
    VerifyError, listed, on, terminal,
};
use crate::wire::Trust;

/// Tokens of the request that shows whether a server stamps.
const FIRST_LOOK_TOKENS: f64 = 8.0;

pub(super) fn run(args: &VerifyArgs, global: &Global) -> Result<u8, Error> {
    let ladder = ladder(&args.ladder)?;
    let folder = Folder::open(args.out.as_deref(), global.force)?;
    let json = args.json.as_deref();
    let json = json
        .map(|path| Output::open(path, global.force))
        .transpose()?;
    let takes_stdout = json.as_ref().is_some_and(Output::is_stdout);
    let connection = &args.target.connection;
    let trust = drive::trust(connection.ca_cert.as_deref(), connection.insecure)?;
    let climber = Climber {
        folder,
        replaces: global.force,
        sources: metrics::typed(&args.metrics, &trust)?,
        host: host::describe(),
        stop: interrupt::listen()?,
    };
    let climbed = climber.climb(&args.target, &ladder)?;
    let verification = &climbed.verification;
    if let Some(json) = json.filter(|_| !verification.rungs.is_empty()) {
        let value = verify::json(verification, |measured| climber.folder.kept(&measured.rung));
        json.write(format!("{value:#}\n"))?;
    }
    if !takes_stdout && !verification.rungs.is_empty() {
        print_painted(&terminal(verification, has_color(global.color)))?;
    }
    climber.folder.tell();
    match climbed.ended {
        Err(error) => Err(error),
        Ok(exit::DONE) if global.strict && verification.is_client_limited() => {
            Ok(exit::GOAL_MISSED)
        }
        Ok(code) => Ok(code),
    }
}

/// The rungs, the fewest streams first.
fn ladder(args: &LadderArgs) -> Result<Vec<Rung>, Error> {
    let loops: &[Loop] = match args.arrival_loop {
        LadderLoop::Closed => &[Loop::Closed],
        LadderLoop::Open => &[Loop::Open],
        LadderLoop::Both => &[Loop::Closed, Loop::Open],
    };
    let mut streams = args.streams.clone();
    streams.sort_unstable();
    streams.dedup();
    let mut rungs = Vec::new();
    for streams in streams {
        for arrival_loop in loops {
            let rung = Rung {
                streams,
                arrival_loop: *arrival_loop,
                rate_per_s: args.rate,
                length_ns: args.duration,
            };
            rung.check()?;
            rungs.push(rung);
        }
    }
    Ok(rungs)
}

/// What all rungs are climbed with.
struct Climber {
    folder: Folder,
    replaces: bool,
    /// What is scraped meanwhile, to see what that costs.
    sources: Vec<Source>,
    host: Host,
    stop: watch::Receiver<Stop>,
}

/// How far the ladder was climbed, and how that ended.
struct Climbed {
    verification: Verification,
    ended: Result<u8, Error>,
}

impl Climber {
    /// Measures every rung, against the server that the user named or one that is started.
    fn climb(&self, args: &StampingArgs, ladder: &[Rung]) -> Result<Climbed, Error> {
        if let Some(base_url) = &args.base_url {
            let server = self.scraping(named_server(args, base_url)?)?;
            let target = Some(server.shown.clone());
            return Ok(self.rungs(&server, ladder, (target, None)));
        }
        let rate_per_s = ladder.first().map_or(1.0, |rung| rung.rate_per_s);
        let program = std::env::current_exe()
            .map_err(|error| Error::System("find the program itself".into(), error))?;
        let start = || OwnServer::start(&program, rate_per_s);
        let (cores, process) = match bound(start) {
            Ok((cores, process)) => (Some(cores), process?),
            Err(reason) => {
                say(&format!(
                    "note: server and client share their cores: {reason}"
                ));
                (None, start()?)
            }
        };
        let server = self.scraping(own_server(args, &process)?)?;
        let climb = || self.rungs(&server, ladder, (None, cores.clone()));
        match &cores {
            Some(cores) => on(&cores.client, climb)
                .map_err(|error| Error::System("bind the client to its cores".into(), error)),
            None => Ok(climb()),
        }
    }

    /// Adds to what goes to a server what is scraped meanwhile.
    fn scraping(&self, mut server: StampingServer) -> Result<StampingServer, Error> {
        server.private.metric_sources.clone_from(&self.sources);
        metrics::check(&server.private)?;
        Ok(server)
    }

    fn rungs(
        &self,
        server: &StampingServer,
        ladder: &[Rung],
        (target, cores): (Option<String>, Option<Cores>),
    ) -> Climbed {
        let mut rungs = Vec::new();
        let ended = match self.measure_all((server, target.is_none()), ladder, &mut rungs) {
            Ok(()) => Ok(exit::DONE),
            Err(Error::Verify(VerifyError::Interrupted)) => Ok(exit::INTERRUPTED),
            Err(error) => Err(error),
        };
        let verification = Verification {
            target,
            cores,
            shares_clock: server.shares_clock(),
            rungs,
        };
        Climbed {
            verification,
            ended,
        }
    }

    fn measure_all(
        &self,
        (server, is_own): (&StampingServer, bool),
        ladder: &[Rung],
        measured: &mut Vec<Measurement>,
    ) -> Result<(), Error> {
        if let Some(first) = ladder.first() {
            self.first_look((server, is_own), first)?;
        }
        for rung in ladder {
            if *self.stop.borrow() != Stop::No {
                return Err(VerifyError::Interrupted.into());
            }
            say(&rung.to_string());
            let tape = self.folder.tape(rung);
            let measurement = self.measure(server, rung, tape.clone());
            self.folder.discard(&tape);
            let measurement = measurement.map_err(told)?;
            ending::tell(&measurement.report);
            measured.push(measurement);
        }
        Ok(())
    }

    /// Asks for a few tokens, so that neither side meets the first rung cold, and so that a server
    /// of the user's is not put under load for nothing.
    fn first_look(
        &self,
        (server, is_own): (&StampingServer, bool),
        first: &Rung,
    ) -> Result<(), Error> {
        let look = first_look(first);
        let scratch = Folder::open(None, false)?;
        let setup = self.setup(scratch.tape(&look));
        let looked = if is_own {
            verify::drive(server, &look, setup, Vec::new()).map(drop)
        } else {
            verify::measure(server, &look, setup, Vec::new()).map(drop)
        };
        looked.map_err(told)
    }

    fn measure(
        &self,
        server: &StampingServer,
        rung: &Rung,
        tape: PathBuf,
    ) -> Result<Measurement, VerifyError> {
        let shown = progress::show(None, false);
        let listeners = shown.iter().map(progress::Progress::listener).collect();
        verify::measure(server, rung, self.setup(tape), listeners)
    }

    fn setup(&self, tape: PathBuf) -> LadderSetup {
        LadderSetup {
            command: masks::typed_command(),
            run: Setup {
                tape,
                replaces: self.replaces,
                host: self.host.clone(),
                pipe: None,
                stop: self.stop.clone(),
            },
        }
    }
}

/// Puts into words, with what to try, why no request succeeded.
fn told(error: VerifyError) -> Error {
    match error {
        VerifyError::NoSuccess(report) => {
            let (message, hint) = failure::reason(&report);
            Error::Target { message, hint }
        }
        other => other.into(),
    }
}

/// A rung of one short answer.
fn first_look(first: &Rung) -> Rung {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the rate of a rung that was checked is at least a tenth"
    )]
    let length_ns = (FIRST_LOOK_TOKENS / first.rate_per_s * 1e9) as i64;
    Rung {
        streams: 1,
        arrival_loop: Loop::Closed,
        length_ns: length_ns.min(first.length_ns),
        ..*first
    }
}

/// Starts something on the core that is the server's; says why nothing can be bound.
fn bound<T>(start: impl FnOnce() -> T) -> Result<(Cores, T), String> {
    let cores = Cores::part()?;
    let started = on(&cores.server, start).map_err(|error| error.to_string())?;
    say(&format!(
        "server on core {}, client on {}",
        listed(&cores.server),
        listed(&cores.client)
    ));
    Ok((cores, started))
}

/// The server that the user named, with the user's key.
fn named_server(args: &StampingArgs, base_url: &str) -> Result<StampingServer, Error> {
    let asked = asked(args, base_url);
    let private = drive::private(&asked, Map::new(), Vec::new())?;
    let model = match &args.model {
        Some(model) => model.clone(),
        None => drive::first_model(args.backend, &plan::models_url(&asked)?, &private, false)?,
    };
    Ok(server(args, private, model))
}

/// The server that was started, which needs no key and takes any model's name.
fn own_server(args: &StampingArgs, process: &OwnServer) -> Result<StampingServer, Error> {
    let base_url = format!("http://{}", process.address());
    let private = Private {
        urls: plan::endpoint_urls(&asked(args, &base_url))?,
        headers: Vec::new(),
        extra_body: Map::new(),
        secrets: Secrets::default(),
        trust: Trust::System,
        metric_sources: Vec::new(),
    };
    Ok(server(args, private, "simulated".to_owned()))
}

fn server(args: &StampingArgs, private: Private, model: String) -> StampingServer {
    StampingServer {
        shown: private.urls.first().map(masks::masked).unwrap_or_default(),
        wire: plan::wire(args.connection.wire, &private.urls),
        readers: args.connection.readers,
        keeps_alive: !args.connection.no_keep_alive,
        private,
        backend: args.backend,
        model,
    }
}

/// What `load` would be given for the same server.
fn asked(args: &StampingArgs, base_url: &str) -> TargetArgs {
    TargetArgs {
        backend: BackendArg::Named(args.backend),
        backend_template: None,
        base_url: vec![base_url.to_owned()],
        url_strategy: None,
        endpoint: args.endpoint.clone(),
        model: args.model.clone(),
        header: args.header.clone(),
        lora_modules: Vec::new(),
        lora_assignment: LoraAssignment::default(),
        keep_header: Vec::new(),
        connection: args.connection.clone(),
        http2: false,
        prewarm_connections: None,
    }
}

/// Where tapes go: a folder of the user's, or one that goes away.
struct Folder {
    path: PathBuf,
    is_kept: bool,
}

impl Folder {
    fn open(out: Option<&Path>, replaces: bool) -> Result<Self, Error> {
        if let Some(path) = out {
            make_folder(path, replaces)?;
            return Ok(Self {
                path: path.to_owned(),
                is_kept: true,
            });
        }
        let name = format!("tokentape-verify-{}-{}", std::process::id(), utc_now_ns());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(|source| write_error(&path, source))?;
        Ok(Self {
            path,
            is_kept: false,
        })
    }

    fn tape(&self, rung: &Rung) -> PathBuf {
        self.path
            .join(format!("{}-{}.tape", rung.loop_name(), rung.streams))
    }

    /// Where the tape of a rung is kept.
    fn kept(&self, rung: &Rung) -> Option<PathBuf> {
        self.is_kept.then(|| self.tape(rung))
    }

    /// Makes room for the next tape.
    fn discard(&self, tape: &Path) {
        if !self.is_kept {
            // What stays goes away with the folder.
            let _ = fs::remove_dir_all(tape);
        }
    }

    fn tell(&self) {
        if self.is_kept {
            say(&format!("tapes: {}", self.path.display()));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_kept {
            // A temporary folder that stays is a nuisance and nothing more.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{App, Verb};
    use super::*;

    fn typed(flags: &[&str]) -> Result<Vec<String>, Error> {
        let words = ["tokentape", "verify"].iter().chain(flags);
        let Verb::Verify(args) = App::parse_from(words).verb else {
            panic!("not verify")
        };
        let rungs = ladder(&args.ladder)?;
        Ok(rungs.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_ladder_goes_up_in_both_loops() {
        let rungs = typed(&[]).unwrap();
        assert_eq!(rungs.len(), 8);
        assert_eq!(rungs[0], "closed loop, 1 stream x 100 tokens/s");
        assert_eq!(rungs[7], "open loop, 1000 streams x 100 tokens/s");
    }

    #[test]
    fn streams_take_the_place_of_the_ladder() {
        let rungs = typed(&["--streams", "64,2,64", "--loop", "open", "--rate", "12.5"]).unwrap();
        let expected = [
            "open loop, 2 streams x 12.5 tokens/s",
            "open loop, 64 streams x 12.5 tokens/s",
        ];
        assert_eq!(rungs, expected);
        let error = typed(&["--duration", "10ms"]).unwrap_err();
        assert_eq!(error.exit_code(), exit::USAGE);
    }

    #[test]
    fn a_first_look_is_short_whatever_the_rung() {
        for (rate_per_s, length_ns) in [
            (100.0, 60_000_000_000),
            (100.0, 30_000_000),
            (0.1, 60_000_000_000),
        ] {
            let rung = Rung {
                streams: 100,
                arrival_loop: Loop::Open,
                rate_per_s,
                length_ns,
            };
            let look = first_look(&rung);
            look.check().unwrap();
            assert!(look.output_tokens() <= 8 && look.streams == 1);
        }
    }
}
