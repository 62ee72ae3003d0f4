//! One file a story.

mod bodies;
mod codings;
mod collections;
mod commands;
mod conditions;
mod crash;
mod damage;
mod idempotency;
mod lifecycle;
mod limits;
mod names;
mod options;
mod races;
mod refusals;
mod replicas;
mod routes;
mod seed;
mod trouble;
