//! What a client may take (api.md section 6), slow ones included.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{Launch, Server, converse, exchange, wait_until};

const HEAT: &str = "/api/movies/Heat/1995";

#[test]
fn a_url_has_at_most_16_kib() {
    let server = Server::new();
    let path = format!("/api/movies/query?name={}", "x".repeat(16 * 1024));
    server.get(&path).is_problem(414, "url-too-long");
    server.get(&format!("/api/movies/query?_={}", "x".repeat(16 * 1024 - 20))).is(200);
}

#[test]
fn headers_have_at_most_32_kib() {
    let server = Server::new();
    let ask = |bytes: usize| server.ask("GET", "/api/movies").header("Cookie", &"x".repeat(bytes));
    ask(31 * 1024).send().is(200);
    ask(33 * 1024).send().is_problem(431, "headers-too-large");
    ask(300 * 1024).try_send().map(|answer| answer.is(431));
    let many =
        (0..120).fold(server.ask("GET", "/api/movies"), |ask, n| ask.header(&format!("x{n}"), "1"));
    many.send().is(431);
}

#[test]
fn limits_are_options_and_are_told() {
    let server = Server::with("--movie-bytes-max 1KiB --depth-max 3 --url-bytes-max 1KiB");
    server.put(HEAT, &format!(r#"{{"a":"{}"}}"#, "x".repeat(1024))).is_problem(413, "too-large");
    server.put(HEAT, r#"{"a":[[[]]]}"#).is_problem(422, "invalid-movie");
    server.put(HEAT, r#"{"a":[[]]}"#).is(201);
    server.get(&format!("/api/movies?_={}", "x".repeat(1024))).is(414);
    let told = server.get("/api").is(200).text().to_owned();
    assert!(told.contains("1024"), "{told}");
}

#[test]
fn a_body_is_not_read_past_the_limit() {
    let server = Server::new();
    let mut stream = converse(server.address());
    write!(stream, "PUT {HEAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
    let mut answer = String::new();
    // Where the server closes with our body unsent, the system may report a reset behind the answer.
    drop(stream.read_to_string(&mut answer));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[test]
fn a_chunked_body_is_not_read_past_the_limit() {
    let server = Server::with("--movie-bytes-max 1KiB");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    let request = format!(
        "PUT {HEAT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
    );
    exchange(server.address(), request.as_bytes()).is_problem(413, "too-large");
}

/// What a stalled client is told before it is cut, if anything.
fn cut_after(server: &Server, sent: &[u8]) -> String {
    let mut stream = converse(server.address());
    stream.write_all(sent).unwrap();
    let mut told = Vec::new();
    drop(stream.read_to_end(&mut told));
    String::from_utf8_lossy(&told).into_owned()
}

#[test]
fn a_client_that_stalls_is_cut() {
    let server = Server::with("--stall-timeout 300ms");
    for sent in [
        &b""[..],
        b"P",
        b"GET /api/movies HTTP/1.1\r\nHost: loc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let told = cut_after(&server, sent);
        assert!(!told.contains(" 200 "), "{told}");
    }
    let head = "PUT /api/movies/Heat/1995 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"a\"";
    let told = cut_after(&server, head.as_bytes());
    assert!(told.starts_with("HTTP/1.1 408") && told.contains("request-timeout"), "{told}");
    assert_eq!(server.count(), 0);
}

#[test]
fn a_reader_that_stalls_is_cut() {
    let server = Server::with("--stall-timeout 300ms --connections-max 2");
    let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(60_000));
    // More than what the sockets of both sides buffer.
    for n in 0..200 {
        // The connection before may still be counted for a moment.
        let stored = || server.put(&format!("/api/movies/big/{n}"), &body).status == 201;
        wait_until("a place for a PUT is free", stored);
    }
    let mut stalled = converse(server.address());
    write!(stalled, "GET /api/movies HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut second = converse(server.address());
    write!(second, "GET /api/movies HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    // Both places are taken until the server cuts them.
    wait_until("a place is free", || server.get("/livez").status == 200);
    // Either may be the one whose place it was.
    let delivered = [stalled, second].map(|mut reader| {
        let mut rest = Vec::new();
        drop(reader.read_to_end(&mut rest));
        rest.len()
    });
    assert!(delivered.iter().any(|bytes| *bytes < 12_000_000), "both got all: {delivered:?}");
}

#[test]
fn one_connection_too_many_is_told_so() {
    let server = Server::with("--connections-max 2");
    let held = [converse(server.address()), converse(server.address())];
    let mut refused = None;
    wait_until("the places are taken", || {
        let answer = server.ask("GET", "/livez").try_send();
        refused = answer.filter(|answer| answer.status == 503);
        refused.is_some()
    });
    let refused = refused.unwrap().is_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(held);
    wait_until("a place is free", || {
        server.ask("GET", "/livez").try_send().is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_server_out_of_files_recovers() {
    let launch = Launch::through(&["/bin/sh", "-c", "ulimit -n 40; exec \"$@\"", "sh"]);
    let server = launch.args("serve --listen 127.0.0.1:0 --store memory://").start();
    server.says("ulimit -n");
    let held: Vec<_> = (0..60).map(|_| converse(server.address())).collect();
    server.says("cannot accept");
    assert!(server.log().matches("cannot accept").count() < 50, "it spins");
    drop(held);
    server.get("/livez").is(200);
}

/// Begins HTTP/2 with prior knowledge: the preface, SETTINGS with this payload, and on stream 1 a
/// GET of `/` by static table indices 2, 6 and 4, with `:authority` (1) as a literal.
fn http_2(server: &Server, settings: &[u8]) -> TcpStream {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let len = u8::try_from(payload.len()).unwrap();
        [&[0, 0, len, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let settings = frame(4, 0, 0, settings);
    let headers = frame(1, 5, 1, b"\x82\x86\x84\x01\x09localhost");
    let request = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], &headers].concat();
    let mut stream = converse(server.address());
    stream.write_all(&request).unwrap();
    stream
}

#[test]
fn an_http_2_client_that_never_opens_its_window_is_cut() {
    let server = Server::with("--stall-timeout 300ms");
    // SETTINGS_INITIAL_WINDOW_SIZE (4) is 0: the answer's head may come, its body may not.
    let mut stream = http_2(&server, &[0, 4, 0, 0, 0, 0]);
    let mut told = Vec::new();
    drop(stream.read_to_end(&mut told));
    assert!(told.len() < 1_000, "the body came all the same: {}", told.len());
}

#[test]
fn http_2_with_prior_knowledge_shares_the_port() {
    let server = Server::new();
    let mut stream = http_2(&server, &[]);
    // Frames: length, type, flags, stream. HEADERS (1) of stream 1 begin with `:status 200` (8).
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).unwrap();
        if head[3] == 1 {
            assert_eq!(payload[0], 0x88, "the first field is not :status 200");
            return;
        }
    }
}

#[test]
fn nonsense_is_no_request() {
    let server = Server::new();
    for sent in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"HELO\r\n\r\n",
        b"GET /api/movies HTTP/9.9\r\n\r\n",
        b"PUT /api/movies/a/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"PUT /api/movies/a/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}",
    ] {
        let mut stream = converse(server.address());
        drop(stream.write_all(sent));
        // The server may have hung up already.
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut told = Vec::new();
        drop(stream.read_to_end(&mut told));
        let told = String::from_utf8_lossy(&told);
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 4"), "{told}");
    }
    server.get("/livez").is(200);
}
