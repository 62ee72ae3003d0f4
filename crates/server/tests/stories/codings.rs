//! The whole catalogue in gzip (api.md section 4), and downloads that are too slow.

use std::io::{Read, Write};
use std::process::Command;

use flate2::read::GzDecoder;

use crate::harness::{Answer, Server, converse, folder};

const LIST: &str = "/api/movies";
const HEAT: &str = "/api/movies/Heat/1995";

fn unzipped(body: &[u8]) -> Vec<u8> {
    let (mut reader, mut out) = (GzDecoder::new(body), Vec::new());
    reader.read_to_end(&mut out).expect("it is gzip");
    assert!(reader.into_inner().is_empty(), "something follows the stream");
    out
}

fn list(server: &Server, accept_encoding: &[&str]) -> Answer {
    let ask = server.ask("GET", LIST);
    accept_encoding.iter().fold(ask, |ask, line| ask.header("Accept-Encoding", line)).send()
}

/// A few movies, on one page.
fn few(server: &Server) {
    for year in 1990..2000 {
        server.put(&format!("/api/movies/Heat/{year}"), r#"{"director":"Michael Mann"}"#).is(201);
    }
}

/// So many movies of 60 kB, each about a page.
fn large(server: &Server, movies: usize) {
    let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(60_000));
    for number in 0..movies {
        server.put(&format!("/api/movies/big/{number}"), &body).is(201);
    }
}

#[test]
fn the_catalogue_comes_in_gzip_to_those_who_like_it() {
    let server = Server::new();
    few(&server);
    let plain = list(&server, &[]).is(200);
    assert_eq!(
        (plain.header("content-encoding"), plain.header("vary")),
        (None, Some("Accept-Encoding"))
    );
    for lines in [&["gzip"][..], &["br;q=1, gzip;q=0.5"], &["*"], &["br", "identity;q=0.1, gzip"]] {
        let zipped = list(&server, lines).is(200);
        assert_eq!(zipped.header("content-encoding"), Some("gzip"), "{lines:?}");
        assert_eq!(zipped.header("vary"), Some("Accept-Encoding"));
        assert_eq!(zipped.header("content-type"), Some("application/json"));
        assert_eq!(zipped.header("content-length"), Some(&*zipped.body.len().to_string()));
        assert_eq!(zipped.etag(), format!("\"{}-gzip\"", plain.etag().trim_matches('"')));
        assert!(zipped.body.len() < plain.body.len());
        assert_eq!(unzipped(&zipped.body), plain.body);
    }
    // Where nothing fits the plain body is better than none.
    for lines in [&[""][..], &["br"], &["gzip;q=0, *"], &["identity;q=0"], &["*;q=0"]] {
        let answer = list(&server, lines).is(200);
        assert_eq!(
            (answer.header("content-encoding"), &answer.body),
            (None, &plain.body),
            "{lines:?}"
        );
        assert_eq!(answer.etag(), plain.etag());
    }
}

#[test]
fn only_the_whole_catalogue_is_coded() {
    let server = Server::new();
    let empty = list(&server, &["gzip"]).is(200);
    assert_eq!((empty.header("content-encoding"), empty.text()), (None, "[]\n"));
    few(&server);
    for path in [HEAT, "/api/movies/query?year=1995", "/api/movies/query"] {
        let answer = server.ask("GET", path).header("Accept-Encoding", "gzip").send().is(200);
        assert_eq!(
            (answer.header("content-encoding"), answer.header("vary")),
            (None, None),
            "{path}"
        );
    }
}

#[test]
fn each_coding_is_revalidated_by_its_own_tag() {
    let server = Server::new();
    few(&server);
    let (plain, zipped) = (list(&server, &[]).etag(), list(&server, &["gzip"]).etag());
    let ask = |coding: &str, tag: &str| {
        let ask = server.ask("GET", LIST).header("Accept-Encoding", coding);
        ask.header("If-None-Match", tag).send()
    };
    for (coding, tag) in [("gzip", &zipped), ("identity", &plain)] {
        for form in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}")] {
            let answer = ask(coding, &form).is(304);
            assert_eq!((answer.etag(), answer.body.len()), (tag.clone(), 0));
            assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
            assert_eq!(answer.header("content-encoding"), None);
        }
    }
    ask("gzip", &plain).is(200);
    ask("identity", &zipped).is(200);
    let other = server.ask("GET", LIST).header("Accept-Encoding", "gzip").if_match(&plain).send();
    let other = other.is_problem(412, "precondition-failed");
    assert_eq!((other.etag(), other.header("vary")), (zipped, Some("Accept-Encoding")));
}

#[test]
fn head_tells_what_get_would() {
    let server = Server::new();
    few(&server);
    for coding in ["gzip", "identity"] {
        let ask =
            |method| server.ask(method, LIST).header("Accept-Encoding", coding).send().is(200);
        let (get, head) = (ask("GET"), ask("HEAD"));
        assert!(head.body.is_empty());
        for name in ["content-encoding", "content-length", "content-type", "etag", "vary"] {
            assert_eq!(head.header(name), get.header(name), "{coding} {name}");
        }
    }
}

#[test]
fn a_write_takes_the_tag_of_the_coded_catalogue() {
    let server = Server::new();
    few(&server);
    let seen = list(&server, &["gzip"]).etag();
    server.ask("PUT", HEAT).if_match(&seen).json(r#"{"a":1}"#).send().is(200);
    let stale = server.ask("PUT", HEAT).if_match(&seen).json(r#"{"a":2}"#).send().is(409);
    assert_eq!(stale.text(), "{\"error\":\"Version conflict\"}\n");
    let seen = list(&server, &["gzip"]);
    assert_eq!(unzipped(&seen.body), list(&server, &[]).body);
    server.ask("DELETE", HEAT).if_match(&format!("W/{}", seen.etag())).send().is(204);
}

#[test]
fn curl_takes_a_stream_of_unknown_length_and_one_of_known() {
    let server = Server::new();
    // More pages than are compressed before the first byte.
    large(&server, 40);
    let folder = folder();
    let heads = folder.path().join("heads");
    let curl = || {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--compressed", "--dump-header"]);
        curl.arg(&heads).arg(format!("http://{}{LIST}", server.address()));
        let output = curl.output().expect("curl runs");
        assert!(output.status.success(), "{output:?}");
        (std::fs::read_to_string(&heads).expect("curl wrote it").to_lowercase(), output.stdout)
    };
    let plain = list(&server, &[]).body;
    let (head, body) = curl();
    assert!(head.contains("content-encoding: gzip") && head.contains("chunked"), "{head}");
    assert!(body == plain);
    let (head, body) = curl();
    assert!(head.contains("content-encoding: gzip") && head.contains("content-length"), "{head}");
    assert!(body == plain);
}

#[test]
fn a_slow_download_that_holds_too_much_is_cut_and_sees_it() {
    let server = Server::with("--pinned-bytes-max 1MiB");
    // More than what the sockets of both sides buffer.
    large(&server, 200);
    let mut slow = converse(server.address());
    write!(slow, "GET {LIST} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut head = [0; 1024];
    slow.read_exact(&mut head).unwrap();
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length: usize = length.expect("a length").parse().expect("a number");
    for number in 0..60 {
        server.put(&format!("/api/movies/big/{number}"), r#"{"b":1}"#).is(200);
    }
    server.says("slow downloads were cut");
    let mut rest = Vec::new();
    drop(slow.read_to_end(&mut rest));
    assert!(rest.len() < length - 1_024, "it got all: {} of {length}", rest.len());
    // Nobody else is harmed.
    assert_eq!(server.count(), 200);
}
