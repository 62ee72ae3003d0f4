//! The file as a stream of its content: opened, told apart by its first bytes, decompressed, and
//! never more of it than allowed.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use flate2::bufread::MultiGzDecoder;

const BUFFER_BYTES: usize = 256 * 1024;
const GZIP: &[u8] = &[0x1F, 0x8B];
const ZSTD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
/// The largest window of zstd that is decompressed, as a power of two: what its own tool takes.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A file to import.
pub(super) struct Source {
    /// Its content.
    pub(super) content: Box<dyn Read + Send>,
    /// How many bytes of the file were read so far, for whoever watches.
    pub(super) read: Arc<AtomicU64>,
    /// How many it has, where that is known.
    pub(super) file_bytes: Option<u64>,
}

/// Opens a file, or standard input for `-`. At most `expanded_max` bytes come out of a compressed
/// one: a few kilobytes can be made to hold more than any disk.
pub(super) fn open(path: &Path, expanded_max: u64) -> anyhow::Result<Source> {
    if path.as_os_str() == "-" {
        return detect(Box::new(io::stdin()), None, expanded_max);
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let meta = file.metadata()?;
    anyhow::ensure!(!meta.is_dir(), "{} is a folder; name a file", path.display());
    let file_bytes = meta.is_file().then_some(meta.len());
    detect(Box::new(file), file_bytes, expanded_max)
        .with_context(|| format!("cannot read {}", path.display()))
}

/// Tells by its first bytes how a file is compressed.
pub(super) fn detect(
    file: Box<dyn Read + Send>,
    file_bytes: Option<u64>,
    expanded_max: u64,
) -> anyhow::Result<Source> {
    let read = Arc::new(AtomicU64::new(0));
    let mut file = Counted { inner: file, read: Arc::clone(&read) };
    let mut head = Vec::new();
    file.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head)?;
    let is_gzip = head.starts_with(GZIP);
    let is_zstd = head.starts_with(ZSTD);
    let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(file));
    let content: Box<dyn Read + Send> = if is_gzip {
        Box::new(Bounded::new(MultiGzDecoder::new(whole), expanded_max))
    } else if is_zstd {
        let mut decoder = zstd::Decoder::with_buffer(whole)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        Box::new(Bounded::new(decoder, expanded_max))
    } else {
        Box::new(whole)
    };
    Ok(Source { content, read, file_bytes })
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A decompressed stream that ends in an error where it is longer than allowed.
struct Bounded<R> {
    inner: R,
    max: u64,
    left: u64,
}

impl<R> Bounded<R> {
    fn new(inner: R, max: u64) -> Self {
        Self { inner, max, left: max }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(
                error.kind(),
                "the compressed file ends too early; it was cut off on its way here",
            ),
            kind => io::Error::new(kind, format!("the compressed file is damaged ({error})")),
        })?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!(
                "the compressed file holds more than {} bytes; if it is meant to, allow more with \
                 --expanded-max",
                self.max
            ))
        })?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(file: Vec<u8>, expanded_max: u64) -> Result<Vec<u8>, String> {
        let mut source = detect(Box::new(Cursor::new(file)), None, expanded_max).unwrap();
        let mut content = Vec::new();
        source.content.read_to_end(&mut content).map_err(|error| error.to_string())?;
        Ok(content)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_compresses_a_file_is_told_by_its_content() {
        let text = b"[{\"name\":\"Heat\",\"year\":1995}]".repeat(100);
        assert_eq!(read(text.clone(), 1 << 20).unwrap(), text);
        assert_eq!(read(gzip(&text), 1 << 20).unwrap(), text);
        assert_eq!(read(zstd::encode_all(&*text, 1).unwrap(), 1 << 20).unwrap(), text);
        let two = [gzip(&text), gzip(&text)].concat();
        assert_eq!(read(two, 1 << 20).unwrap(), text.repeat(2), "members laid end to end");
        for short in [&b""[..], b"[", b"\x1F"] {
            assert_eq!(read(short.to_vec(), 1 << 20).unwrap(), short);
        }
    }

    #[test]
    fn a_cut_a_damaged_and_an_overfull_file_are_told() {
        let text = b"0123456789".repeat(10_000);
        for whole in [gzip(&text), zstd::encode_all(&*text, 1).unwrap()] {
            let cut = whole[..whole.len() - 9].to_vec();
            assert!(read(cut, 1 << 20).unwrap_err().contains("ends too early"));
            assert!(read(whole.clone(), 99_999).unwrap_err().contains("--expanded-max"));
            assert_eq!(read(whole, 100_000).unwrap().len(), 100_000);
        }
        // zstd's frames need not have a checksum; gzip's have.
        let mut damaged = gzip(&text);
        let checksum = damaged.len() - 8;
        damaged[checksum] ^= 1;
        assert!(read(damaged, 1 << 20).is_err_and(|said| said.contains("damaged")));
    }
}
