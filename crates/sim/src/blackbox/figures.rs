//! What a run is told by in the end.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::blows::Kill;
use super::trial::Ack;
use super::witness::{Known, Observed};

/// One cause has many effects; the first are told.
const FINDINGS_SHOWN: usize = 5;

/// How clients fared with one replica while one of the replicas was farther away.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// How long a request to the bucket and back took it at least.
    pub way: Duration,
    /// Acknowledged writes.
    pub acknowledged: usize,
    /// Of all acknowledged writes, in hundredths.
    pub percent: f64,
    /// Half of them took no longer.
    pub p50: Duration,
    /// And 99 of 100.
    pub p99: Duration,
}

/// What it cost while nothing else went wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Costs {
    /// By replica.
    pub shares: Vec<Share>,
    /// How long it was measured.
    pub lasted: Duration,
    /// Requests to the bucket for each acknowledged write, as the proxies counted them.
    pub requests_a_write: f64,
    /// PUTs of commits for each batch that found its place, as `/metrics` has them.
    pub puts_a_batch: f64,
    /// Creates that found their number taken.
    pub races_lost: u64,
    /// Batches that another replica wrote.
    pub forwarded: u64,
}

/// Requests and their outcomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes.
    pub writes: usize,
    /// Writes that were judged and took effect, or had nothing to do.
    pub acknowledged: usize,
    /// Writes whose precondition or key was refused.
    pub refused: usize,
    /// Writes that nobody took: no connection, or 503.
    pub turned_away: usize,
    /// Writes that may have happened or not.
    pub unknown: usize,
    /// Reads that were answered.
    pub reads: usize,
}

impl Counts {
    pub(super) fn of(observed: &Observed) -> Self {
        let mut counts = Self { reads: observed.reads.len(), ..Self::default() };
        for asked in &observed.writes {
            counts.writes += 1;
            match &asked.known {
                Known::Judged(_, answer) if answer.code.is_refusal() => counts.refused += 1,
                Known::Judged(..) => counts.acknowledged += 1,
                Known::Nothing => counts.turned_away += 1,
                Known::Unknown => counts.unknown += 1,
            }
        }
        counts
    }
}

/// How long the others were without service after a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Who was killed, from 1.
    pub replica: usize,
    /// Until any other replica had acknowledged a write that was sent after it.
    pub any: Duration,
    /// Until each of the others had.
    pub each: Duration,
}

/// Where nobody was served before the killed one came back, the outage lasts until then at least.
pub(super) fn outages(kills: &[Kill], acks: &[Ack], replicas: usize) -> Vec<Outage> {
    let of = |kill: &Kill| {
        let others = (0..replicas).filter(|other| *other != kill.replica);
        let firsts = others.map(|other| {
            let served = acks.iter().filter(|ack| ack.replica == other && ack.sent >= kill.at);
            served.map(|ack| ack.answered).min().unwrap_or(kill.until).duration_since(kill.at)
        });
        let firsts: Vec<Duration> = firsts.collect();
        let any = firsts.iter().min().copied().unwrap_or_default();
        let each = firsts.iter().max().copied().unwrap_or_default();
        Outage { replica: kill.replica + 1, any, each }
    };
    kills.iter().map(of).collect()
}

/// The longest time between two answers of writes, whoever gave them.
pub(super) fn longest_gap(acks: &[Ack], from: Instant, until: Instant) -> Duration {
    let within = acks.iter().map(|ack| ack.answered).filter(|at| (from..=until).contains(at));
    let mut times: Vec<Instant> = within.chain([from, until]).collect();
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| match pair {
        [earlier, later] => later.duration_since(*earlier),
        _ => Duration::ZERO,
    });
    gaps.max().unwrap_or_default()
}

/// The shares of acknowledged writes by replica, whose ways to the bucket are these.
pub(super) fn shares(acks: &[Ack], ways: &[Duration]) -> Vec<Share> {
    let served: Vec<&Ack> = acks.iter().filter(|ack| !ack.is_refusal).collect();
    let of = |(replica, way): (usize, &Duration)| {
        let times = served.iter().filter(|ack| ack.replica == replica);
        let mut times: Vec<Duration> =
            times.map(|ack| ack.answered.duration_since(ack.sent)).collect();
        times.sort_unstable();
        let at = |hundredths: usize| {
            times.get(times.len() * hundredths / 100).copied().unwrap_or_default()
        };
        Share {
            way: *way * 2,
            acknowledged: times.len(),
            percent: 100.0 * ratio(times.len(), served.len()),
            p50: at(50),
            p99: at(99),
        }
    };
    ways.iter().enumerate().map(of).collect()
}

/// A quotient for the eye.
#[expect(clippy::cast_precision_loss, reason = "for two digits behind the point")]
pub(super) fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A run and its verdict.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where everything that is ours to choose came from.
    pub seed: u64,
    /// Requests.
    pub counts: Counts,
    /// Commits in the log.
    pub commits: usize,
    /// Requests to the bucket, of the whole run.
    pub bucket_requests: u64,
    /// Those that met a fault.
    pub faults: u64,
    /// Kills.
    pub outages: Vec<Outage>,
    /// The longest time in which nobody was answered a write while faults went on.
    pub longest_gap: Duration,
    /// With one replica farther away and no other fault.
    pub costs: Costs,
    /// What was wrong.
    pub findings: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Costs { shares, lasted, requests_a_write, puts_a_batch, races_lost, forwarded } =
            &self.costs;
        writeln!(f, "without faults, one replica farther away, {:.0} s:", lasted.as_secs_f64())?;
        for (place, share) in shares.iter().enumerate() {
            writeln!(
                f,
                "  r{}, {:>3} ms away: {:>5} writes acknowledged, {:>4.1} %; p50 {:>4} ms, p99 {:>5} ms",
                place + 1,
                share.way.as_millis(),
                share.acknowledged,
                share.percent,
                share.p50.as_millis(),
                share.p99.as_millis()
            )?;
        }
        writeln!(
            f,
            "  {puts_a_batch:.2} PUTs a batch, {requests_a_write:.2} bucket requests a write, {races_lost} races lost, {forwarded} batches forwarded"
        )?;
        let Counts { writes, acknowledged, refused, turned_away, unknown, reads } = self.counts;
        let requests = usize::try_from(self.bucket_requests).unwrap_or(usize::MAX);
        writeln!(f, "the whole run:")?;
        writeln!(
            f,
            "  {} operations: {reads} reads; {writes} writes: {acknowledged} acknowledged, {refused} refused, {turned_away} turned away, {unknown} unknown",
            writes + reads
        )?;
        writeln!(
            f,
            "  {} commits; {requests} bucket requests, {} with a fault, {:.2} an operation",
            self.commits,
            self.faults,
            ratio(requests, writes + reads)
        )?;
        let longest = |of: fn(&Outage) -> Duration| self.outages.iter().map(of).max();
        writeln!(
            f,
            "  {} kills; until another replica acknowledged a write at most {} ms, until each had {} ms",
            self.outages.len(),
            longest(|outage| outage.any).unwrap_or_default().as_millis(),
            longest(|outage| outage.each).unwrap_or_default().as_millis()
        )?;
        writeln!(
            f,
            "  longest time without an acknowledgement by anybody: {} ms",
            self.longest_gap.as_millis()
        )?;
        for finding in self.findings.iter().take(FINDINGS_SHOWN) {
            writeln!(f, "FOUND: {finding}")?;
        }
        match self.findings.len() {
            0 => write!(f, "seed {}: linearizable, and the log is sound", self.seed),
            count => write!(f, "seed {}: FOUND {count}", self.seed),
        }
    }
}
