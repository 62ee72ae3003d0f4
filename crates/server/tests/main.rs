//! The binary from outside, as its users see it: one file a story.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::expect_used,
    clippy::wrong_self_convention,
    reason = "a test says by failing what went wrong, and reads as a sentence"
)]

mod harness;
mod stories;
