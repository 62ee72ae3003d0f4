//! Batches of other replicas.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Collection;
use crate::commit::{Action, Commit};
use crate::committer::Pending;
use crate::error::{Error, Result};
use crate::peers::{Carriage, FORWARD_BYTES_MAX, FORWARD_OPS_MAX};

impl Collection {
    /// Takes a batch of another replica along, if this one writes; ends when it is judged, or
    /// somebody else has to do it. `message`: what [`Peers::forward`](crate::Peers::forward) was
    /// given.
    ///
    /// Cancel safe: a batch that nobody waits for any more may still be committed.
    ///
    /// # Errors
    /// `Unprocessable` where the message is no batch, or one of another log; `Unsupported` where it
    /// needs a newer version.
    pub async fn carry(&self, message: Bytes) -> Result<Carriage> {
        let refuse = |reason: &str| {
            let (object, reason) = ("a batch of a peer".to_owned(), reason.into());
            Err(Error::Unprocessable { object, reason })
        };
        if message.len() > FORWARD_BYTES_MAX {
            return refuse("it is over what one replica takes of another");
        }
        let mut commit = match Commit::decode("a batch of a peer", &message) {
            Ok(commit) => commit,
            Err(error @ Error::Unsupported { .. }) => return Err(error),
            Err(error) => return refuse(&error.to_string()),
        };
        let state = self.latest();
        if commit.log != state.log || commit.format != state.format {
            return refuse("it is of another log: two deployments must not share an address");
        }
        let (Some(batch), None) = (commit.batches.pop(), commit.batches.pop()) else {
            return refuse("it is not one batch");
        };
        let ops = || batch.groups.iter().flat_map(|group| &group.ops);
        // Such stand in a commit alone, or withdraw it.
        let is_odd = ops().any(|op| matches!(op.action, Action::Upgrade { .. }));
        if batch.groups.is_empty() || is_odd || ops().count() > FORWARD_OPS_MAX {
            return refuse("it is no batch that one replica takes of another");
        }
        let (reply, carried) = oneshot::channel();
        let pending = Pending::of_peer(batch, reply, self.inner.log.env().instant());
        if self.inner.guests.try_send(pending).is_err() {
            return Ok(Carriage::NotCarried);
        }
        Ok(carried.await.unwrap_or(Carriage::NotCarried))
    }
}
