//! Each numbered invariant of the design as one function, used by the store itself, by the
//! simulation and by the tests. They say what does not hold, in words.

use std::collections::BTreeSet;

use crate::commit::{Action, Commit, Outcome, UNTIL_WINDOW};
use crate::key::{LogId, Seq};
use crate::page::Page;
use crate::snapshot::Snapshot;
use crate::state::State;

/// What does not hold.
pub type Broken = String;

/// Invariants 1 and 2: a commit has the next number, the same log and the hash of its
/// predecessor; and only a genesis begins a log.
///
/// # Errors
/// What does not fit.
pub fn commit_follows(state: &State, commit: &Commit) -> Result<(), Broken> {
    if commit.seq != state.seq.next() {
        return Err(format!(
            "it says that it is commit {}, but commit {} is due",
            commit.seq,
            state.seq.next()
        ));
    }
    let is_genesis = commit.seq == Seq(1);
    if commit.log == LogId::ZERO || (!is_genesis && commit.log != state.log) {
        return Err(format!("it belongs to log {}, not to log {}", commit.log, state.log));
    }
    if commit.format != state.format {
        return Err(format!(
            "it is in format {}, but the log is in format {}",
            commit.format, state.format
        ));
    }
    if commit.prev != state.hash {
        let shown = |hash: Option<crate::key::CommitHash>| {
            hash.map_or_else(|| "nothing".into(), |hash| hash.to_string())
        };
        return Err(format!(
            "it follows a commit with hash {}, but its predecessor has {}",
            shown(commit.prev),
            shown(state.hash)
        ));
    }
    let ops = || commit.batches.iter().flat_map(|batch| &batch.groups).flat_map(|group| &group.ops);
    let alone = ops().count() == 1;
    if is_genesis && !(alone && ops().all(|op| matches!(op.action, Action::Adopt(_)))) {
        return Err("it is the first of its log but no genesis".to_owned());
    }
    if !alone && ops().any(|op| matches!(op.action, Action::Upgrade { .. })) {
        return Err("an upgrade must be alone in its commit".to_owned());
    }
    Ok(())
}

/// Invariant 4: a batch counts at most once, at or before its `until`.
///
/// # Errors
/// The batch that does not fit.
pub fn batches_count_once(state: &State, commit: &Commit) -> Result<(), Broken> {
    let mut here = BTreeSet::new();
    for batch in &commit.batches {
        if !here.insert(batch.id) || state.judged.contains(batch.id) {
            return Err(format!("batch {} stands in it, but was judged before", batch.id));
        }
        if batch.until < commit.seq || batch.until.0 > commit.seq.0 + UNTIL_WINDOW {
            return Err(format!(
                "batch {} may count until commit {} only, or says so falsely",
                batch.id, batch.until
            ));
        }
    }
    Ok(())
}

/// Invariant 2: the recorded outcomes are those that this replica computes.
///
/// # Errors
/// The first op whose outcome differs.
pub fn outcomes_agree(recorded: &Commit, computed: &Commit) -> Result<(), Broken> {
    let ops = |commit: &'_ Commit| -> Vec<crate::commit::Op> {
        commit
            .batches
            .iter()
            .flat_map(|batch| &batch.groups)
            .flat_map(|group| group.ops.clone())
            .collect()
    };
    if recorded == computed {
        return Ok(());
    }
    let differing =
        ops(recorded).into_iter().zip(ops(computed)).enumerate().find(|(_, (a, b))| a != b);
    Err(match differing {
        Some((index, (recorded, computed))) => format!(
            "the outcome of op {index} ({}) is recorded as {}, but this replica computes {}",
            recorded.action.name(),
            told(recorded.out),
            told(computed.out)
        ),
        None => "its outcomes are not those that this replica computes".to_owned(),
    })
}

fn told(outcome: Option<Outcome>) -> String {
    let Some(Outcome { code, tag, was }) = outcome else { return "nothing".to_owned() };
    let tag = tag.map_or_else(String::new, |tag| format!(", tag m-{tag}"));
    let was = was.map_or_else(String::new, |was| format!(", changed in commit {was} before"));
    format!("{code}{tag}{was}")
}

/// Invariant 7 for one page: sorted, in bounds, and the columns agree with the JSON.
///
/// # Errors
/// The row that does not fit.
pub fn page_is_sound(page: &Page) -> Result<(), Broken> {
    let mut last = None;
    for index in 0..page.count() {
        let (Some(row), Some(key)) = (page.row(index), page.key(index)) else {
            return Err(format!("row {index} cannot be read"));
        };
        let movie = crate::movie::Movie::from_log(row.json)
            .map_err(|found| format!("row {index}: {found}"))?;
        if *movie.key() != key {
            return Err(format!("row {index} is {} but its columns say {key}", movie.key()));
        }
        if last.as_ref().is_some_and(|last| *last >= key) {
            return Err(format!("row {index} ({key}) is out of order"));
        }
        last = Some(key);
    }
    if page.count() == 0 { Err("a page is empty".to_owned()) } else { Ok(()) }
}

/// Invariant 7 for a snapshot: sound pages whose keys do not overlap, and true totals.
///
/// # Errors
/// What does not fit.
pub fn snapshot_is_sound(snapshot: &Snapshot) -> Result<(), Broken> {
    let (mut count, mut bytes, mut last) = (0, 0, None);
    for page in snapshot.pages() {
        page_is_sound(page)?;
        let (first, end) = (page.key(0), page.key(page.count() - 1));
        if last.is_some() && last >= first {
            return Err("the keys of two pages overlap".to_owned());
        }
        last = end;
        count += page.count() as u64;
        bytes += page.wire().len() as u64;
    }
    if (count, bytes) != (snapshot.count(), snapshot.wire_bytes()) {
        return Err(format!(
            "it holds {count} movies in {bytes} bytes, but says {} in {}",
            snapshot.count(),
            snapshot.wire_bytes()
        ));
    }
    Ok(())
}

/// Invariant 2: two replicas at the same commit have the same state, compared by logical records.
///
/// # Errors
/// The part that differs.
pub fn states_agree(a: &State, b: &State) -> Result<(), Broken> {
    let part = |what: &str, same: bool| {
        if same { Ok(()) } else { Err(format!("{what} differ after commit {}", a.seq)) }
    };
    part("the numbers", a.seq == b.seq)?;
    part("the logs", a.log == b.log && a.hash == b.hash)?;
    part("the versions", a.version == b.version && a.changed_at == b.changed_at)?;
    part("the effective times", a.at == b.at)?;
    part("the registers", a.file == b.file && a.dropped == b.dropped && a.format == b.format)?;
    part("the idempotency keys", a.keys.after(None).eq(b.keys.after(None)))?;
    part("the judged batches", a.judged.iter().eq(b.judged.iter()))?;
    part("the movies", a.movies.rows().eq(b.movies.rows()))
}

/// Invariant 8: a checkpoint is the state that the log adds up to at its commit. (That the same
/// commits lead on from both is invariant 2.)
///
/// # Errors
/// The part that differs.
pub fn checkpoint_is_the_state(checkpoint: &State, replayed: &State) -> Result<(), Broken> {
    states_agree(checkpoint, replayed)?;
    snapshot_is_sound(checkpoint.movies())
}
