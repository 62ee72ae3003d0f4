//! A commit of which only the number is left: the state comes from a checkpoint.

use std::sync::Arc;
use std::time::Duration;

use super::Committer;
use super::offer::Pending;
use super::recent::Recent;
use crate::checkpoint::load;
use crate::error::Error;
use crate::key::{LogId, Seq};

/// How long between two tries to read a checkpoint.
const PAUSE: Duration = Duration::from_secs(2);

impl Committer {
    /// Commit `seq` was pruned before this replica had applied it, which takes a stall of a day.
    /// The one way in which a state jumps over commits: a batch that waits may have been judged in
    /// one of them, so its waiters hear that its outcome is unknown, and it is not repeated.
    pub(super) async fn reload(&mut self, seq: Seq, checkpoint: Seq) -> Result<(), Error> {
        let object = self.log.object(seq);
        tracing::warn!(object, %checkpoint, "pruned before it was applied here; reading a checkpoint");
        if let Some(offer) = self.offer.take() {
            offer.answer_unknown();
        }
        self.forwarding.drain().for_each(Pending::answer_unknown);
        // Whoever wrote the commits that are gone may be gone as well.
        self.forwarding.follow(None, self.log.env().instant());
        self.guests.send_back();
        self.recent = Recent::default();
        self.creating = None;
        self.last_is_ours = false;
        let newest = loop {
            match load::newest_good(&self.log).await {
                Err(error) if !error.is_final() && !self.shared.is_closing() => {
                    tracing::warn!(%error, "no checkpoint can be read yet");
                    self.log.env().sleep(self.log.env().jittered(PAUSE)).await;
                }
                newest => break newest?,
            }
        };
        // A genesis that stands only in memory has no log's id yet.
        let ours = self.state.log;
        let is_ours = |log| log == ours || ours == LogId::ZERO;
        let fits = |state: &crate::State| state.seq >= seq && is_ours(state.log);
        let Some(mut state) = newest.state.filter(fits) else {
            return Err(Error::damaged(
                object,
                format!(
                    "it was pruned in favour of checkpoint {checkpoint}, and no checkpoint that contains it can be read"
                ),
            ));
        };
        self.shared.checkpointed(state.seq);
        state.movies = state.movies.replacing(&self.state.movies);
        self.state = Arc::new(state);
        self.shared.publish(&self.state);
        Ok(())
    }
}
