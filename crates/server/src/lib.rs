//! The service: the seed's HTTP API over a [`movies_store::Store`].

pub mod app;
pub mod http;
pub mod openapi;
