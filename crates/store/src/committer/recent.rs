//! The commits at the end of the log, for peers that lack them: whoever had a batch carried hears what
//! became of it from the commit itself, without a way to the bucket.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::key::{CommitHash, Seq};
use crate::peers::SHIPPED_BYTES_MAX;

/// So many are kept.
const COMMITS_MAX: usize = 64;

/// Those that were installed last, without a gap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent {
    commits: VecDeque<Kept>,
    bytes: usize,
    last: Seq,
}

#[derive(Clone, Debug)]
struct Kept {
    /// The hash of the one before it.
    prev: Option<CommitHash>,
    commit: Bytes,
}

impl Recent {
    /// Commit `seq` was installed, behind the one of hash `prev`.
    pub(super) fn push(&mut self, seq: Seq, prev: Option<CommitHash>, commit: Bytes) {
        if seq != self.last.next() {
            self.commits.clear();
            self.bytes = 0;
        }
        self.last = seq;
        self.bytes += commit.len();
        self.commits.push_back(Kept { prev, commit });
        while self.bytes > SHIPPED_BYTES_MAX || self.commits.len() > COMMITS_MAX {
            let Some(oldest) = self.commits.pop_front() else { break };
            self.bytes -= oldest.commit.len();
        }
    }

    /// All from `first` on; none where one of them is not here any more.
    pub(super) fn since(&self, first: Seq) -> Vec<Bytes> {
        match self.place(first) {
            Some(older) => {
                self.commits.iter().skip(older).map(|kept| kept.commit.clone()).collect()
            }
            None => Vec::new(),
        }
    }

    /// The hash of the commit before `first`, if that is kept.
    pub(super) fn before(&self, first: Seq) -> Option<CommitHash> {
        self.commits.get(self.place(first)?)?.prev
    }

    fn place(&self, seq: Seq) -> Option<usize> {
        let wanted = self.last.0.saturating_add(1).saturating_sub(seq.0);
        self.commits.len().checked_sub(usize::try_from(wanted).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(seq: u64) -> Bytes {
        Bytes::from(format!("commit {seq}"))
    }

    fn hash(seq: u64) -> CommitHash {
        CommitHash([u8::try_from(seq % 256).unwrap(); 32])
    }

    fn recent(seqs: impl IntoIterator<Item = u64>) -> Recent {
        let mut recent = Recent::default();
        for seq in seqs {
            recent.push(Seq(seq), Some(hash(seq - 1)), commit(seq));
        }
        recent
    }

    #[test]
    fn all_that_a_peer_lacks_or_nothing() {
        let recent = recent(5..=9);
        assert_eq!(recent.since(Seq(8)), [commit(8), commit(9)]);
        assert_eq!(recent.since(Seq(5)).len(), 5);
        assert_eq!(recent.since(Seq(4)), [] as [Bytes; 0], "one is not here");
        assert_eq!(recent.since(Seq(10)), [] as [Bytes; 0], "it lacks none");
        assert_eq!(recent.since(Seq(0)), [] as [Bytes; 0]);
        assert_eq!(recent.before(Seq(8)), Some(hash(7)));
        assert_eq!([4, 10, u64::MAX].map(|seq| recent.before(Seq(seq))), [None; 3]);
    }

    #[test]
    fn what_is_kept_has_no_gap_and_a_bound() {
        assert_eq!(recent([1, 2, 7]).since(Seq(2)), [] as [Bytes; 0]);
        assert_eq!(recent([1, 2, 7]).since(Seq(7)), [commit(7)]);
        assert_eq!(recent(1..1_000).commits.len(), COMMITS_MAX);
        let mut large = recent(1..=3);
        large.push(Seq(4), None, Bytes::from(vec![0; SHIPPED_BYTES_MAX]));
        assert_eq!(large.since(Seq(4)).len(), 1);
        large.push(Seq(5), None, Bytes::from(vec![0; SHIPPED_BYTES_MAX + 1]));
        assert_eq!((large.commits.len(), large.bytes), (0, 0));
    }
}
