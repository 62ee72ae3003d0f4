//! Bytes to manifest: strict, since what is skipped here would be another state.

use serde::Deserialize;

use super::encode::{SEAL, SEAL_END};
use super::{KeyFile, KeyLine, MANIFEST_BYTES_MAX, Manifest, PageFile};
use crate::commit::FORMAT;
use crate::commit::decode::{
    Decode, DecodeError, WireRegister, batch_id, check_format, damaged, parsed,
};
use crate::key::{CommitHash, FileHash, LogId, MovieKey, Print, Seq, Timestamp, Version, Year};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireManifest {
    #[serde(rename = "format")]
    _format: u32,
    log: String,
    seq: u64,
    hash: String,
    at: String,
    version: u64,
    changed_at: String,
    dropped: bool,
    file: Option<WireRegister>,
    writer: String,
    movies: u64,
    wire_bytes: u64,
    sha256: String,
    judged: Vec<(String, u64)>,
    keys: u64,
    key_files: Vec<WireKeyFile>,
    recent_keys: Vec<WireKey>,
    pages: Vec<WirePage>,
    #[serde(rename = "blake3")]
    _seal: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKeyFile {
    file: String,
    last_seq: u64,
    last_group: usize,
    rows: u64,
    bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKey {
    by: Option<String>,
    key: String,
    print: String,
    seq: u64,
    group: usize,
    at: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePage {
    file: String,
    name: String,
    year: u64,
    rows: u64,
    bytes: u64,
}

pub(super) fn manifest(bytes: &[u8]) -> Decode<Manifest> {
    if bytes.len() > MANIFEST_BYTES_MAX {
        return damaged(format!(
            "it has {} bytes; a checkpoint has at most {MANIFEST_BYTES_MAX}",
            bytes.len()
        ));
    }
    check_format("checkpoint", bytes)?;
    check_seal(bytes)?;
    let wire: WireManifest = serde_json::from_slice(bytes)
        .map_err(|error| DecodeError::of_json("checkpoint", &error))?;
    let judged = wire.judged.into_iter();
    Ok(Manifest {
        format: FORMAT,
        log: parsed("log", LogId::parse(&wire.log))?,
        seq: Seq(wire.seq),
        hash: parsed("hash", CommitHash::parse(&wire.hash))?,
        at: parsed("at", Timestamp::parse(&wire.at))?,
        version: Version(Seq(wire.version)),
        changed_at: parsed("changed_at", Timestamp::parse(&wire.changed_at))?,
        dropped: wire.dropped,
        file: wire.file.map(Into::into),
        writer: wire.writer.into(),
        movies: wire.movies,
        wire_bytes: wire.wire_bytes,
        sha256: wire.sha256.into(),
        judged: judged
            .map(|(id, until)| Ok((batch_id(&id)?, Seq(until))))
            .collect::<Decode<_>>()?,
        keys: wire.keys,
        key_files: wire.key_files.iter().map(key_file).collect::<Decode<_>>()?,
        recent_keys: wire.recent_keys.into_iter().map(key).collect::<Decode<_>>()?,
        pages: wire.pages.iter().map(page).collect::<Decode<_>>()?,
    })
}

/// The hash at the end is that of all bytes before it.
fn check_seal(bytes: &[u8]) -> Decode<()> {
    let sealed = bytes.len().checked_sub(SEAL.len() + 64 + SEAL_END.len());
    let Some((body, seal)) = sealed.and_then(|at| bytes.split_at_checked(at)) else {
        return damaged("it breaks off");
    };
    if seal != format!("{SEAL}{}{SEAL_END}", FileHash::of(body)).as_bytes() {
        return damaged("its content does not fit the hash at its end");
    }
    Ok(())
}

fn key_file(wire: &WireKeyFile) -> Decode<KeyFile> {
    Ok(KeyFile {
        file: parsed("file", FileHash::parse(&wire.file))?,
        last: (Seq(wire.last_seq), wire.last_group),
        rows: wire.rows,
        bytes: wire.bytes,
    })
}

fn page(wire: &WirePage) -> Decode<PageFile> {
    let year = parsed("year", Year::new(wire.year))?;
    Ok(PageFile {
        file: parsed("file", FileHash::parse(&wire.file))?,
        first: MovieKey::from_log(&wire.name, year)
            .map_err(|error| DecodeError::Damaged(error.to_string()))?,
        rows: wire.rows,
        bytes: wire.bytes,
    })
}

fn key(wire: WireKey) -> Decode<KeyLine> {
    Ok(KeyLine {
        by: wire.by.map(Into::into),
        key: wire.key.into(),
        print: parsed("print", Print::parse(&wire.print))?,
        seq: Seq(wire.seq),
        group: wire.group,
        at: parsed("at", Timestamp::parse(&wire.at))?,
    })
}

/// One line of a key file.
pub(in crate::checkpoint) fn key_line(line: &[u8]) -> Decode<KeyLine> {
    key(serde_json::from_slice(line).map_err(|error| DecodeError::of_json("key", &error))?)
}
