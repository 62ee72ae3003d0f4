//! The store under faults, in a few seconds: `movies-sim` runs many more seeds.

use movies_sim::run::{MUTANTS, Report, Run, run};
use movies_sim::seeds::FAILED_ONCE;
use movies_sim::trace::Telling;
use movies_store::Mutant;

const REQUESTS: u32 = 120;

fn quietly(seed: u64, mutant: Option<Mutant>) -> Report {
    run(Run { seed, requests: REQUESTS, forwarding: true, mutant, telling: Telling::Quiet })
}

#[test]
fn histories_are_linearizable_whatever_goes_wrong() {
    let (mut commits, mut checkpoints, mut carried) = (0, 0, 0);
    let drawn = (1_000..1_040).map(|seed| (seed, REQUESTS, true));
    for (seed, requests, forwarding) in FAILED_ONCE.iter().copied().chain(drawn) {
        let report = run(Run { seed, requests, forwarding, mutant: None, telling: Telling::Quiet });
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
fn every_deliberate_bug_is_found() {
    for mutant in MUTANTS {
        let found = (3_000..3_200).any(|seed| quietly(seed, Some(mutant)).finding.is_some());
        assert!(found, "{mutant:?} escaped 200 seeds");
    }
}
