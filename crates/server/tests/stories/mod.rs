//! One file a story.

mod authorization;
mod bodies;
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
mod login;
mod names;
mod options;
mod providers;
mod publication;
mod races;
mod refusals;
mod replicas;
mod routes;
mod seed;
mod trouble;
