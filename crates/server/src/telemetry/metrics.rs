//! `/metrics`: everything that is counted, under the names of the table. Never counts anything.

use movies_store::{Calls, Collection, Figures, Store};

use super::meters::{Audited, CLASSES, Meters};
use super::names::{self, Metric};
use super::process;
use super::text::{MICROSECONDS, Text};
use super::traces::{self, Traces};
use crate::auth::Auth;
use crate::peers::HttpPeers;
use crate::purge::{self, Purges};
use crate::tls::Expiry;

/// The most collections that are told one by one, by name; clients may create collections, and
/// each is a dozen time series.
pub(crate) const COLLECTIONS_TOLD_MAX: usize = 50;

/// What is told.
pub(crate) struct Told<'a> {
    pub(crate) meters: &'a Meters,
    pub(crate) store: &'a Store,
    pub(crate) auth: &'a Auth,
    pub(crate) purges: Option<&'a Purges>,
    pub(crate) peers: Option<&'a HttpPeers>,
    pub(crate) traces: Option<&'a Traces>,
    pub(crate) certificate: Option<&'a Expiry>,
    pub(crate) build: &'a str,
    pub(crate) connections_max: usize,
}

/// All metrics as text.
pub(crate) fn render(told: &Told<'_>) -> String {
    let mut text = Text::default();
    process(&mut text, told);
    http(&mut text, told);
    callers(&mut text, told);
    if let Some(purges) = told.purges {
        caches(&mut text, &purges.figures());
    }
    if let Some(traces) = told.traces {
        spans(&mut text, &traces.figures());
    }
    if let Some(peers) = told.peers {
        let (forged, refused) = peers.refusals();
        let mut samples = text.metric(&names::PEER_REFUSALS);
        samples.add(&[("reason", "forged")], forged);
        samples.add(&[("reason", "refused")], refused);
    }
    collections(&mut text, told.store);
    commits(&mut text, told.store);
    bucket(&mut text, told.store.bucket().calls());
    text.finish()
}

fn process(text: &mut Text, told: &Told<'_>) {
    text.metric(&names::BUILD).add(&[("version", told.build)], 1);
    let began = told.meters.began.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    text.one(&names::START, began.as_secs_f64());
    // Linux tells these; elsewhere they are left out.
    if let Some(usage) = process::usage() {
        text.one(&names::CPU, usage.cpu_seconds);
        text.one(&names::RESIDENT, usage.resident_bytes);
        text.one(&names::OPEN_FILES, usage.open_files);
    }
}

fn http(text: &mut Text, told: &Told<'_>) {
    let meters = told.meters;
    let requests = meters.requests();
    let mut samples = text.metric(&names::REQUESTS);
    for one in &requests {
        let counts = CLASSES.into_iter().zip(one.classes).filter(|(_, count)| *count > 0);
        for (class, count) in counts {
            let labels = [("route", one.route), ("method", one.method), ("status", class)];
            samples.add(&labels, count);
        }
    }
    let mut samples = text.metric(&names::REQUEST_TIME);
    for one in &requests {
        let labels = [("route", one.route), ("method", one.method)];
        samples.distribution(&labels, MICROSECONDS, &one.time);
    }
    text.one(&names::IN_FLIGHT, meters.in_flight());
    let (open, accepted) = meters.connections();
    text.one(&names::CONNECTIONS, open);
    text.one(&names::CONNECTIONS_MAX, told.connections_max);
    text.one(&names::ACCEPTED, accepted);
    if let Some(certificate) = told.certificate {
        text.one(&names::CERTIFICATE_ENDS, certificate.as_second());
    }
    text.one(&names::TURNED_AWAY, meters.turned_away.get());
}

fn callers(text: &mut Text, told: &Told<'_>) {
    let audits = told.meters.audits();
    let mut samples = text.metric(&names::LOGINS);
    for (what, count) in &audits {
        if let Audited::Login(outcome) = what {
            samples.add(&[("outcome", outcome)], count);
        }
    }
    let mut samples = text.metric(&names::REFUSALS);
    for (what, count) in &audits {
        if let Audited::Refused(reason) = what {
            samples.add(&[("reason", reason)], count);
        }
    }
    let mut samples = text.metric(&names::FETCHES);
    if let Some(fetches) = told.auth.fetches() {
        samples.add(&[("outcome", "ok")], fetches.ok.get());
        samples.add(&[("outcome", "failed")], fetches.failed.get());
    }
}

fn spans(text: &mut Text, figures: &traces::Figures) {
    text.one(&names::TRACE_SENT, figures.sent);
    let mut samples = text.metric(&names::TRACE_DROPPED);
    for (reason, count) in figures.dropped {
        samples.add(&[("reason", reason)], count);
    }
    let mut samples = text.metric(&names::TRACE_CALLS);
    for (outcome, count) in figures.calls {
        samples.add(&[("outcome", outcome)], count);
    }
}

fn caches(text: &mut Text, figures: &purge::Figures) {
    let mut samples = text.metric(&names::PURGE_CALLS);
    for (outcome, count) in figures.calls {
        samples.add(&[("outcome", outcome)], count);
    }
    text.one(&names::PURGE_TAGS, figures.tags);
    text.one(&names::PURGE_WIDENED, figures.widened);
    text.one(&names::PURGE_DROPPED, figures.dropped);
    text.one(&names::PURGE_WAITING, figures.waiting);
    text.one(&names::PURGE_LATE, figures.late.as_secs_f64());
}

/// A gauge of each collection.
type Gauge = (&'static Metric, fn(&Figures) -> f64);

/// A metric of each, in one table.
const GAUGES: &[Gauge] = &[
    (&names::STOPPED, |of| flag(of.is_stopped)),
    (&names::SEQ, |of| of.seq.0 as f64),
    (&names::VERSION, |of| of.version.0.0 as f64),
    (&names::STALENESS, |of| of.age.as_secs_f64()),
    (&names::MOVIES, |of| of.movies as f64),
    (&names::PAGES, |of| of.pages as f64),
    (&names::WIRE_BYTES, |of| of.wire_bytes as f64),
    (&names::PINS, |of| of.pins as f64),
    (&names::PINNED_BYTES, |of| of.pinned_bytes as f64),
    (&names::QUEUE_GROUPS, |of| of.queued_groups as f64),
    (&names::QUEUE_OPS, |of| of.queued_ops as f64),
    (&names::QUEUE_BYTES, |of| of.queued_bytes as f64),
    (&names::CHECKPOINT_SEQ, |of| of.checkpoint.0 as f64),
    (&names::CHECKPOINT_AT, |of| seconds(of.checkpoint_at)),
    (&names::CHECKPOINT_FAILS, |of| flag(of.checkpoint_fails)),
    (&names::PUBLISHED_SEQ, |of| of.published.0 as f64),
    (&names::PUBLISHED_AT, |of| seconds(of.published_at)),
    (&names::PUBLICATION_FAILS, |of| flag(of.publication_fails)),
    (&names::FOREIGN, |of| flag(of.is_foreign)),
];

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

/// Zero where it has not happened yet.
fn seconds(at: Option<movies_store::key::Timestamp>) -> f64 {
    at.map_or(0.0, |at| at.0 as f64 / 1_000.0)
}

fn collections(text: &mut Text, store: &Store) {
    let opened = store.opened();
    text.one(&names::OPENED, opened.len());
    text.one(&names::UNTOLD, opened.len().saturating_sub(COLLECTIONS_TOLD_MAX));
    let told: Vec<(&str, Figures)> = told(&opened)
        .map(|collection| (collection.name().as_str(), collection.figures()))
        .collect();
    for (metric, value) in GAUGES {
        let mut samples = text.metric(metric);
        for (name, figures) in &told {
            samples.add(&[("collection", name)], value(figures));
        }
    }
    text.one(&names::GZIP_KEPT, store.compressor().kept_bytes());
    text.one(&names::GZIP_MADE, store.compressor().pages_compressed());
}

/// The first by name; the default one in any case.
pub(crate) fn told(opened: &[Collection]) -> impl Iterator<Item = &Collection> {
    use movies_store::key::CollectionName;
    let is_default = |one: &&Collection| one.name().as_str() == CollectionName::DEFAULT;
    let others = opened.iter().filter(move |one| !is_default(one));
    opened.iter().filter(is_default).chain(others).take(COLLECTIONS_TOLD_MAX)
}

fn commits(text: &mut Text, store: &Store) {
    let meters = store.meters();
    text.one(&names::QUEUE_REFUSED, meters.queue_refused.get());
    text.histogram(&names::COMMIT_TIME, MICROSECONDS, &meters.commit_time.read());
    text.histogram(&names::COMMIT_OPS, 1.0, &meters.commit_ops.read());
    text.one(&names::COMMITS_OF_OTHERS, meters.commits_of_others.get());
    text.one(&names::RACES_LOST, meters.commit_races_lost.get());
    text.one(&names::UNKNOWN, meters.commit_outcomes_unknown.get());
    text.one(&names::BATCHES_FORWARDED, meters.batches_forwarded.get());
    let mut samples = text.metric(&names::BATCHES_RETURNED);
    samples.add(&[("reason", "not_carried")], meters.batches_not_carried.get());
    samples.add(&[("reason", "late")], meters.batches_hedged.get());
    text.one(&names::BATCHES_CARRIED, meters.batches_carried.get());
    text.histogram(&names::PROBE_TIME, MICROSECONDS, &meters.probe_time.read());
    text.histogram(&names::PROBE_READERS, 1.0, &meters.probe_readers.read());
    text.one(&names::PROBE_FAILURES, meters.probe_failures.get());
    text.histogram(&names::CHECKPOINT_TIME, MICROSECONDS, &meters.checkpoint_time.read());
    text.one(&names::CHECKPOINT_FAILURES, meters.checkpoint_failures.get());
    text.histogram(&names::PUBLICATION_TIME, MICROSECONDS, &meters.publication_time.read());
    text.one(&names::PUBLICATION_FAILURES, meters.publication_failures.get());
    text.one(&names::FOREIGN_KEPT, meters.foreign_files_kept.get());
    let mut samples = text.metric(&names::EDITS);
    samples.add(&[("outcome", "adopted")], meters.edits_adopted.get());
    samples.add(&[("outcome", "refused")], meters.edits_refused.get());
    text.one(&names::STALE_READS, meters.stale_reads.get());
    text.one(&names::EDITS_LOST, meters.edited_movies_lost.get());
}

fn bucket(text: &mut Text, calls: &Calls) {
    let mut samples = text.metric(&names::BUCKET_CALLS);
    for (verb, outcome, count) in calls.counts() {
        samples.add(&[("verb", verb.name()), ("outcome", outcome.name())], count);
    }
    let mut samples = text.metric(&names::BUCKET_TIME);
    for (verb, time) in calls.times() {
        samples.distribution(&[("verb", verb.name())], MICROSECONDS, &time.read());
    }
}
