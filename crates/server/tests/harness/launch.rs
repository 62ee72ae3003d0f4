//! The binary as a child process: started, watched, stopped by its own id.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::secrets;
use super::wire::{Answer, Ask};

const BINARY: &str = env!("CARGO_BIN_EXE_movies-api");
/// Nothing that a test waits for takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails when `condition` does not come true in time.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// How the binary is started. The environment holds nothing but what the test puts in.
#[derive(Debug)]
pub(crate) struct Launch {
    command: Command,
    store: Option<PathBuf>,
}

impl Launch {
    /// `movies-api serve --store <store> --listen 127.0.0.1:0`.
    pub(crate) fn serve(store: impl AsRef<OsStr>) -> Self {
        let launch = Self { store: Some(store.as_ref().into()), ..Self::command("serve") };
        launch.arg("--listen").arg("127.0.0.1:0").arg("--store").arg(store)
    }

    /// `movies-api <command>`.
    pub(crate) fn command(command: &str) -> Self {
        Self::bare().arg(command)
    }

    /// `movies-api`.
    pub(crate) fn bare() -> Self {
        Self::program(BINARY)
    }

    /// The binary, started by another program whose arguments end in it.
    pub(crate) fn through(wrapper: &[&str]) -> Self {
        let [program, arguments @ ..] = wrapper else { panic!("no wrapper") };
        arguments.iter().fold(Self::program(program), |launch, a| launch.arg(a)).arg(BINARY)
    }

    fn program(program: &str) -> Self {
        let mut command = Command::new(program);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, store: None }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args(mut self, line: &str) -> Self {
        self.command.args(line.split_whitespace());
        self
    }

    pub(crate) fn env(self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        variables.into_iter().fold(self, |launch, (name, value)| launch.var(&name, &value))
    }

    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        secrets::of_variable(name, value);
        self.command.env(name, value);
        self
    }

    pub(crate) fn inside(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// With this on standard input.
    pub(crate) fn input(mut self, text: &str) -> Self {
        let mut file = tempfile::tempfile().expect("the system has files");
        file.write_all(text.as_bytes()).and_then(|()| file.rewind()).expect("a file takes text");
        self.command.stdin(file);
        self
    }

    /// With standard input from there.
    pub(crate) fn stdin(mut self, from: impl Into<Stdio>) -> Self {
        self.command.stdin(from);
        self
    }

    /// As the user nobody, where the test may choose.
    pub(crate) fn as_nobody(mut self) -> Self {
        use std::os::unix::process::CommandExt;
        if rustix::process::geteuid().is_root() {
            self.command.uid(65_534).gid(65_534);
        }
        self
    }

    /// Starts it and waits until it says where it listens.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let store = self.store.clone();
        let mut server = self.spawn();
        let line = server.next_line();
        let address = line.strip_prefix("listening on http://");
        let address = address.or_else(|| line.strip_prefix("listening on https://"));
        let address = address.unwrap_or_else(|| panic!("{line:?} {}", server.log()));
        server.address = address.parse().expect("an address with a port");
        if let Some(store) = store {
            secrets::beside(&store);
        }
        server
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Finished {
        let mut server = self.spawn();
        let status = server.wait();
        let stdout = std::iter::from_fn(|| server.line().ok());
        let stdout = stdout.fold(String::new(), |text, line| text + &line + "\n");
        Finished { code: status.code(), stdout, stderr: server.log() }
    }

    /// Runs it to its end, which must be a failure told in one sentence that has all of `words`.
    #[track_caller]
    pub(crate) fn refuses(self, words: &[&str]) -> String {
        let finished = self.run();
        assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
        let mut said = finished.stderr.lines().filter(|line| line.starts_with("movies-api: "));
        let sentence = said.next().unwrap_or_else(|| panic!("no sentence: {finished:?}"));
        assert_eq!(said.next(), None, "two sentences: {finished:?}");
        for word in words {
            assert!(sentence.contains(word), "{sentence:?} does not say {word:?}");
        }
        sentence.to_owned()
    }

    /// Starts a command and does not wait for it.
    #[track_caller]
    pub(crate) fn spawn(mut self) -> Server {
        let mut child = self.command.spawn().expect("the binary starts");
        let (lines, stdout) = channel();
        let out = child.stdout.take().expect("standard output is piped");
        let answers = Arc::new(Mutex::new(String::new()));
        let printed = Arc::clone(&answers);
        let out_reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                *printed.lock().expect("no reader panics") += &(line.clone() + "\n");
                // Whether anybody waits for the line or not, it was told.
                drop(lines.send(line));
            }
        });
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut err = child.stderr.take().expect("standard error is piped");
        let written = Arc::clone(&log);
        let err_reader = std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(count @ 1..) = err.read(&mut some) {
                written.lock().expect("no reader panics").extend_from_slice(&some[..count]);
            }
        });
        Server {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            stdout: Mutex::new(stdout),
            answers,
            log,
            readers: vec![out_reader, err_reader],
        }
    }
}

/// What a command that ended left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running server; dropping it kills it, and fails where it has told a secret.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    stdout: Mutex<Receiver<String>>,
    /// All of standard output.
    answers: Arc<Mutex<String>>,
    log: Arc<Mutex<Vec<u8>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Server {
    /// A server on a new catalogue in memory.
    #[track_caller]
    pub(crate) fn new() -> Self {
        Launch::serve("memory://").start()
    }

    /// A server on a new catalogue in memory, with more options.
    #[track_caller]
    pub(crate) fn with(options: &str) -> Self {
        Launch::serve("memory://").args(options).start()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> Ask {
        Ask::new(self.address, method, path)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send()
    }

    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: &str) -> Answer {
        self.ask("PUT", path).json(body).send()
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path).send()
    }

    /// How many movies the default collection has.
    #[track_caller]
    pub(crate) fn count(&self) -> usize {
        self.get("/api/movies").is(200).json().as_array().expect("an array").len()
    }

    /// The next line of standard output.
    #[track_caller]
    pub(crate) fn next_line(&mut self) -> String {
        match self.line() {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("it says nothing: {}", self.log()),
            Err(RecvTimeoutError::Disconnected) => {
                self.wait();
                panic!("it ended: {}", self.log())
            }
        }
    }

    fn line(&self) -> Result<String, RecvTimeoutError> {
        self.stdout.lock().expect("no reader panics").recv_timeout(PATIENCE)
    }

    /// Standard error so far.
    pub(crate) fn log(&self) -> String {
        let log = self.log.lock().expect("no reader panics");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until standard error has this in it: what the process has written may still be on its
    /// way here.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        wait_until(&format!("it says {text:?}"), || self.log().contains(text));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the child is ours");
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Waits for its end and for its last words.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the process has ended", || {
            status = self.child.try_wait().expect("the child is ours");
            status.is_some()
        });
        for reader in self.readers.drain(..) {
            reader.join().expect("no reader panics");
        }
        status.expect("waited for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error says that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
        // A second panic would hide the first.
        if !std::thread::panicking() {
            secrets::none_in(self.answers.lock().expect("no reader panics").as_bytes());
            secrets::none_in(&self.log.lock().expect("no reader panics"));
        }
    }
}
