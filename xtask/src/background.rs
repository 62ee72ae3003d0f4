//! Servers that run beside a command, on loopback only.
//!
//! Owns that none of them outlives the command: each is ended when its guard drops; Ctrl-C reaches
//! the whole group; and where `setpriv` exists (Linux) the kernel ends it when we are killed.

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::shell;

/// How long a server may take to start: moto imports for seconds on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a server may take to end when asked, before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A server that ends with this value.
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with its whole output in `log`.
    pub(crate) fn start(name: &'static str, command: &Command, log: PathBuf) -> Result<Self> {
        let output = File::create(&log).with_context(|| format!("cannot write {log:?}"))?;
        let mut tied = tied_to_us(command);
        let child = tied
            .current_dir(command.get_current_dir().unwrap_or_else(|| shell::root()))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Waits until it accepts connections.
    pub(crate) fn accepting(&mut self, address: SocketAddr) -> Result<()> {
        self.wait_for(|_| TcpStream::connect(address).is_ok().then_some(()))
    }

    /// Waits until `seen` finds what it wants in the log.
    pub(crate) fn wait_for<T>(&mut self, seen: impl Fn(&str) -> Option<T>) -> Result<T> {
        let started = Instant::now();
        loop {
            let log = self.log_text()?;
            if let Some(found) = seen(&log) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once: {status}\n{log}", self.name);
            }
            if started.elapsed() > START_MAX {
                bail!("{} was not ready within {START_MAX:?}\n{log}", self.name);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// What it has printed so far.
    pub(crate) fn log_text(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log).with_context(|| format!("no log of {}", self.name))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until it ends by itself, or by Ctrl-C.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        println!("{} ended: {status}", self.name);
        Ok(())
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // By TERM first: nginx and gunicorn end their workers only when they are asked.
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > STOP_MAX {
                self.child.kill()?;
                self.child.wait()?;
                return Ok(());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            println!("xtask: {} may still run: {error:#}", self.name);
        }
    }
}

/// The same command, ended by the kernel when this process is gone, where that can be had.
fn tied_to_us(command: &Command) -> Command {
    let mut tied = if shell::has("setpriv") {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program());
        setpriv
    } else {
        Command::new(command.get_program())
    };
    tied.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    tied
}

/// A loopback address that is free now.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on loopback")?;
    Ok(listener.local_addr()?)
}

/// The built `movies-api`, serving `store`; with the address that it chose.
pub(crate) fn movies_api(
    binary: &Path,
    store: &str,
    variables: &[(String, String)],
    log: PathBuf,
) -> Result<(Server, SocketAddr)> {
    movies_api_on("127.0.0.1:0", binary, store, variables, log)
}

/// [`movies_api`] on an address of its caller's.
pub(crate) fn movies_api_on(
    listen: &str,
    binary: &Path,
    store: &str,
    variables: &[(String, String)],
    log: PathBuf,
) -> Result<(Server, SocketAddr)> {
    let mut command = Command::new(binary);
    command.args(["serve", "--listen", listen, "--store", store]);
    command.envs(variables.iter().cloned());
    let mut server = Server::start("movies-api", &command, log)?;
    let address = server.wait_for(listening_on)?;
    Ok((server, address))
}

/// Adds a user to a file of users, which is made where there is none.
pub(crate) fn add_user(
    binary: &Path,
    users: &Path,
    (name, password): (&str, &str),
    role: &str,
) -> Result<()> {
    let mut command = Command::new(binary);
    command.args(["user", "add", name, "--role", role, "--users"]).arg(users);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    child.stdin.take().context("standard input is piped")?.write_all(password.as_bytes())?;
    ensure!(child.wait()?.success(), "`movies-api user add` failed");
    Ok(())
}

/// The address in the line that `movies-api` prints when it is ready.
pub(crate) fn listening_on(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("listening on http://")?;
    // A line that is still being written has no end yet.
    let (address, _) = rest.split_once(|c: char| c.is_whitespace() || c == '/')?;
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_from_a_whole_line_only() {
        assert_eq!(listening_on("listening on http://127.0.0.1:50"), None);
        assert_eq!(
            listening_on("\nlistening on http://127.0.0.1:5000\nmore"),
            "127.0.0.1:5000".parse().ok()
        );
    }

    #[test]
    fn a_dropped_server_is_gone() {
        let folder = shell::scratch("tests").expect("target can be written");
        let mut command = Command::new("sleep");
        command.arg("600");
        let server = Server::start("sleep", &command, folder.join("sleep.log")).expect("starts");
        let pid = server.child.id();
        drop(server);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_server_that_ends_at_once_is_an_error_with_its_output() {
        let folder = shell::scratch("tests").expect("target can be written");
        let mut command = Command::new("ls");
        command.arg("/nowhere");
        let mut server = Server::start("ls", &command, folder.join("ls.log")).expect("starts");
        let error = server.wait_for(|_| None::<()>).expect_err("it ended");
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }
}
