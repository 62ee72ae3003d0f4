//! Passwords are hashed on threads of their own, which yield to everything else: a storm of logins
//! must not take time from reads.

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;
use tracing::debug;

use super::file::Hash;
use crate::auth::Secret;

/// The most passwords that wait; at some tens of milliseconds each.
const WAITING_MAX: usize = 64;
/// One thread for so many cores.
const CORES_A_THREAD: usize = 4;
/// The least urgent there is.
const NICENESS: i32 = 19;

/// Where passwords are hashed.
#[derive(Debug)]
pub(super) struct Hasher {
    jobs: SyncSender<Job>,
    /// How many were hashed.
    #[cfg(test)]
    pub(super) hashed: std::sync::atomic::AtomicUsize,
}

#[derive(Debug)]
struct Job {
    password: Secret,
    hash: Arc<Hash>,
    answer: oneshot::Sender<bool>,
}

impl Hasher {
    /// Starts the threads; they end with the value.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel(WAITING_MAX);
        let queue = Arc::new(Mutex::new(queue));
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        for _ in 0..(cores / CORES_A_THREAD).max(1) {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("hasher".to_owned()).spawn(move || work(&queue))?;
        }
        Ok(Self {
            jobs,
            #[cfg(test)]
            hashed: Default::default(),
        })
    }

    /// Whether the password fits; none where too many wait.
    pub(super) async fn verify(&self, password: Secret, hash: Arc<Hash>) -> Option<bool> {
        let (answer, verdict) = oneshot::channel();
        self.jobs.try_send(Job { password, hash, answer }).ok()?;
        let verdict = verdict.await.ok()?;
        #[cfg(test)]
        self.hashed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Some(verdict)
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    // Zero is the calling thread: on Linux threads have priorities, on others processes.
    #[cfg(target_os = "linux")]
    if rustix::process::setpriority_process(None, NICENESS).is_err() {
        debug!("logins are as urgent as reads: the priority cannot be lowered");
    }
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { password, hash, answer }) = job else { return };
        // Whoever asked may be gone.
        if !answer.is_closed() {
            let _ = answer.send(hash.fits(&password));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_too_much_is_refused_at_once() {
        let hasher = Hasher::start().unwrap();
        let hash = Arc::new(Hash::of(&Secret::new("right".to_owned())).unwrap());
        let verify =
            |password: &str| hasher.verify(Secret::new(password.to_owned()), Arc::clone(&hash));
        let storm = (0..4 * WAITING_MAX).map(|_| verify("wrong"));
        let verdicts = futures_util::future::join_all(storm).await;
        assert!(verdicts.iter().all(|verdict| verdict != &Some(true)));
        assert!(verdicts.contains(&None), "some are refused");
        assert!(verdicts.contains(&Some(false)), "some are looked at");
        assert_eq!(verify("right").await, Some(true));
    }
}
