//! Checkpoints and publication, as the users of a collection see them.

use super::{CheckpointStatus, Collection, Inner};
use crate::error::{Error, Result};
use crate::log::Log;
use crate::meters::Meters;
use crate::publish::Publication;

impl Collection {
    /// How it stands with checkpoints.
    #[must_use]
    pub fn checkpoint(&self) -> CheckpointStatus {
        self.inner.shared.checkpoint().clone()
    }

    /// Has a checkpoint written of all movies that are in memory now, without waiting for its turn,
    /// unless there is one: a start then replays nothing that came before. Cancel safe: one under
    /// way goes on.
    ///
    /// # Errors
    /// Why none could be written; the log goes on, and the last one stands. `ReadOnly`, `Closing`, or
    /// the error that stopped the collection.
    pub async fn write_checkpoint(&self) -> Result<()> {
        let Inner { log, shared, read_only, .. } = &*self.inner;
        if *read_only {
            return Err(Error::ReadOnly);
        }
        let wanted = shared.latest().version().0;
        let (mut runs, mut stopped) = (shared.checkpoint_runs(), shared.stopped.subscribe());
        let mut ended = 0;
        while self.checkpoint().seq.unwrap_or_default() < wanted {
            shared.check()?;
            shared.bell.demand(log.env().instant());
            tokio::select! {
                biased;
                _ = runs.changed() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Err(shared.why_stopped()),
            }
            ended += 1;
            // The first may have begun before it was demanded.
            if let Some(trouble) = self.checkpoint().trouble.filter(|_| ended > 1) {
                return Err(Error::unavailable("write", "a checkpoint", trouble));
            }
        }
        Ok(())
    }

    /// Has one written soon, without waiting for it.
    pub(crate) fn demand_checkpoint(&self) {
        let Inner { log, shared, .. } = &*self.inner;
        shared.bell.demand(log.env().instant());
    }

    pub(crate) fn log(&self) -> &Log {
        &self.inner.log
    }

    pub(crate) fn meters(&self) -> &Meters {
        &self.inner.shared.meters
    }

    /// How it stands with the published file, as far as this replica writes it.
    #[must_use]
    pub fn publication(&self) -> Publication {
        self.inner.shared.publication().clone()
    }
}
