//! Runs the real binary in a folder of its own, and shows what came of it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest time that anything here may take: far above what is usual, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_tokentape");

/// A folder that goes away with the test, and in which programs are run.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    /// Makes an empty folder.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Returns the path of something in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Reads a file of the folder.
    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Returns the names of all that is in the folder, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Returns the paths of all files in it and beneath, and what they hold.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        fn walk(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    found.push((path.display().to_string(), fs::read(&path).unwrap()));
                }
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        found
    }

    fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        self.command_of(PROGRAM, words)
    }

    fn command_of<S: AsRef<OsStr>>(
        &self,
        program: &str,
        words: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .env_remove("OPENAI_API_KEY")
            // Nothing is asked beyond this machine.
            .env("HF_HUB_OFFLINE", "1")
            .env_remove("NO_COLOR")
            .env("COLUMNS", "100");
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Outcome {
        self.run_with(words, &[])
    }

    /// Runs the program to its end, with variables in its environment.
    pub(crate) fn run_with(&self, words: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let mut command = self.command(words);
        command.envs(variables.iter().copied());
        self.start_command(command).end()
    }

    /// Runs the program to its end as the last words of another command.
    pub(crate) fn run_through(&self, before: &[&str], words: &[&str]) -> Outcome {
        self.start_through(before, words).end()
    }

    /// Starts the program as the last words of another command.
    pub(crate) fn start_through(&self, before: &[&str], words: &[&str]) -> Running {
        let all = [before, &[PROGRAM], words].concat();
        self.start_command(self.command_of(all[0], &all[1..]))
    }

    /// Starts the program.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        self.start_command(self.command(words))
    }

    fn start_command(&self, mut command: Command) -> Running {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let (sender, out) = channel();
        thread::spawn(move || {
            let mut text = Vec::new();
            stdout.read_to_end(&mut text).ok();
            sender.send(String::from_utf8_lossy(&text).into_owned())
        });
        Running {
            child,
            lines,
            out,
            seen: Vec::new(),
            folder: self.folder.path().display().to_string(),
        }
    }

    /// Runs `load` against a server with small requests, one after another, into `run.tape`.
    ///
    /// A later flag of `words` is stronger than an earlier one where the program allows it.
    pub(crate) fn load(&self, url: &str, words: &[&str]) -> Outcome {
        self.run(&load_words(url, words))
    }

    /// Asks a tape, and returns the rows.
    pub(crate) fn sql(&self, tape: &str, sql: &str) -> Vec<Value> {
        let outcome = self.run(&["sql", tape, "-c", sql, "--format", "json"]);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// Asks a tape for one number.
    pub(crate) fn number(&self, tape: &str, sql: &str) -> i64 {
        let rows = self.sql(tape, sql);
        let row = rows[0].as_object().unwrap();
        row.values().next().unwrap().as_i64().unwrap()
    }

    /// Asks a tape, and returns one line a row, its values separated by ` | `.
    pub(crate) fn table(&self, tape: &str, sql: &str) -> String {
        let rows = self.sql(tape, sql);
        let lines = rows.iter().map(|row| {
            let values = row.as_object().unwrap().values().map(|value| match value {
                Value::Null => "-".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            values.collect::<Vec<_>>().join(" | ")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Reads the manifest of a tape.
    pub(crate) fn manifest(&self, tape: &str) -> Value {
        serde_json::from_str(&self.read(&format!("{tape}/manifest.json"))).unwrap()
    }
}

/// The words of a `load` with small requests, which `more` adds to.
pub(crate) fn load_words<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["load", "--base-url", url, "--no-summary"];
    let defaults = [
        ("--backend", "openai-chat"),
        ("--model", "mock"),
        ("--out", "run.tape"),
        ("--random-input-len", "4"),
        ("--random-output-len", "4"),
    ];
    let has_own_backend = more.contains(&"--backend-template");
    for (flag, value) in defaults {
        let is_given = more.contains(&flag) || flag == "--backend" && has_own_backend;
        if !is_given {
            words.extend([flag, value]);
        }
    }
    words.extend(more);
    words
}

/// A program that has been started.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    out: Receiver<String>,
    seen: Vec<String>,
    folder: String,
}

impl Running {
    /// Waits until a line that holds `words` is said.
    pub(crate) fn wait_for_words(&mut self, words: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(_) => panic!("`{words}` was never said:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Returns the number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Watches how much memory the program takes. The thread returns the most that it ever took, in
    /// bytes, once it has ended.
    pub(crate) fn watch_memory(&self) -> JoinHandle<u64> {
        let status = format!("/proc/{}/status", self.pid());
        thread::spawn(move || {
            let mut most_kib = 0;
            // A process that has ended has no memory, and soon no entry.
            while let Some(kib) = fs::read_to_string(&status).ok().and_then(|status| {
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("VmHWM:"))?;
                line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
            }) {
                most_kib = most_kib.max(kib);
                thread::park_timeout(Duration::from_millis(2));
            }
            most_kib * 1_024
        })
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end; a program that does not come to it is killed, and the test fails.
    pub(crate) fn end(mut self) -> Outcome {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the program hangs after:\n{}", self.seen.join("\n"))
                }
            }
        }
        let stdout = self.out.recv_timeout(PATIENCE).unwrap();
        let status: ExitStatus = self.child.wait().unwrap();
        Outcome {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr: self.seen.join("\n"),
            folder: self.folder.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended can't be killed, which is as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What every run without `--tokenizer` says.
pub(crate) const TOKENIZER_NOTE: &str =
    "note: lengths are counted with the embedded o200k_base; `--tokenizer` names the model's own";

/// What came of a program.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Exit code; -1 after a signal.
    pub(crate) code: i32,
    /// What it printed as data.
    pub(crate) stdout: String,
    /// What it said.
    pub(crate) stderr: String,
    folder: String,
}

impl Outcome {
    /// Shows all of it, without what differs from run to run (folders, ports, and whether a busy machine
    /// let reads wait for the log) and without [`TOKENIZER_NOTE`].
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("exit code {}\n", self.code);
        let is_of_waits = |line: &str| {
            line.contains("bound `capture_channel`") || line.contains("give the client more cores")
        };
        let said: Vec<&str> = (self.stderr.lines())
            .filter(|line| *line != TOKENIZER_NOTE && !is_of_waits(line))
            .collect();
        for (name, part) in [("stdout", &self.stdout), ("stderr", &said.join("\n"))] {
            if !part.is_empty() {
                text.push_str(&format!("--- {name}\n{}\n", part.trim_end()));
            }
        }
        without_ports(&text.replace(&self.folder, "[FOLDER]"))
    }

    /// Fails when the program did not end with `code`.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.shown());
        self
    }
}

/// Replaces the ports of this machine.
pub(crate) fn without_ports(text: &str) -> String {
    const HOST: &str = "127.0.0.1:";
    let mut parts = text.split(HOST);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str(HOST);
        shown.push_str("[PORT]");
        shown.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    }
    shown
}

/// Replaces every number by `#`, and every run of spaces by one.
pub(crate) fn without_numbers(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        let is_number = character.is_ascii_digit() || character == '.' && shown.ends_with('#');
        let is_repeated = character == ' ' && shown.ends_with(' ');
        if is_number && !shown.ends_with('#') {
            shown.push('#');
        } else if !is_number && !is_repeated {
            shown.push(character);
        }
    }
    shown
}

/// Waits until something is so, looking every few milliseconds.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    const STEP: Duration = Duration::from_millis(5);
    for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
        if is_so() {
            return;
        }
        thread::park_timeout(STEP);
    }
    panic!("never came about: {what}");
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns a file of `../shared`, or none after saying that the running test is skipped.
///
/// The message goes past the test harness, which hides what passing tests print.
pub(crate) fn shared_file(path: &str) -> Option<PathBuf> {
    let file = root().join("../shared").join(path);
    if file.exists() {
        return Some(file);
    }
    skipped(&format!("needs ../shared/{path}"));
    None
}

/// Says that the running test is skipped, and why.
pub(crate) fn skipped(reason: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "skipped: {test} {reason}").ok();
}
