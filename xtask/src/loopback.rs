//! A few plain HTTP requests to servers on loopback: enough to fill and look into them.
//!
//! Never for measuring: every request has its own connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const STALL_MAX: Duration = Duration::from_secs(60);

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends one request and returns the body of a 2xx answer.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    body: &[u8],
) -> Result<Vec<u8>> {
    Ok(request_with(address, method, target, &[], body)?.body)
}

/// Sends one request with headers of its own and returns a 2xx answer.
pub(crate) fn request_with(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    let answer = exchange(address, method, target, &headers, body)?;
    ensure!((200..300).contains(&answer.status), "{method} {target}: {}", answer.head);
    Ok(answer)
}

/// Sends one request with exactly these headers and returns the answer, whatever it is.
pub(crate) fn exchange(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    exchange_on(TcpStream::connect(address)?, method, target, headers, body)
}

/// [`exchange`] on a connection that stands.
pub(crate) fn exchange_on(
    mut stream: TcpStream,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let address = stream.peer_addr()?;
    stream.set_read_timeout(Some(STALL_MAX))?;
    let length = body.len();
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(
        stream,
        "{method} {target} HTTP/1.0\r\nHost: {address}\r\n{headers}Content-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("no answer to {method} {target}"))?;
    let (head, body) = split_head(&answer).context("the answer has no head")?;
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let status = status.context("the answer has no status")?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_vec() })
}

fn split_head(answer: &[u8]) -> Option<(&str, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, rest) = answer.split_at(end);
    Some((std::str::from_utf8(head).ok()?, rest.get(4..)?))
}
