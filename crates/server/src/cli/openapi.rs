//! `movies-api openapi`: the OpenAPI document, for the copy in `docs/`.

use std::io::{self, Write};

use crate::openapi::openapi_json;

/// Prints the document.
///
/// # Errors
/// Where standard output cannot be written.
pub fn run() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(openapi_json().as_bytes())?;
    Ok(out.flush()?)
}
