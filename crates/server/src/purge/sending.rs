//! The one task that sends what waits: rounds of calls, pauses after failures, a farewell. Knows no
//! provider's form.

use std::future::pending;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::Purges;
use super::provider::{Answer, Provider, Target};
use crate::app::CacheTag;
use crate::auth::{Secret, Watched, variable};
use crate::calling;

/// The variable that holds the token itself: orchestrators hand secrets over so.
const TOKEN: &str = "MOVIES_PURGE_TOKEN";
/// The least time from the begin of a round of calls to the next.
const ROUND: Duration = Duration::from_secs(1);
/// The calls of a round that are under way at once.
const CALLS_AT_ONCE: usize = 4;
/// How long what still waits may take at the end.
const FAREWELL: Duration = Duration::from_secs(3);

/// The running task.
#[derive(Debug)]
pub struct Purging {
    /// What it sends.
    pub purges: Purges,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Purging {
    /// Sends from now on what is noted. The token stands in a file, which is read again when it
    /// changes, or in `MOVIES_PURGE_TOKEN`.
    ///
    /// # Errors
    /// Where the token cannot be read, is missing or none.
    pub fn start(
        target: Target,
        token_file: Option<&Path>,
        max_staleness: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let caller = Arc::new(Caller::new(target, token_file)?);
        let call_max = caller.provider.load().call_max();
        let call: Call = Box::new(move |tags| {
            let caller = Arc::clone(&caller);
            Box::pin(async move { caller.provider().purge(&tags).await })
        });
        let purges = Purges::new(max_staleness);
        let sender = Sender::new(purges.clone(), call, call_max);
        let (stop, stopped) = oneshot::channel();
        Ok(Self { purges, stop, task: tokio::spawn(sender.run(stopped)) })
    }

    /// Sends once what still waits, and ends: after a few seconds at most.
    pub async fn finish(self) {
        drop(self.stop);
        if self.task.await.is_err() {
            warn!("the task that purges ended before its time");
        }
    }
}

/// Who is called.
struct Caller {
    target: Target,
    provider: ArcSwap<Provider>,
    token: Option<Mutex<Watched>>,
}

impl Caller {
    fn new(target: Target, token_file: Option<&Path>) -> anyhow::Result<Self> {
        let secret = variable(TOKEN, token_file)?;
        let token = token_file.map(|path| Mutex::new(Watched::new(path)));
        let secret = match token_file {
            Some(path) => Some(read(path).context("--purge-token-file")?),
            None => secret,
        };
        let provider = Provider::new(&target, secret.as_ref()).context("--purge")?;
        if provider.tells_its_token() {
            warn!("the token of --purge goes over the network in the open: use https");
        }
        Ok(Self { target, provider: ArcSwap::from_pointee(provider), token })
    }

    /// By the token that counts now.
    fn provider(&self) -> Arc<Provider> {
        if let Some(token) = &self.token {
            let mut token = token.lock().unwrap_or_else(PoisonError::into_inner);
            let read = |path: &Path| Provider::new(&self.target, Some(&read(path)?));
            if let Some(provider) = token.read_again("purge token", read) {
                self.provider.store(Arc::new(provider));
            }
        }
        self.provider.load_full()
    }
}

fn read(path: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(path);
    text.map(Secret::new).with_context(|| format!("cannot read {}", path.display()))
}

/// One call.
pub(super) type Call = Box<dyn Fn(Vec<CacheTag>) -> BoxFuture<'static, Answer> + Send + Sync>;

/// Sends what waits.
pub(super) struct Sender {
    purges: Purges,
    call: Call,
    call_max: usize,
    /// Rounds that failed, since one did not.
    failures: u32,
    /// The begin of the next round, at the earliest.
    next: Instant,
}

impl Sender {
    pub(super) fn new(purges: Purges, call: Call, call_max: usize) -> Self {
        Self { purges, call, call_max, failures: 0, next: Instant::now() }
    }

    /// Until `stopped` is told or dropped. Dropping the future loses nothing but what waits.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            let due = self.purges.waiting().next();
            let ready = async {
                match due {
                    Some(due) => sleep_until(due.max(self.next)).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                () = ready => {}
                () = self.purges.inner.woken.notified() => continue,
            }
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                () = self.round() => {}
            }
        }
        {
            let mut waiting = self.purges.waiting();
            waiting.again();
            waiting.hasten();
        }
        // That it takes too long shows in what is left.
        drop(timeout(FAREWELL, self.round()).await);
        let left = self.purges.waiting().len();
        if left > 0 {
            warn!(left, "caches did not hear of all that changed, and are stale up to --cdn-ttl");
        }
    }

    /// Sends what is due, up to the first call that fails; what was not purged waits again.
    /// Dropped, it is as if calls under way had failed.
    async fn round(&mut self) {
        let begun = Instant::now();
        let tags = self.purges.waiting().take(begun);
        let calls: Vec<_> = tags.chunks(self.call_max).map(<[CacheTag]>::to_vec).collect();
        let calls = stream::iter(calls).map(|tags| {
            let answer = (self.call)(tags.clone());
            async move { (tags, answer.await) }
        });
        let mut answers = calls.buffer_unordered(CALLS_AT_ONCE);
        let mut failure = None;
        while let (None, Some((tags, answer))) = (&failure, answers.next().await) {
            self.purges.answered(&tags, &answer);
            failure = Some(answer).filter(|answer| *answer != Answer::Purged);
        }
        drop(answers);
        self.purges.waiting().again();
        match failure {
            None => self.went_well(begun),
            Some(answer) => self.pause(answer),
        }
    }

    fn went_well(&mut self, begun: Instant) {
        self.next = begun + ROUND;
        self.failures = 0;
        if self.purges.done().trouble.take().is_some() {
            info!("purges go on");
        }
    }

    fn pause(&mut self, answer: Answer) {
        let (why, asked) = match answer {
            Answer::Purged => return,
            Answer::Limited(pause) => {
                // Fewer tags, each of which purges more, until there is room again.
                self.purges.waiting().widen();
                ("over the provider's rate".to_owned(), pause)
            }
            Answer::Refused(why) => (why, None),
            Answer::Failed(why, pause) => (why, pause),
        };
        let pause = calling::pause(self.failures, asked);
        self.failures = self.failures.saturating_add(1);
        self.next = Instant::now() + pause;
        let waiting = self.purges.waiting().len();
        let known = self.purges.done().trouble.replace(why.clone());
        if known.as_ref() == Some(&why) {
            debug!(why, ?pause, waiting, "a purge failed again");
        } else {
            warn!(
                why,
                ?pause,
                waiting,
                "a purge failed and is tried again; caches are stale meanwhile"
            );
        }
    }
}

impl Purges {
    fn answered(&self, tags: &[CacheTag], answer: &Answer) {
        let mut done = self.done();
        match answer {
            Answer::Purged => {
                done.ok += 1;
                done.tags += tags.len() as u64;
            }
            Answer::Limited(_) => done.limited += 1,
            Answer::Refused(_) => done.refused += 1,
            Answer::Failed(..) => done.failed += 1,
        }
        drop(done);
        if *answer == Answer::Purged {
            self.waiting().purged(tags);
        }
    }
}
