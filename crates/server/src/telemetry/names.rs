//! The one table of every metric: its name, its kind and what it says. Dashboards and alerts are
//! written against these names; a change here is a change of the interface.

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, from zero at the process's start.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Values by their size.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

macro_rules! metrics {
    ($($const:ident $kind:ident $name:literal $help:literal;)*) => {
        $(pub(super) const $const: Metric =
            Metric { name: $name, kind: Kind::$kind, help: $help };)*
        /// All of them, in the order in which they are told.
        #[cfg(test)]
        pub(super) const ALL: &[Metric] = &[$($const),*];
    };
}

metrics! {
    // The process.
    BUILD Gauge "movies_build_info" "Version and commit of this build; always 1";
    START Gauge "process_start_time_seconds" "When the process began, in seconds since 1970";
    CPU Counter "process_cpu_seconds_total" "Processor time of all threads";
    RESIDENT Gauge "process_resident_memory_bytes" "Memory in use";
    OPEN_FILES Gauge "process_open_fds" "Open files and sockets";

    // HTTP.
    REQUESTS Counter "movies_http_requests_total" "Requests answered, by route, method and class of status";
    REQUEST_TIME Histogram "movies_http_request_duration_seconds" "From a request's head to its answer's";
    IN_FLIGHT Gauge "movies_http_requests_in_flight" "Requests whose answer has not begun";
    CONNECTIONS Gauge "movies_http_connections" "Open connections";
    CONNECTIONS_MAX Gauge "movies_http_connections_max" "The most connections that may be open on the API's listener";
    ACCEPTED Counter "movies_http_connections_accepted_total" "Connections that were served";
    CERTIFICATE_ENDS Gauge "movies_tls_certificate_expiry_timestamp_seconds" "When the certificate in use ends, in seconds since 1970; not told without TLS";
    TURNED_AWAY Counter "movies_http_connections_refused_total" "Connections over the limit";

    // Callers.
    LOGINS Counter "movies_auth_logins_total" "Logins, by outcome";
    REFUSALS Counter "movies_auth_refusals_total" "Requests refused with 401 or 403, by reason";
    FETCHES Counter "movies_auth_provider_fetches_total" "Fetches of identity providers' keys, by outcome";

    // Caches in front of this service; nothing is told where nobody purges.
    PURGE_CALLS Counter "movies_purge_calls_total" "Calls that purge caches, by outcome";
    PURGE_TAGS Counter "movies_purge_tags_total" "Tags that were purged";
    PURGE_WIDENED Counter "movies_purge_widened_total" "How often tags of movies gave way to their collection's";
    PURGE_DROPPED Counter "movies_purge_tags_dropped_total" "Tags that found no room to wait";
    PURGE_WAITING Gauge "movies_purge_tags_waiting" "Tags that wait, those of second purges too";
    PURGE_LATE Gauge "movies_purge_late_seconds" "For how long the oldest tag has waited beyond its time";

    // Collections: at most so many are told one by one.
    OPENED Gauge "movies_collections_open" "Collections in memory";
    UNTOLD Gauge "movies_collections_untold" "Open collections beyond those that are told one by one";
    STOPPED Gauge "movies_collection_stopped" "1 where a damaged or newer log keeps the collection from being served";
    SEQ Gauge "movies_collection_seq" "The last commit in memory";
    VERSION Gauge "movies_collection_version" "The last commit that changed a movie";
    STALENESS Gauge "movies_collection_staleness_seconds" "How long ago the request began that last proved the state current";
    MOVIES Gauge "movies_collection_movies" "Movies in memory";
    PAGES Gauge "movies_collection_pages" "Pages in memory";
    WIRE_BYTES Gauge "movies_collection_wire_bytes" "Bytes of those pages";
    PINS Gauge "movies_collection_pinned_states" "Downloads that hold a state";
    PINNED_BYTES Gauge "movies_collection_pinned_bytes" "The most bytes of old pages that downloads hold";
    QUEUE_GROUPS Gauge "movies_queue_groups" "Requests that wait to be written";
    QUEUE_OPS Gauge "movies_queue_ops" "Changes that wait to be written";
    QUEUE_BYTES Gauge "movies_queue_bytes" "About the bytes that they take in a commit";
    QUEUE_REFUSED Counter "movies_queue_refused_total" "Requests that found the write queue full";
    GZIP_KEPT Gauge "movies_gzip_cache_bytes" "Bytes of compressed pages that are kept";
    GZIP_MADE Counter "movies_gzip_pages_compressed_total" "Pages that were compressed";

    // Commits and probes.
    COMMIT_TIME Histogram "movies_commit_duration_seconds" "From taking a batch out of the queue to its place in the log";
    COMMIT_OPS Histogram "movies_commit_ops" "Changes in a batch of this replica's clients";
    COMMITS_OF_OTHERS Counter "movies_commits_of_others_total" "Commits of other replicas that were applied";
    RACES_LOST Counter "movies_commit_races_lost_total" "Creates that found their number taken";
    BATCHES_FORWARDED Counter "movies_batches_forwarded_total" "Batches that another replica put into the log for this one";
    BATCHES_RETURNED Counter "movies_batches_returned_total" "Batches that another replica was sent and that this one created itself, by reason: it did not take them along, or they were not in the log in time";
    BATCHES_CARRIED Counter "movies_batches_carried_total" "Batches of other replicas that this one put into the log";
    PEER_REFUSALS Counter "movies_internal_requests_refused_total" "Messages to the internal listener that changed nothing, by reason: forged (not signed, or come before) or refused";
    UNKNOWN Counter "movies_commit_unknown_outcomes_total" "Creates whose answer was lost; each was settled by reading";
    PROBE_TIME Histogram "movies_probe_duration_seconds" "From a probe of the bucket to the proof that the state is current";
    PROBE_READERS Histogram "movies_probe_readers" "Readers that shared a probe";
    PROBE_FAILURES Counter "movies_probe_failures_total" "Reads of the log's end that failed";

    // Checkpoints and publication.
    CHECKPOINT_SEQ Gauge "movies_checkpoint_seq" "The last commit in the newest known checkpoint";
    CHECKPOINT_AT Gauge "movies_checkpoint_last_success_timestamp_seconds" "When a run of the checkpointer last ended well";
    CHECKPOINT_FAILS Gauge "movies_checkpoint_failing" "1 where the last run failed";
    CHECKPOINT_TIME Histogram "movies_checkpoint_duration_seconds" "What writing a checkpoint took";
    CHECKPOINT_FAILURES Counter "movies_checkpoint_failures_total" "Runs of the checkpointer that failed";
    PUBLISHED_SEQ Gauge "movies_publication_seq" "The last commit that the published file shows";
    PUBLISHED_AT Gauge "movies_publication_last_success_timestamp_seconds" "When this replica last wrote the published file";
    PUBLICATION_FAILS Gauge "movies_publication_failing" "1 where the last publication failed";
    FOREIGN Gauge "movies_publication_foreign_file" "1 while a file of somebody else stands in the way of the published one";
    PUBLICATION_TIME Histogram "movies_publication_duration_seconds" "What publishing took";
    PUBLICATION_FAILURES Counter "movies_publication_failures_total" "Publications that failed";
    FOREIGN_KEPT Counter "movies_publication_foreign_files_kept_total" "Files of somebody else that were found in the published one's place, and kept";
    EDITS Counter "movies_edits_total" "Edits of the published file, by outcome: adopted, or refused as a mishap or no JSON";
    STALE_READS Counter "movies_stale_reads_total" "Reads that were answered from memory while the bucket did not answer (--serve-stale)";
    EDITS_LOST Counter "movies_edits_movies_lost_total" "Movies of adopted edits that others had written meanwhile, and which stayed as those left them";

    // Traces; nothing is told where nobody traces.
    TRACE_SENT Counter "movies_trace_spans_sent_total" "Spans that the collector has taken";
    TRACE_DROPPED Counter "movies_trace_spans_dropped_total" "Spans that no collector will have, by reason: no room while it was away, refused by it, or left at the end";
    TRACE_CALLS Counter "movies_trace_exports_total" "Calls of the collector, by outcome";

    // The bucket.
    BUCKET_CALLS Counter "movies_bucket_requests_total" "Requests to the bucket, by verb and outcome";
    BUCKET_TIME Histogram "movies_bucket_request_duration_seconds" "From a request to the bucket to the begin of its answer";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len(), "each name stands once");
        for Metric { name, kind, help } in ALL {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(name.starts_with("movies_") || name.starts_with("process_"), "{name}");
            assert!(!help.is_empty() && !help.contains(['\n', '\\']), "{name}");
        }
    }
}
