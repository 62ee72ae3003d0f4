//! One file a story.

mod bodies;
mod browsers;
mod checkpoints;
mod codings;
mod collections;
mod commands;
mod conditions;
mod cors;
mod crash;
mod damage;
mod exports;
mod idempotency;
mod imports;
mod lifecycle;
mod limits;
mod names;
mod options;
mod publication;
mod races;
mod refusals;
mod replicas;
mod routes;
mod secrets;
mod seed;
mod tls;
mod trouble;
