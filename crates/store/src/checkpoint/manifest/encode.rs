//! Manifest to bytes: one file, one key, one judged id a line, members in a fixed order.

use bytes::Bytes;

use super::{KeyLine, Manifest};
use crate::commit::encode::Writer;
use crate::key::FileHash;

/// What stands before the hash of all that stands before it.
pub(super) const SEAL: &str = ",\n\"blake3\":\"";
pub(super) const SEAL_END: &str = "\"}\n";

pub(super) fn manifest(manifest: &Manifest) -> Bytes {
    let mut out = Writer(Vec::with_capacity(1_024 + 128 * manifest.pages.len()));
    out.raw(&format!(
        "{{\"format\":{},\"log\":\"{}\",\"seq\":{},\"hash\":\"{}\",\"at\":\"{}\",\
         \"version\":{},\"changed_at\":\"{}\",\"dropped\":{},\"file\":",
        manifest.format,
        manifest.log,
        manifest.seq,
        manifest.hash,
        manifest.at,
        manifest.version,
        manifest.changed_at,
        manifest.dropped
    ));
    out.register(manifest.file.as_ref());
    out.raw(",\"writer\":");
    out.text(&manifest.writer);
    out.raw(&format!(
        ",\n\"movies\":{},\"wire_bytes\":{},\"sha256\":",
        manifest.movies, manifest.wire_bytes
    ));
    out.text(&manifest.sha256);
    list(&mut out, "judged", &manifest.judged, |out, (id, until)| {
        out.raw(&format!("[\"{id}\",{until}]"));
    });
    out.raw(&format!(",\n\"keys\":{}", manifest.keys));
    list(&mut out, "key_files", &manifest.key_files, |out, file| {
        let (seq, group) = file.last;
        named(out, file.file);
        out.raw(&format!(
            ",\"last_seq\":{seq},\"last_group\":{group},\"rows\":{},\"bytes\":{}}}",
            file.rows, file.bytes
        ));
    });
    list(&mut out, "recent_keys", &manifest.recent_keys, push_key);
    list(&mut out, "pages", &manifest.pages, |out, page| {
        named(out, page.file);
        out.key(&page.first);
        out.raw(&format!(",\"rows\":{},\"bytes\":{}}}", page.rows, page.bytes));
    });
    let seal = FileHash::of(&out.0);
    out.raw(&format!("{SEAL}{seal}{SEAL_END}"));
    out.0.into()
}

/// One key, as it stands in a manifest and in a key file.
pub(in crate::checkpoint) fn push_key(out: &mut Writer, line: &KeyLine) {
    out.raw("{\"by\":");
    out.maybe_text(line.by.as_deref());
    out.raw(",\"key\":");
    out.text(&line.key);
    out.raw(&format!(
        ",\"print\":\"{}\",\"seq\":{},\"group\":{},\"at\":\"{}\"}}",
        line.print, line.seq, line.group, line.at
    ));
}

fn list<T>(out: &mut Writer, name: &str, items: &[T], push: impl Fn(&mut Writer, &T)) {
    out.raw(&format!(",\n\"{name}\":["));
    for (index, item) in items.iter().enumerate() {
        out.raw(if index == 0 { "\n" } else { ",\n" });
        push(out, item);
    }
    out.raw("]");
}

fn named(out: &mut Writer, file: FileHash) {
    out.raw(&format!("{{\"file\":\"{file}\""));
}
