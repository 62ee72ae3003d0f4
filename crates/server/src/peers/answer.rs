//! What a replica answers that has carried a batch: a line with the number of the commit and the
//! lengths of the commits that follow, and these as they stand in the log.

use std::fmt::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use movies_store::SHIPPED_BYTES_MAX;
use movies_store::key::Seq;

/// The longest line: a number, and one for each commit.
const LINE_BYTES_MAX: usize = 4 * 1_024;
/// The longest answer.
pub(super) const ANSWER_BYTES_MAX: usize = LINE_BYTES_MAX + SHIPPED_BYTES_MAX;

pub(super) fn encode(seq: Seq, commits: &[Bytes]) -> Bytes {
    let mut line = seq.to_string();
    for commit in commits {
        // Nothing fails in memory.
        let _ = write!(line, " {}", commit.len());
    }
    let mut answer = BytesMut::from(line.as_bytes());
    answer.put_u8(b'\n');
    commits.iter().for_each(|commit| answer.extend_from_slice(commit));
    answer.freeze()
}

/// `None` for what is no such answer.
pub(super) fn decode(mut answer: Bytes) -> Option<(Seq, Vec<Bytes>)> {
    let end = answer.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n')?;
    let line = answer.split_to(end);
    let _newline = answer.split_to(1);
    let mut numbers = std::str::from_utf8(&line).ok()?.split(' ').map(str::parse::<u64>);
    let seq = Seq(numbers.next()?.ok()?);
    let mut commits = Vec::new();
    for length in numbers {
        let length = usize::try_from(length.ok()?).ok().filter(|length| *length <= answer.len())?;
        commits.push(answer.split_to(length));
    }
    answer.is_empty().then_some((seq, commits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(
            seq: u64, commits in prop::collection::vec(any::<Vec<u8>>().prop_map(Bytes::from), 0..9),
        ) {
            let answer = encode(Seq(seq), &commits);
            prop_assert_eq!(decode(answer.clone()), Some((Seq(seq), commits)));
            // Cut anywhere it is none.
            for end in 0..answer.len() {
                prop_assert_eq!(decode(answer.slice(..end)), None);
            }
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in any::<Vec<u8>>(), line in "[0-9 ]{0,40}\n.{0,9}") {
            decode(Bytes::from(bytes));
            decode(Bytes::from(line));
        }
    }
}
