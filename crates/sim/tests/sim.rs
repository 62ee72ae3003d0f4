//! The store under faults, in a few seconds: `movies-sim` runs many more seeds.

use std::time::Duration;

use movies_sim::run::{MUTANTS, Report, Run, run};
use movies_sim::seeds::{Case, FAILED_ONCE, Part, Parts};
use movies_sim::shares::{Load, figures, overload};
use movies_sim::shrink::shrink;
use movies_sim::trace::Telling;
use movies_store::Mutant;

const REQUESTS: u32 = 120;

/// A week takes too long in a build that is not optimised.
fn drawn(seed: u64) -> Case {
    Case { without: Parts::NONE.and(Part::Week), ..Case::drawn(seed, REQUESTS) }
}

fn quietly(seed: u64, mutant: Option<Mutant>) -> Report {
    run(Run { case: drawn(seed), mutant, telling: Telling::Quiet })
}

#[test]
fn histories_are_linearizable_whatever_goes_wrong() {
    let (mut commits, mut checkpoints, mut carried) = (0, 0, 0);
    let failed_once = FAILED_ONCE.iter().filter(|case| case.requests <= 200).copied();
    for case in failed_once.chain((1_000..1_040).map(drawn)) {
        let report = run(Run { case, mutant: None, telling: Telling::Quiet });
        assert_eq!(report.finding, None, "{report}");
        commits += report.commits;
        checkpoints += report.checkpoints;
        carried += report.carried;
    }
    assert!(commits > 40 * 10, "{commits} commits: too little was tried");
    assert!(carried > 40 * 3, "{carried} batches were taken along: too little was tried");
    assert!(checkpoints > 40 * 3, "{checkpoints} checkpoints: too little was tried");
}

#[test]
fn a_seed_gives_the_same_events_every_time() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 2_000..2_010 {
        let first = quietly(seed, None);
        assert_eq!(first, quietly(seed, None));
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), 10, "different seeds must differ");
}

#[test]
fn what_breaks_a_rule_is_made_smaller_and_still_breaks_one() {
    let mutant = Some(Mutant::IgnorePrecondition);
    let breaks = |case| run(Run { case, mutant, telling: Telling::Quiet }).finding.is_some();
    let whole = (3_000..3_200).map(drawn).find(|case| breaks(*case)).expect("it is found");
    let small = shrink(whole, breaks);
    assert!(small.requests < REQUESTS / 2 && small.without != whole.without, "{small}");
    assert!(breaks(small), "{small}");
}

#[test]
fn every_deliberate_bug_is_found() {
    for mutant in MUTANTS {
        let found = (3_000..3_200).any(|seed| quietly(seed, Some(mutant)).finding.is_some());
        assert!(found, "{mutant:?} escaped 200 seeds");
    }
}

#[test]
fn replicas_that_write_at_once_get_their_shares() {
    let three = figures(Load::THREE);
    for share in &three.shares {
        assert!(share.share >= 0.25 && share.p99_round_trips() <= 6.0, "{three}");
    }
    assert!(three.creates_a_batch <= 1.2, "{three}");
    let far = figures(Load::FAR);
    for share in &far.shares {
        assert!(share.share >= 0.15 && share.longest < Duration::from_secs(6), "{far}");
    }
    let (alike, ten) = (figures(Load::THREE_ALIKE), figures(Load::TEN));
    assert!(ten.per_second > alike.per_second, "{alike}{ten}");
}

#[test]
fn many_requests_share_one_of_the_bucket() {
    let (readers, writers) = (figures(Load::READERS), figures(Load::WRITERS));
    assert!(readers.answered_a_request >= 25.0, "{readers}");
    assert!(writers.answered_a_request >= 20.0, "{writers}");
}

#[test]
fn ten_times_too_many_writes_cost_no_throughput_and_are_refused_at_once() {
    let (calm, flood) = (overload(1), overload(10));
    assert!(flood.stored_per_second >= 0.9 * calm.stored_per_second, "{calm}{flood}");
    assert!(flood.refused > 1_000, "{flood}");
    assert_eq!(flood.slowest_refusal, Duration::ZERO, "{flood}");
    // A hundred wait, ten are taken at once.
    assert!(flood.slowest < Duration::from_secs(2), "{flood}");
}
