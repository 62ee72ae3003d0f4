//! The task that writes checkpoints, beside the owner of the tail and never in its way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::load::{self, Listed};
use super::manifest::Manifest;
use super::retention::{self, Swept};
use super::schedule::{Cause, Install, Schedule};
use super::write::{Draft, WRITES_MAX, Written};
use super::{CheckpointOptions, RUN_MAX};
use crate::collection::Shared;
use crate::error::{Error, Result};
use crate::key::Seq;
use crate::log::Log;
use crate::publish::Publisher;
use crate::state::State;

/// How often files that no manifest names are looked for, at most.
const SWEEP_PERIOD: Duration = Duration::from_secs(6 * 3_600);
/// The same, while a checkpoint that cannot be read keeps them.
const HELD_UP_SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// The longest sleep where nothing is due.
const IDLE_WAKE: Duration = Duration::from_secs(3_600);

/// How the owner of the tail tells of commits, and of its end. Nobody ever waits for it.
pub(crate) struct Bell {
    schedule: Mutex<Schedule>,
    news: Notify,
    closing: AtomicBool,
    close: Notify,
}

impl Bell {
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self {
            schedule: Mutex::new(schedule),
            news: Notify::new(),
            closing: AtomicBool::new(false),
            close: Notify::new(),
        }
    }

    /// A commit was installed.
    pub(crate) fn installed(&self, install: &Install) {
        self.schedule().installed(install);
        self.news.notify_one();
    }

    /// Somebody waits for a checkpoint.
    pub(crate) fn demand(&self, at: Instant) {
        self.schedule().demand(at);
        self.news.notify_one();
    }

    /// No more checkpoints: one under way is abandoned.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.close.notify_one();
    }

    async fn closed(&self) {
        while !self.closing.load(Ordering::Acquire) {
            self.close.notified().await;
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes one checkpoint at a time, when it is due.
pub(crate) struct Checkpointer {
    pub(crate) log: Log,
    pub(crate) shared: Arc<Shared>,
    /// Takes the movies of each checkpoint.
    pub(crate) publisher: Publisher,
    pub(crate) writer: Arc<str>,
    pub(crate) options: CheckpointOptions,
    /// The newest one known, if this task wrote or read it.
    pub(crate) base: Option<Manifest>,
    /// Whether a checkpoint was found damaged: the next one writes every file, which heals those
    /// that are still named, and reuses none.
    pub(crate) distrusts: bool,
    pub(crate) sweep_not_before: Option<Instant>,
    /// What the last run left to be cleaned up.
    pub(crate) listed: Vec<Listed>,
}

impl Checkpointer {
    /// Runs until the collection closes or stops. Dropping the task at any point leaves garbage
    /// at worst.
    pub(crate) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            biased;
            () = shared.bell.closed() => {}
            () = self.work() => {}
        }
    }

    async fn work(&mut self) {
        let env = self.log.env().clone();
        let mut patience = env.jittered(self.options.patience);
        self.publisher.recover().await;
        self.publisher.resume(&self.shared.latest()).await;
        loop {
            let now = env.instant();
            let is_due = |at: &Instant| *at <= now;
            let checkpoint = self.shared.bell.schedule().due_at(patience);
            let publication = self.publisher.due_at(now);
            if publication.as_ref().is_some_and(is_due) && !checkpoint.as_ref().is_some_and(is_due)
            {
                self.publisher.run().await;
                continue;
            }
            let due = [checkpoint, publication].into_iter().flatten().min();
            let due = due.unwrap_or(now + IDLE_WAKE);
            if due > now {
                let shared = Arc::clone(&self.shared);
                tokio::select! {
                    biased;
                    () = shared.bell.news.notified() => {}
                    () = env.sleep_until(due) => {}
                }
                continue;
            }
            let cause = self.shared.bell.schedule().began();
            let run = env.timeout(RUN_MAX, self.once(cause)).await;
            let done = run.unwrap_or_else(|| {
                Err(Error::unavailable("write", "a checkpoint", "it takes too long"))
            });
            // Their time counts together.
            if self.publisher.due_at(now).as_ref().is_some_and(is_due) {
                self.publisher.run().await;
            }
            self.close_run(done, now);
            // Not part of the run: nothing waits for it but the next one.
            self.clean_up().await;
            patience = env.jittered(self.options.patience);
        }
    }

    fn close_run(&self, done: Result<Option<Written>>, began: Instant) {
        let now = self.log.env().instant();
        let took = now.saturating_duration_since(began);
        let took_ms = took.as_millis();
        match done {
            Ok(written) => {
                self.shared.bell.schedule().ended(began, now);
                self.shared.checkpoint_done(self.log.env().now());
                if let Some(Written { manifest, files, .. }) = written {
                    self.shared.meters.checkpoint_time.record_time(took);
                    tracing::info!(
                        collection = %self.log.name(),
                        seq = %manifest.seq,
                        movies = manifest.movies,
                        files_written = files,
                        files_reused = manifest.files().count() - files,
                        took_ms,
                        "checkpoint"
                    );
                }
            }
            Err(error) => {
                self.shared.bell.schedule().failed(began, now);
                tracing::warn!(
                    collection = %self.log.name(),
                    %error,
                    "no checkpoint could be written; the log goes on, and the last one stands"
                );
                self.shared.checkpoint_failed(error.to_string().into());
            }
        }
        self.shared.checkpoint_run_ended();
    }

    /// Writes a checkpoint of the latest state, unless another replica has; then cleans up.
    async fn once(&mut self, cause: Cause) -> Result<Option<Written>> {
        let mut listed = load::list(&self.log).await?;
        let state = self.shared.latest();
        let Some(hash) = state.hash else { return Ok(None) };
        let newest = listed.first().copied();
        if !self.distrusts {
            if newest.is_some_and(|newest| self.another_serves(newest, &state, cause)) {
                self.publisher.resume(&self.shared.latest()).await;
                let env = self.log.env();
                self.publisher.stand_back(env.instant() + env.jittered(self.options.patience));
                return Ok(None);
            }
            self.learn(newest).await?;
        }
        let draft = Draft {
            log: &self.log,
            state: &state,
            base: self.base.as_ref(),
            file_bytes: self.options.file_bytes,
            writer: Arc::clone(&self.writer),
            press: Semaphore::new(if cause == Cause::Demand { WRITES_MAX } else { 1 }),
        };
        let written = draft.write(hash).await?;
        if newest.is_none_or(|newest| newest.seq < state.seq) {
            listed.insert(0, Listed { seq: state.seq, at: self.log.env().now() });
        }
        // Files that only our own draft names are nobody's: what is reused must stand in a
        // manifest. And what is damaged there stays so until there is a later one.
        self.base = written.is_ours.then(|| written.manifest.clone());
        self.distrusts &= !written.is_ours;
        self.shared.checkpointed(state.seq);
        self.publisher.checkpointed(&written.manifest, &state);
        self.listed = listed;
        Ok(Some(written))
    }

    /// Whether another replica is at work: it has written a checkpoint of all that we have, or one
    /// since we looked last, and it was another's commit that called for this one. What that does
    /// not cover is waited for anew.
    fn another_serves(&self, newest: Listed, state: &State, cause: Cause) -> bool {
        let known = self.shared.checkpointed(newest.seq);
        if newest.seq >= state.seq {
            return true;
        }
        if cause != Cause::Another || newest.seq <= known {
            return false;
        }
        let rest = Install {
            at: self.log.env().instant(),
            // Not known; the next one that crosses the line finds out.
            bytes: 0,
            state_bytes: state.movies.wire_bytes(),
            changes: state.version.0 > newest.seq,
            is_ours: false,
        };
        self.shared.bell.schedule().replayed(state.seq.0 - newest.seq.0, &rest);
        true
    }

    /// Makes the newest manifest the base; one that cannot be used is no base.
    async fn learn(&mut self, newest: Option<Listed>) -> Result<()> {
        if self.base.as_ref().map(|base| base.seq) == newest.map(|newest| newest.seq) {
            return Ok(());
        }
        self.base = None;
        if let Some(newest) = newest {
            match load::manifest(&self.log, newest.seq).await {
                // One of another log, on a bucket that was mixed up, says nothing of our pages.
                Ok(Some(manifest)) if manifest.log == self.shared.latest().log => {
                    self.base = Some(manifest);
                }
                // And one that has gone since it was listed cannot be reused.
                Ok(_) => {}
                Err(error) if error.is_final() => {
                    tracing::warn!(collection = %self.log.name(), %error, "a checkpoint cannot be used");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What cannot be cleaned up now is garbage for the next time.
    async fn clean_up(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        if listed.is_empty() {
            return;
        }
        let grace = self.options.grace;
        let published = self.shared.latest().file().map_or(Seq::ZERO, |file| file.seq);
        if let Err(failure) = retention::thin(&self.log, &listed, grace, published).await {
            tracing::debug!(collection = %self.log.name(), reason = %failure.reason, "an old checkpoint stays");
        }
        let now = self.log.env().instant();
        if self.sweep_not_before.is_some_and(|earliest| now < earliest) {
            return;
        }
        self.sweep_not_before = Some(now + SWEEP_PERIOD);
        match retention::sweep(&self.log, grace + RUN_MAX).await {
            Ok(Swept { files, unreadable }) => {
                if !unreadable.is_empty() {
                    // Who mends it should see that soon.
                    self.sweep_not_before = Some(now + HELD_UP_SWEEP_PERIOD);
                }
                if files > 0 {
                    tracing::info!(collection = %self.log.name(), files, "files of no checkpoint are gone");
                }
                for found in self.shared.checkpoints_damaged(unreadable) {
                    tracing::warn!(
                        collection = %self.log.name(),
                        %found,
                        "a checkpoint cannot be read: until it is restored or moved away, no file \
                         of old ones is deleted"
                    );
                }
            }
            Err(error) => tracing::debug!(collection = %self.log.name(), %error, "garbage stays"),
        }
    }
}
