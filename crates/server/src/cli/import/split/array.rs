//! A JSON array: a record an element. Follows strings and brackets, nothing else; whether an
//! element is JSON is for its parser.

use std::io::Read;

use super::{Block, Broken, Place, RECORD_BYTES_MAX, Record, Window};

pub(crate) struct Array<R> {
    window: Window<R>,
    expected: Expected,
    /// The element under way.
    element: Element,
    /// How many elements have begun.
    elements: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Opening,
    /// Right after the opening bracket, where it may close at once.
    FirstElement,
    Element,
    InElement,
    CommaOrEnd,
    Nothing,
}

/// How far into an element the scan is.
#[derive(Clone, Copy, Default)]
struct Element {
    place: Place,
    /// How many of its bytes were looked at and are still in the window.
    scanned: usize,
    depth: u64,
    in_string: bool,
    /// In a string, right behind a backslash.
    is_escaped: bool,
    is_too_long: bool,
}

impl<R: Read> Array<R> {
    pub(super) fn new(window: Window<R>) -> Self {
        Self { window, expected: Expected::Opening, element: Element::default(), elements: 0 }
    }

    pub(super) fn next_block(&mut self) -> Result<Option<Block>, Broken> {
        let mut block = Block::default();
        loop {
            if self.window.rest().len() <= self.element.scanned {
                if self.window.at_end {
                    break;
                }
                if !block.records.is_empty() {
                    block.bytes = self.window.split();
                    return Ok(Some(block));
                }
                self.window.fill()?;
                continue;
            }
            if self.expected == Expected::InElement {
                self.scan(&mut block);
            } else {
                self.step()?;
            }
        }
        if self.expected != Expected::Nothing {
            return Err(self
                .window
                .broken("the file ends inside the array; it was cut off on its way here"));
        }
        block.bytes = self.window.split();
        Ok((!block.records.is_empty() || !block.unreadable.is_empty()).then_some(block))
    }

    /// One byte between elements.
    fn step(&mut self) -> Result<(), Broken> {
        let byte = self.window.rest().first().copied().unwrap_or_default();
        self.expected = match (self.expected, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => self.expected,
            (Expected::Opening, b'[') => Expected::FirstElement,
            (Expected::FirstElement | Expected::CommaOrEnd, b']') => Expected::Nothing,
            (Expected::CommaOrEnd, b',') => Expected::Element,
            (Expected::FirstElement | Expected::Element, byte) if !b",]}:".contains(&byte) => {
                self.elements += 1;
                let place = Place { element: Some(self.elements), ..self.window.place() };
                self.element = Element { place, ..Element::default() };
                self.expected = Expected::InElement;
                return Ok(());
            }
            (Expected::CommaOrEnd, _) => {
                return Err(self.window.broken("expected a comma or the end of the array"));
            }
            (Expected::Nothing, _) => {
                return Err(self.window.broken("text follows the array; a file holds one"));
            }
            _ => return Err(self.window.broken("expected a movie as {…}")),
        };
        self.window.skip(1);
        Ok(())
    }

    /// Looks for the end of the element under way, as far as the window goes.
    fn scan(&mut self, block: &mut Block) {
        let mut element = self.element;
        let rest = self.window.rest();
        let mut end = None;
        while let Some(&byte) = rest.get(element.scanned) {
            if std::mem::take(&mut element.is_escaped) {
                element.scanned += 1;
                continue;
            }
            if element.in_string {
                let text = rest.get(element.scanned..).unwrap_or_default();
                let hit = memchr::memchr2(b'"', b'\\', text);
                element.is_escaped = hit.is_some_and(|hit| text.get(hit) == Some(&b'\\'));
                element.in_string = hit.is_none() || element.is_escaped;
                element.scanned += hit.map_or(text.len(), |hit| hit + 1);
                continue;
            }
            match byte {
                b'"' => element.in_string = true,
                b'{' | b'[' => element.depth += 1,
                b'}' | b']' if element.depth > 0 => {
                    element.depth -= 1;
                    if element.depth == 0 {
                        end = Some(element.scanned + 1);
                        break;
                    }
                }
                // A number or a word: no movie, but an element.
                b',' | b']' | b'}' if element.depth == 0 => {
                    end = Some(element.scanned);
                    break;
                }
                _ => {}
            }
            element.scanned += 1;
        }
        self.element = element;
        match end {
            Some(end) => self.take(end, block),
            None => self.wait(),
        }
    }

    /// The element's first `length` bytes in the window are its last.
    fn take(&mut self, length: usize, block: &mut Block) {
        let Element { place, is_too_long, .. } = std::mem::take(&mut self.element);
        self.expected = Expected::CommaOrEnd;
        let start = self.window.at;
        self.window.skip(length);
        if is_too_long || length > RECORD_BYTES_MAX {
            block
                .unreadable
                .push((place, "the element has over 256 KiB; a movie has at most 64 KiB"));
        } else {
            let end = start + length;
            block.records.push(Record { start, end, cells: (0, 0), place });
        }
    }

    /// The window ends inside the element: what follows must find room.
    fn wait(&mut self) {
        self.element.is_too_long |= self.element.scanned > RECORD_BYTES_MAX;
        if self.element.is_too_long {
            self.window.skip(std::mem::take(&mut self.element.scanned));
        }
    }
}
