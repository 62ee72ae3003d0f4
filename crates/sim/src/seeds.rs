//! Seeds that failed once. They are run first, for good.

/// A seed, how many requests its clients made, and whether replicas knew of one another.
pub type Seed = (u64, u32, bool);

/// In a comment what each found.
pub const FAILED_ONCE: &[Seed] = &[
    // A submit took its deadline and a read's on top.
    (143, 200, false),
    // A collection that had just been opened took its state for as young as its opening.
    (162, 200, false),
    (217, 200, false),
    // A fault in the self-test made the published file be overwritten without a condition.
    (165, 200, false),
    // An edition whose op was lost was taken for a stranger's when its checkpoint had gone.
    (243, 200, false),
    // A passing conflict was taken for another's checkpoint, and what was published from it for a
    // stranger's.
    (142, 200, false),
    // An edit from before the collection was dropped brought back what was deleted then; in the
    // second, with one movie that was written alike before and after.
    (493, 200, false),
    (910, 200, false),
];
