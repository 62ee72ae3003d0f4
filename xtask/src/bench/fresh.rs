//! A catalogue of 100,000 movies in gzip, right after a write and again: what a write costs the
//! next reader.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::{catalogue, load};
use crate::background::movies_api;
use crate::{loopback, shell};

const MOVIES: usize = 100_000;
const WRITES: usize = 25;
/// What the server says of each page that it compresses.
const COMPRESSED: &str = "compressed a page";

/// What was measured.
pub(super) struct Fresh {
    pub(super) bytes: usize,
    /// The most pages that were compressed for one write.
    pub(super) pages_max: usize,
    pub(super) after_write_ms: f64,
    pub(super) again_ms: f64,
}

pub(super) fn measure(binary: &Path) -> Result<Fresh> {
    let folder = shell::empty_scratch("bench-fresh")?;
    let data = folder.join("data");
    fs::create_dir(&data)?;
    fs::write(data.join("movies.json"), catalogue::json_of(MOVIES))?;
    let level = [("MOVIES_LOG_LEVEL".to_owned(), "info,movies_store::gzip=debug".to_owned())];
    let (server, address) =
        movies_api(binary, &data.to_string_lossy(), &level, folder.join("server.log"))?;
    let compressed = || Ok::<_, anyhow::Error>(server.log_text()?.matches(COMPRESSED).count());
    // The first makes the blocks, the second joins them.
    let (_, bytes) = timed(address)?;
    timed(address)?;
    ensure!(compressed()? > 0, "the server does not tell of the pages that it compresses");
    let (mut after_write, mut again, mut pages_max) = (Vec::new(), Vec::new(), 0);
    for number in 0..WRITES {
        let path = format!("/api/movies/Bench%20{number}/2010");
        // A page may be compressed before the write is answered.
        let before = compressed()?;
        loopback::request(address, "PUT", &path, br#"{"director":"Ann Example"}"#)?;
        after_write.push(timed(address)?.0);
        pages_max = pages_max.max(compressed()? - before);
        again.push(timed(address)?.0);
    }
    server.stop()?;
    let (after_write_ms, again_ms) = (load::median(after_write), load::median(again));
    println!(
        "gzip after a write: {after_write_ms:.2} ms, again {again_ms:.2} ms, {pages_max} pages"
    );
    Ok(Fresh { bytes, pages_max, after_write_ms, again_ms })
}

/// Milliseconds and bytes of one GET of all.
fn timed(address: SocketAddr) -> Result<(f64, usize)> {
    let begun = Instant::now();
    let headers = [("Accept-Encoding", "gzip")];
    let answer = loopback::request_with(address, "GET", "/api/movies", &headers, b"")?;
    Ok((begun.elapsed().as_secs_f64() * 1e3, answer.body.len()))
}
