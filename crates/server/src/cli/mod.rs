//! The commands beside `serve`, one file each. They read a bucket and write to standard output;
//! none of them writes to the bucket.

pub mod check;
pub mod log;
pub mod openapi;
