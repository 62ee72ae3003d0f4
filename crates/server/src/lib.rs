//! The service: the seed's HTTP API over a [`movies_store::Store`], and the commands around it.

pub mod app;
mod audit;
pub mod auth;
mod calling;
pub mod cli;
pub mod config;
mod http;
pub mod listener;
pub mod openapi;
mod outgoing;
pub mod peers;
pub mod purge;
pub mod serve;
pub mod telemetry;
pub mod tls;
pub mod workers;
