//! Seeds that failed once. They are run first, for good.

/// Each with the number of the bug's fix in its comment.
pub const FAILED_ONCE: &[u64] = &[];
