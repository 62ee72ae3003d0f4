//! Any bytes as a commit object: an error, or a commit that survives its own encoding.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use movies_store::commit::Commit;

fuzz_target!(|data: &[u8]| {
    if let Ok(commit) = Commit::decode("fuzz", &Bytes::copy_from_slice(data)) {
        let again = Commit::decode("fuzz", &commit.encode()).expect("our own encoding is a commit");
        assert_eq!(again, commit);
    }
});
