//! `movies-api log`: the last commits of a collection, newest first, as `git log` shows them.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use movies_store::Error;
use movies_store::commit::{Action, Batch, Commit, Group, Op, Outcome};
use movies_store::history::{log_tail, read_commit};
use movies_store::key::{CollectionName, MovieKey, Seq};
use serde_json::{Value, json};

use crate::config::LogArgs;

/// Prints the last commits.
///
/// # Errors
/// Where there is no log, it cannot be read, or standard output cannot be written.
pub async fn run(args: &LogArgs) -> anyhow::Result<ExitCode> {
    let name = CollectionName::parse(&args.filename)?;
    let bucket = super::open(&args.store)?;
    let Some(tail) = log_tail(&bucket, &name).await? else {
        bail!("{name} in {} has no log", bucket.url());
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let last = tail.0.saturating_sub(args.number);
    for seq in (last + 1..=tail.0).rev().map(Seq) {
        let commit = match read_commit(&bucket, &name, seq).await {
            Err(Error::Pruned { checkpoint, .. }) => {
                writeln!(out, "{}", pruned(seq, checkpoint, args.json))?;
                break;
            }
            read => {
                read?.with_context(|| format!("commit {seq} is missing below commit {tail}"))?
            }
        };
        if args.json {
            writeln!(out, "{}", as_json(&commit))?;
        } else {
            write!(out, "{}", as_text(&commit))?;
        }
        // A bucket is slow and a person reads along.
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Commits are pruned from the first one on, so this one stands for all before it.
fn pruned(seq: Seq, checkpoint: Seq, json: bool) -> String {
    if json {
        return json!({ "seq": seq.0, "pruned_to": checkpoint.0 }).to_string();
    }
    format!("commits 1 to {seq}\n\n    pruned: what they did is in checkpoint {checkpoint}\n")
}

fn as_text(commit: &Commit) -> String {
    let mut text = format!(
        "commit {}\nDate:   {}\nWriter: {}\n\n",
        commit.seq,
        commit.at,
        plain(&commit.writer)
    );
    for (batch, group) in groups(commit) {
        let mut whose = String::new();
        if let Some(by) = &group.by {
            whose += &format!("  by {}", plain(by));
        }
        if batch.from != commit.writer {
            whose += &format!("  for {}", batch.from);
        }
        for op in &group.ops {
            text += &format!("    {}{whose}\n", op_line(op));
        }
    }
    for batch in commit.batches.iter().filter(|batch| batch.groups.is_empty()) {
        text += &format!("    withdraw batch {}\n", batch.id);
    }
    text + "\n"
}

/// Every request of a commit, with the batch that carried it.
fn groups(commit: &Commit) -> impl Iterator<Item = (&Batch, &Group)> {
    commit.batches.iter().flat_map(|batch| batch.groups.iter().map(move |group| (batch, group)))
}

fn op_line(op: &Op) -> String {
    let what = match &op.action {
        Action::Put(movie) => of_movie(movie.key()),
        Action::Delete(key) => of_movie(key),
        Action::Adopt(adoption) => format!("{} movies", adoption.changes.len()),
        Action::Published { to, .. } => format!("version {}", to.seq),
        Action::Upgrade { to } => format!("to format {to}"),
        Action::Drop | Action::Create => "the collection".to_owned(),
    };
    let out = op.out.as_ref().map_or_else(|| "no outcome recorded".to_owned(), outcome);
    format!("{:<9} {what}: {out}", op.action.name())
}

fn outcome(out: &Outcome) -> String {
    let refused = if out.code.is_refusal() { "refused, " } else { "" };
    let was = out.was.map(|seq| format!(" (was {seq})")).unwrap_or_default();
    format!("{refused}{}{was}", out.code)
}

fn of_movie(key: &MovieKey) -> String {
    format!("{} ({})", plain(key.name()), key.year())
}

/// Text of a client on a terminal: what would steer it (control and direction marks) is escaped.
pub(super) fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if steers(c) { c.escape_unicode().to_string() } else { c.to_string() })
        .collect()
}

fn as_json(commit: &Commit) -> Value {
    let ops = groups(commit).flat_map(|(batch, group)| {
        group.ops.iter().map(move |op| {
            json!({
                "op": op.action.name(),
                "name": op.action.key().map(MovieKey::name),
                "year": op.action.key().map(|key| key.year().get()),
                "out": op.out.map(|out| out.code.as_str()),
                "tag": op.out.and_then(|out| out.tag).map(|tag| format!("m-{tag}")),
                "was": op.out.and_then(|out| out.was).map(|seq| seq.0),
                "by": group.by.as_deref(),
                "key": group.key.as_ref().map(|(key, _)| key),
                "from": &*batch.from,
                "batch": batch.id.to_string(),
            })
        })
    });
    json!({
        "seq": commit.seq.0,
        "at": commit.at.to_string(),
        "writer": &*commit.writer,
        "log": commit.log.to_string(),
        "prev": commit.prev.map(|hash| hash.to_string()),
        "ops": ops.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\u{202e}c é"), "a\\u{1b}[31mb\\u{202e}c é");
    }
}
