//! The tables of growth: what a catalogue's size costs, and what it must not cost.

use std::fmt::Write as _;

use anyhow::Result;

use crate::bench::growth::{Operations, Size};

const MB: f64 = 1e6;
/// The floor on memory: so many times the JSON bytes, and so many bytes.
const JSON_TIMES_MAX: f64 = 1.5;
const BESIDE_BYTES: f64 = 50e6;

pub(in crate::bench) fn tables(page: &mut String, sizes: &[Size]) -> Result<()> {
    page.push_str(
        "### A catalogue's size, on a folder\n\n\
         | movies | JSON, MB | import, s | rows a second | its peak memory, MB | start right after the import, s | start, s | floor | memory after a start, MB | its peak | times JSON | floor, MB |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for size in sizes {
        let (json, memory) = (size.json_bytes as f64, size.memory.now as f64);
        // The issue sets it for a million.
        let start_floor = if size.movies == 1_000_000 { "≤ 3" } else { "" };
        writeln!(
            page,
            "| {} | {:.1} | {:.2} | {:.0} | {:.0} | {:.2} | {:.2} | {start_floor} | {:.0} | {:.0} | {:.2} | ≤ {:.0} |",
            size.movies,
            json / MB,
            size.import.seconds,
            size.movies as f64 / size.import.seconds,
            size.import.peak_bytes as f64 / MB,
            size.start_after_import,
            size.start,
            memory / MB,
            size.memory.peak as f64 / MB,
            memory / json,
            (json * JSON_TIMES_MAX + BESIDE_BYTES) / MB,
        )?;
    }
    page.push('\n');
    operations(page, sizes)
}

fn operations(page: &mut String, sizes: &[Size]) -> Result<()> {
    let measured: Vec<(usize, &Operations)> =
        sizes.iter().filter_map(|size| Some((size.movies, size.operations.as_ref()?))).collect();
    page.push_str(
        "### An operation on a catalogue of a size, 32 connections, checkpoints included\n\n\
         Processor time of the server on `memory://`; bytes written, on a folder.\n\n\
         | movies | GET one, µs | 1/s | PUT, µs | 1/s | checkpoints meanwhile | bytes a PUT | of them commits | of them checkpoints | checkpoints meanwhile | PUTs a commit |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for (movies, Operations { get, put, bytes }) in &measured {
        writeln!(
            page,
            "| {movies} | {:.1} | {:.0} | {:.1} | {:.0} | {} | {:.0} | {:.0} | {:.0} | {} | {:.1} |",
            get.microseconds,
            get.per_second,
            put.microseconds,
            put.per_second,
            put.checkpoints,
            bytes.all(),
            bytes.commit,
            bytes.checkpoint,
            bytes.checkpoints,
            bytes.ops_a_commit,
        )?;
    }
    page.push('\n');
    if let [(few, first), .., (many, last)] = measured.as_slice() {
        let ratio = |of: fn(&Operations) -> f64| of(last) / of(first);
        write!(
            page,
            "| {many} to {few} movies | ratio | floor |\n|---|--:|--:|\n\
             | processor time of a GET | {:.2} | ≤ 1.5 |\n\
             | processor time of a PUT | {:.2} | ≤ 1.5 |\n\
             | bytes of a PUT | {:.2} | ≤ 1.5 |\n\n",
            ratio(|operations| operations.get.microseconds),
            ratio(|operations| operations.put.microseconds),
            ratio(|operations| operations.bytes.all()),
        )?;
    }
    Ok(())
}
