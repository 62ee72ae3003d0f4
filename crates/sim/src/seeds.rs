//! Seeds that failed once. They are run first, for good.

/// A seed, how many requests its clients made, and in a comment what it found.
pub const FAILED_ONCE: &[(u64, u32)] = &[
    // A submit took its deadline and a read's on top.
    (143, 200),
    // A collection that had just been opened took its state for as young as its opening.
    (162, 200),
    (217, 200),
    // A fault in the self-test made the published file be overwritten without a condition.
    (165, 200),
    // An edition whose op was lost was taken for a stranger's when its checkpoint had gone.
    (243, 200),
    // A passing conflict was taken for another's checkpoint, and what was published from it for a
    // stranger's.
    (142, 200),
    // An edit from before the collection was dropped brought back what was deleted then; in the
    // second, with one movie that was written alike before and after.
    (493, 200),
    (910, 200),
];
