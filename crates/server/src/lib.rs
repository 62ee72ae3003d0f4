//! The service: the seed's HTTP API over a [`movies_store::Store`].

pub mod app;
mod http;
pub mod openapi;
