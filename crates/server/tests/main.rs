//! The real binary, from outside: every test starts `movies-api` on a free port and speaks bytes
//! to it. One file a story; `harness/` has the server and the client.

mod harness;
mod stories;
