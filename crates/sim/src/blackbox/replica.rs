//! One real process of the service: started, paused, ended and killed.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// How long one may take until it serves, other attempts included: faults go on meanwhile.
const START_MAX: Duration = Duration::from_secs(60);
/// How long one may take to finish what it has accepted.
const STOP_MAX: Duration = Duration::from_secs(40);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// What it prints when it serves.
const READY: &str = "listening on http://";

/// What all replicas have in common.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// The built service.
    pub(super) binary: PathBuf,
    /// Where logs go.
    pub(super) folder: PathBuf,
    /// `s3://bucket`.
    pub(super) store: String,
    /// Whether no replica can reach another.
    pub(super) alone: bool,
    /// Options of every replica's `serve` besides those of [`Replica::options`].
    pub(super) serve: Vec<String>,
}

/// What all replicas know and nobody else.
const INTERNAL_KEY: &str = "of three replicas that trust one another";

/// One replica: a place with an address, and the process that lives there now.
#[derive(Debug)]
pub(super) struct Replica {
    number: usize,
    launch: Arc<Launch>,
    /// The address of the API.
    pub(super) address: SocketAddr,
    /// The address of `/metrics`.
    pub(super) admin: SocketAddr,
    /// Where other replicas hand over writes.
    internal: SocketAddr,
    /// Where it finds its bucket.
    proxy: SocketAddr,
    child: Option<Child>,
    lives: u32,
}

impl Replica {
    /// A place without a process.
    ///
    /// # Errors
    /// Where the system gives no ports.
    pub(super) fn new(number: usize, launch: &Arc<Launch>, proxy: SocketAddr) -> Result<Self> {
        // All at once, so that they differ.
        let bind = || TcpListener::bind(("127.0.0.1", 0));
        let [address, admin, internal] = [bind()?, bind()?, bind()?];
        let (address, admin) = (address.local_addr()?, admin.local_addr()?);
        let internal = internal.local_addr()?;
        let launch = Arc::clone(launch);
        Ok(Self { number, launch, address, admin, internal, proxy, child: None, lives: 0 })
    }

    /// Starts a process and waits until it serves; one that gives up is started again, as a
    /// supervisor would.
    ///
    /// # Errors
    /// Where none serves in time.
    pub(super) async fn start(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let mut refused = String::new();
        while began.elapsed() < START_MAX {
            match self.start_once(began).await? {
                None => return Ok(began.elapsed()),
                Some(log) => refused = log,
            }
            sleep(LOOK_AGAIN * 20).await;
        }
        bail!("r{} did not serve within {START_MAX:?}; the last said:\n{refused}", self.number)
    }

    /// What it printed, if it ended instead of serving.
    async fn start_once(&mut self, began: Instant) -> Result<Option<String>> {
        let log = self.spawn()?;
        loop {
            let printed = fs::read_to_string(&log).unwrap_or_default();
            if printed.contains(READY) {
                return Ok(None);
            }
            let child = self.child.as_mut().context("it was just started")?;
            if child.try_wait()?.is_some() || began.elapsed() > START_MAX {
                child.kill().unwrap_or(());
                child.wait()?;
                self.child = None;
                return Ok(Some(printed));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// What distinguishes one replica from another, and what it is to know of the others.
    fn options(&self) -> Vec<String> {
        let mut options = vec![
            ("--store", self.launch.store.clone()),
            ("--replica", format!("r{}", self.number)),
            ("--listen", self.address.to_string()),
            ("--admin-listen", self.admin.to_string()),
            ("--internal-listen", self.internal.to_string()),
        ];
        if self.launch.alone {
            // Nobody listens there.
            options.push(("--internal-advertise", "127.0.0.1:1".to_owned()));
        }
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    fn spawn(&mut self) -> Result<PathBuf> {
        self.lives += 1;
        let Launch { binary, folder, serve, .. } = &*self.launch;
        let log = folder.join(format!("r{}-{}.log", self.number, self.lives));
        let output = File::create(&log).with_context(|| format!("cannot write {log:?}"))?;
        // The kernel ends it when this process is gone, however it ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(binary).arg("serve");
        command.args(self.options()).args(serve);
        command.env("MOVIES_INTERNAL_KEY", INTERNAL_KEY);
        command.env("AWS_ENDPOINT_URL", format!("http://{}", self.proxy));
        let child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn();
        self.child = Some(child.context("cannot start a replica (is `setpriv` there?)")?);
        Ok(log)
    }

    /// Whether its process has ended without being asked.
    ///
    /// # Errors
    /// Where it has.
    pub(super) fn still_runs(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let ended = child.try_wait()?;
        ensure!(ended.is_none(), "r{} ended by itself: {ended:?}", self.number);
        Ok(())
    }

    /// SIGKILL, as a power cut.
    ///
    /// # Errors
    /// Where it does not run.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        let ended = self.child.take().context("it was alive")?.wait()?;
        ensure!(
            ended.signal() == Some(9),
            "r{} had ended before it was killed: {ended}",
            self.number
        );
        Ok(())
    }

    /// SIGSTOP: its time stands still, its connections stay open.
    ///
    /// # Errors
    /// Where it does not run.
    pub(super) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// Where it does not run.
    pub(super) fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM; waits until it has finished what it had accepted. An error of its own is only
    /// told: with its bucket away it may have had to cut requests off.
    ///
    /// # Errors
    /// Where it does not end in time, or by a signal.
    pub(super) async fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let asked = Instant::now();
        let mut child = self.child.take().context("it was alive")?;
        loop {
            if let Some(ended) = child.try_wait()? {
                ensure!(ended.code().is_some(), "r{} ended by {ended}", self.number);
                return Ok(ended);
            }
            if asked.elapsed() > STOP_MAX {
                child.kill()?;
                child.wait()?;
                bail!("r{} did not end within {STOP_MAX:?} of SIGTERM", self.number);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().with_context(|| format!("r{} is down", self.number))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process has a number")?, signal)?;
        Ok(())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // A stopped process hears SIGKILL as well.
            child.kill().unwrap_or(());
            drop(child.wait());
        }
    }
}
