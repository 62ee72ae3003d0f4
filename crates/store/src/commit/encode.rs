//! Commit to bytes: one op a line, members in a fixed order.

use std::fmt;
use std::io::Write as _;

use bytes::Bytes;

use super::{Action, Adoption, Batch, Commit, FileRegister, Group, Op, Outcome};
use crate::key::{MovieKey, Tag};

pub(super) fn commit(commit: &Commit) -> Bytes {
    let mut out =
        Writer(Vec::with_capacity(512 + commit.batches.iter().map(batch_len).sum::<usize>()));
    out.show(format_args!(
        "{{\"format\":{},\"log\":\"{}\",\"seq\":{},\"at\":\"{}\",\"writer\":",
        commit.format, commit.log, commit.seq, commit.at
    ));
    out.text(&commit.writer);
    out.raw(",\"forward\":");
    out.maybe_text(commit.forward.as_deref());
    match &commit.prev {
        Some(prev) => out.raw(&format!(",\"prev\":\"{prev}\"")),
        None => out.raw(",\"prev\":null"),
    }
    out.raw(",\"batches\":[");
    for (index, batch) in commit.batches.iter().enumerate() {
        out.raw(if index == 0 { "\n" } else { ",\n" });
        out.batch(batch);
    }
    out.raw("\n]}\n");
    out.0.into()
}

pub(super) fn batch_len(batch: &Batch) -> usize {
    let mut out = Writer(Vec::new());
    out.text(&batch.from);
    out.0.len() + 128 + batch.groups.iter().map(group_len).sum::<usize>()
}

/// The room for an outcome and the fixed members of an op.
const OP_ROOM: usize = 256;

pub(super) fn group_len(group: &Group) -> usize {
    let key = group.key.as_ref().map_or(0, |(key, _)| 2 * key.len() + 80);
    let by = group.by.as_ref().map_or(0, |by| 2 * by.len());
    64 + key + by + group.ops.iter().map(op_len).sum::<usize>()
}

fn op_len(op: &Op) -> usize {
    let tags = |tags: &Option<Vec<Tag>>| -> usize {
        tags.iter().flatten().map(|tag| 2 * tag.to_string().len() + 3).sum()
    };
    let action = match &op.action {
        Action::Put(movie) => movie.json().len(),
        Action::Delete(key) => 2 * key.name().len(),
        Action::Adopt(adoption) => adoption
            .changes
            .iter()
            .map(|change| {
                let movie = change.movie.as_ref().map_or(0, |movie| movie.json().len());
                OP_ROOM + 2 * change.key.name().len() + movie
            })
            .sum(),
        _ => 0,
    };
    OP_ROOM + tags(&op.if_match) + tags(&op.if_none_match) + action
}

/// Text in the making.
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn show(&mut self, text: fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("writing to memory cannot fail");
    }

    pub(crate) fn text(&mut self, text: &str) {
        serde_json::to_writer(&mut self.0, text).expect("writing to memory cannot fail");
    }

    pub(crate) fn maybe_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.raw("null"),
        }
    }

    fn batch(&mut self, batch: &Batch) {
        self.show(format_args!("{{\"id\":\"{}\",\"until\":{},\"from\":", batch.id, batch.until));
        self.text(&batch.from);
        self.raw(",\"groups\":[");
        for (index, group) in batch.groups.iter().enumerate() {
            self.raw(if index == 0 { "\n" } else { ",\n" });
            self.group(group);
        }
        self.raw("]}");
    }

    fn group(&mut self, group: &Group) {
        self.raw("{\"by\":");
        self.maybe_text(group.by.as_deref());
        self.raw(",\"key\":");
        self.maybe_text(group.key.as_ref().map(|(key, _)| &**key));
        match &group.key {
            Some((_, print)) => self.show(format_args!(",\"print\":\"{print}\"")),
            None => self.raw(",\"print\":null"),
        }
        self.raw(",\"ops\":[");
        for (index, op) in group.ops.iter().enumerate() {
            self.raw(if index == 0 { "\n" } else { ",\n" });
            self.op(op);
        }
        self.raw("]}");
    }

    fn op(&mut self, op: &Op) {
        self.raw("{\"op\":\"");
        self.raw(op.action.name());
        self.raw("\"");
        match &op.action {
            Action::Put(movie) => {
                self.raw(",\"movie\":");
                self.0.extend_from_slice(movie.json());
            }
            Action::Delete(key) => self.key(key),
            Action::Adopt(adoption) => self.adoption(adoption),
            Action::Published { from, to } => self.registers(from.as_ref(), Some(to)),
            Action::Drop | Action::Create => {}
            Action::Upgrade { to } => self.show(format_args!(",\"format\":{to}")),
        }
        self.tags(",\"if_match\":[", op.if_match.as_deref());
        self.tags(",\"if_none_match\":[", op.if_none_match.as_deref());
        self.outcome(op.out.as_ref());
        self.raw("}");
    }

    /// `,"name":…,"year":…`
    pub(crate) fn key(&mut self, key: &MovieKey) {
        self.raw(",\"name\":");
        self.text(key.name());
        self.show(format_args!(",\"year\":{}", key.year()));
    }

    fn adoption(&mut self, adoption: &Adoption) {
        self.registers(adoption.from.as_ref(), adoption.to.as_ref());
        self.raw(",\"changes\":[");
        for (index, change) in adoption.changes.iter().enumerate() {
            self.raw(if index == 0 { "\n{" } else { ",\n{" });
            match &change.movie {
                Some(movie) => {
                    self.raw("\"movie\":");
                    self.0.extend_from_slice(movie.json());
                }
                None => {
                    self.raw("\"movie\":null");
                    self.key(&change.key);
                }
            }
            match &change.base {
                Some(base) => self.show(format_args!(",\"base_tag\":\"m-{base}\"")),
                None => self.raw(",\"base_tag\":null"),
            }
            self.outcome(change.out.as_ref());
            self.raw("}");
        }
        self.raw("]");
    }

    fn registers(&mut self, from: Option<&FileRegister>, to: Option<&FileRegister>) {
        self.raw(",\"from\":");
        self.register(from);
        self.raw(",\"to\":");
        self.register(to);
    }

    pub(crate) fn register(&mut self, register: Option<&FileRegister>) {
        let Some(register) = register else {
            return self.raw("null");
        };
        self.raw("{\"etag\":");
        self.maybe_text(register.etag.as_deref());
        self.raw(",\"sha256\":");
        self.text(&register.sha256);
        self.show(format_args!(",\"seq\":{}}}", register.seq));
    }

    fn tags(&mut self, opening: &str, tags: Option<&[Tag]>) {
        let Some(tags) = tags else { return };
        self.raw(opening);
        for (index, tag) in tags.iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            self.text(&tag.to_string());
        }
        self.raw("]");
    }

    fn outcome(&mut self, outcome: Option<&Outcome>) {
        let Some(outcome) = outcome else { return };
        self.raw(",\"out\":{\"code\":\"");
        self.raw(outcome.code.as_str());
        match &outcome.tag {
            Some(tag) => self.show(format_args!("\",\"tag\":\"m-{tag}\"")),
            None => self.raw("\",\"tag\":null"),
        }
        match &outcome.was {
            Some(was) => self.show(format_args!(",\"was\":{was}}}")),
            None => self.raw(",\"was\":null}"),
        }
    }
}
