//! skeleton

pub mod s3;
