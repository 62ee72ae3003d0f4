//! Requests that two servers in a row may read differently (RFC 9112 section 11.2): whatever a
//! gateway makes of one, the answers of others must not be mixed up by it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::gateway::Gateway;
use super::replicas::Replicas;
use crate::loopback;

/// After this long without a byte nothing more comes.
const SILENCE: Duration = Duration::from_millis(700);
/// Honest requests after each attempt, over as many connections to the replicas as are kept.
const HONEST: usize = 12;

/// One attempt: the head's lines behind the first, and what comes after the head.
struct Attempt {
    what: &'static str,
    head: String,
    rest: String,
    /// Whether it must be refused: other readings of it than a refusal are wrong.
    is_refused: bool,
}

fn attempts(hidden: &str) -> Vec<Attempt> {
    let attempt = |what, head: &str, rest: String, is_refused| Attempt {
        what,
        head: head.to_owned(),
        rest,
        is_refused,
    };
    let chunked = format!("0\r\n\r\n{hidden}");
    let length = chunked.len();
    let both = format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n");
    let two = format!("Content-Length: 2\r\nContent-Length: {}\r\n", 2 + hidden.len());
    let spaced = format!("Content-Length: {length}\r\nTransfer-Encoding : chunked\r\n");
    let odd = format!("Content-Length: {length}\r\nTransfer-Encoding: xchunked\r\n");
    let bare = format!("X: y\nTransfer-Encoding: chunked\nContent-Length: {length}\r\n");
    let folded = format!("Content-Length: {length}\r\nX: y\r\n Transfer-Encoding: chunked\r\n");
    vec![
        attempt("a length and chunks", &both, chunked.clone(), false),
        attempt("two lengths", &two, format!("{{}}{hidden}"), true),
        attempt("two lengths in one", "Content-Length: 2, 40\r\n", format!("{{}}{hidden}"), true),
        attempt("a length with a sign", "Content-Length: +2\r\n", format!("{{}}{hidden}"), true),
        attempt("a space before the colon", &spaced, chunked.clone(), true),
        attempt("an unknown transfer coding", &odd, chunked.clone(), true),
        attempt("bare line feeds", &bare, chunked.clone(), false),
        attempt("a folded line", &folded, chunked, false),
        attempt(
            "a chunk size that overflows",
            "Transfer-Encoding: chunked\r\n",
            format!("10000000000000002\r\n{{}}\r\n0\r\n\r\n{hidden}"),
            true,
        ),
    ]
}

pub(crate) fn run(gateway: &Gateway, replicas: &Replicas) -> Result<()> {
    let good = replicas.good()?;
    // It has no token: where a gateway lets it pass unseen, the answer to it is somebody else's.
    let hidden = "GET /api/movies/Hidden/1999 HTTP/1.1\r\nHost: hidden\r\nX-Hidden: y\r\n\r\n";
    for address in [gateway.address, replicas.address(0)?] {
        let who = if address == gateway.address { gateway.name } else { "movies-api alone" };
        for Attempt { what, head, rest, is_refused } in attempts(hidden) {
            let request = format!(
                "PUT /api/movies/Smuggler/2000 HTTP/1.1\r\nHost: {address}\r\n\
                 Authorization: {good}\r\nContent-Type: application/json\r\n{head}\r\n{rest}"
            );
            let statuses = statuses(address, request.as_bytes())?;
            println!("  {who}: {what}: {statuses:?}");
            if is_refused {
                let first = statuses.first();
                ensure!(
                    first.is_none_or(|status| (400..600).contains(status)),
                    "{who}: {what} was taken"
                );
                ensure!(statuses.len() <= 1, "{who}: {what}: it went on after a refusal");
            }
            honest(address, &good)?;
        }
    }
    Ok(())
}

/// Everybody gets their own answer.
fn honest(address: SocketAddr, good: &str) -> Result<()> {
    for number in 0..HONEST {
        let target = format!("/api/movies/Honest{number}/2001");
        let headers = [("Authorization", good), ("Content-Type", "application/json")];
        let answer = loopback::exchange(address, "PUT", &target, &headers, b"{}")?;
        ensure!(answer.status < 300, "PUT {target}: {}", answer.status);
        let movie: Value = serde_json::from_slice(&answer.body)?;
        let name = movie.get("name").and_then(Value::as_str);
        ensure!(name == Some(&format!("Honest{number}")), "{target} got {name:?}");
    }
    Ok(())
}

/// The statuses of all answers to what was sent on one connection.
fn statuses(address: SocketAddr, request: &[u8]) -> Result<Vec<u16>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE))?;
    // A server that has refused already may be gone before all is sent.
    drop(stream.write_all(request));
    let mut answers = Vec::new();
    let mut some = [0; 4096];
    loop {
        match stream.read(&mut some) {
            Ok(0) => break,
            Ok(count) => answers.extend_from_slice(some.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error.into()),
        }
    }
    let answers = String::from_utf8_lossy(&answers);
    let status = |rest: &str| rest.get(2..5).and_then(|status| status.parse().ok());
    Ok(answers.split("HTTP/1.").skip(1).filter_map(status).collect())
}
