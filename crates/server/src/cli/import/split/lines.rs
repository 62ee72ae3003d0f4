//! NDJSON: a record a line. Empty lines are none.

use std::io::Read;

use super::{Block, Broken, Place, RECORD_BYTES_MAX, Record, Window};

pub(crate) struct Lines<R> {
    window: Window<R>,
    /// The line that is longer than allowed, while its end is looked for.
    skipping: Option<Place>,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(window: Window<R>) -> Self {
        Self { window, skipping: None }
    }

    pub(super) fn next_block(&mut self) -> Result<Option<Block>, Broken> {
        let mut block = Block::default();
        loop {
            self.window.fill()?;
            if self.window.rest().is_empty() {
                block.unreadable.extend(self.skipping.take().map(too_long));
                return Ok((!block.unreadable.is_empty()).then_some(block));
            }
            if let Some(place) = self.skipping {
                let rest = self.window.rest();
                let Some(end) = memchr::memchr(b'\n', rest) else {
                    self.window.skip(rest.len());
                    continue;
                };
                self.window.skip(end + 1);
                self.skipping = None;
                block.unreadable.push(too_long(place));
            }
            if self.take_lines(&mut block) {
                return Ok(Some(block));
            }
        }
    }

    /// Takes the whole lines of the window; `false` where there is none.
    fn take_lines(&mut self, block: &mut Block) -> bool {
        let (line, at_end) = (self.window.line, self.window.at_end);
        let rest = self.window.rest();
        let whole = match memchr::memrchr(b'\n', rest) {
            _ if at_end => rest.len(),
            Some(newline) => newline + 1,
            None if rest.len() > RECORD_BYTES_MAX => {
                self.skipping = Some(self.window.place());
                return false;
            }
            None => return false,
        };
        let rest = rest.get(..whole).unwrap_or_default();
        let newlines = memchr::memchr_iter(b'\n', rest);
        let base = self.window.at;
        let mut start = 0;
        let ends = newlines.chain((!rest.ends_with(b"\n")).then_some(whole));
        for (place, end) in (line..).map(|line| Place { line, element: None }).zip(ends) {
            let text = rest.get(start..end).unwrap_or_default();
            if text.len() > RECORD_BYTES_MAX {
                block.unreadable.push(too_long(place));
            } else if !text.trim_ascii().is_empty() {
                let (start, end) = (base + start, base + end);
                block.records.push(Record { start, end, cells: (0, 0), place });
            }
            start = end + 1;
        }
        self.window.skip(whole);
        block.bytes = self.window.split();
        true
    }
}

fn too_long(place: Place) -> (Place, &'static str) {
    (place, "the line has over 256 KiB; a movie has at most 64 KiB")
}
