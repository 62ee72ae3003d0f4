//! HTTPS: both versions of HTTP, certificates that change, and clients that do not shake hands.

use std::io::{Read, Write};
use std::path::Path;

use http::Version;
use rustix::process::Signal;

use crate::harness::{Identity, Launch, SecureClient, Server, converse, folder, wait_until};

const HEAT: &str = "/api/movies/Heat/1995";
const BOTH: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

fn launch(store: &str, files: &Path) -> Launch {
    let launch = Launch::serve(store).arg("--tls-cert").arg(files.join("tls.crt"));
    launch.arg("--tls-key").arg(files.join("tls.key"))
}

/// A server with this certificate, whose files are in `files`.
fn serve(identity: &Identity, files: &Path, options: &str) -> Server {
    identity.write(files);
    launch("memory://", files).args(options).start()
}

#[test]
fn the_api_is_there_over_https_in_http_1_1_and_in_http_2() {
    let (identity, files) = (Identity::new(), folder());
    let server = serve(&identity, files.path(), "");
    for (version, status) in BOTH.into_iter().zip([201, 200]) {
        let client = SecureClient::new(&identity, version);
        let put = client.ask(&server, "PUT", HEAT, "{\"v\":1}");
        assert_eq!((put.status().as_u16(), put.version()), (status, version));
        let got = client.ask(&server, "GET", HEAT, "");
        assert_eq!(got.body(), put.body());
    }
}

/// A folder with more movies than what the sockets of both sides buffer, and what all of them are.
fn large_catalogue() -> (tempfile::TempDir, Vec<u8>) {
    let data = folder();
    let plain = Launch::serve(data.path()).start();
    let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(60_000));
    for n in 0..200 {
        plain.put(&format!("/api/movies/big/{n}"), &body).is(201);
    }
    (data, plain.get("/api/movies").is(200).body)
}

#[test]
fn a_large_catalogue_arrives_whole_over_https() {
    let (identity, files) = (Identity::new(), folder());
    let (data, expected) = large_catalogue();
    identity.write(files.path());
    let server = launch(data.path().to_str().unwrap(), files.path()).start();
    for version in BOTH {
        let got = SecureClient::new(&identity, version).ask(&server, "GET", "/api/movies", "");
        assert!(got.body() == &expected, "{} of {}", got.body().len(), expected.len());
    }
}

#[test]
fn a_reader_that_stalls_over_https_is_cut() {
    let (identity, files) = (Identity::new(), folder());
    let (data, whole) = large_catalogue();
    identity.write(files.path());
    let options = "--stall-timeout 300ms --connections-max 1";
    let server = launch(data.path().to_str().unwrap(), files.path()).args(options).start();
    let client = SecureClient::new(&identity, Version::HTTP_11);
    let mut stalled = client.connect(server.address()).unwrap();
    client.write(&mut stalled, b"GET /api/movies HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wait_until("its place is free", || client.try_ask(&server, "GET", "/livez", "").is_some());
    let delivered = client.read_to_end(&mut stalled).len();
    assert!(delivered < whole.len(), "all of {delivered} came");
}

#[test]
fn browsers_are_told_to_come_by_https_only_where_it_is_spoken() {
    let (identity, files) = (Identity::new(), folder());
    let mut server = serve(&identity, files.path(), "--admin-listen 127.0.0.1:0");
    let admin = server.next_line();
    let admin = admin.split("http://").nth(1).unwrap().parse().unwrap();
    let told = SecureClient::new(&identity, Version::HTTP_2).ask(&server, "GET", "/api", "");
    let told = told.headers().get("strict-transport-security").expect("a header");
    assert_eq!(told, "max-age=31536000");
    let plain = crate::harness::Ask::new(admin, "GET", "/livez").send().is(200);
    assert_eq!(plain.header("strict-transport-security"), None);
    let plain = Server::new().get("/api");
    assert_eq!(plain.header("strict-transport-security"), None);
}

#[test]
fn a_renewed_certificate_is_used_without_a_restart() {
    let (first, second, files) = (Identity::new(), Identity::new(), folder());
    let server = serve(&first, files.path(), "");
    let (old, new) = (SecureClient::new(&first, BOTH[1]), SecureClient::new(&second, BOTH[1]));
    assert!(new.try_ask(&server, "GET", "/livez", "").is_none(), "trusted too early");
    second.write(files.path());
    wait_until("the new one is used", || new.try_ask(&server, "GET", "/livez", "").is_some());
    assert!(old.try_ask(&server, "GET", "/livez", "").is_none(), "the old one is still used");
    server.says("a new certificate is in use");
}

#[test]
fn a_bad_new_certificate_is_refused_and_the_old_one_goes_on() {
    let (identity, other, files) = (Identity::new(), Identity::new(), folder());
    let server = serve(&identity, files.path(), "");
    let client = SecureClient::new(&identity, Version::HTTP_11);
    std::fs::write(files.path().join("tls.key"), &other.key_pem).unwrap();
    server.says("they do not belong together");
    assert_eq!(client.ask(&server, "GET", "/livez", "").status(), 200);
    std::fs::remove_file(files.path().join("tls.crt")).unwrap();
    server.says("No such file");
    assert_eq!(client.ask(&server, "GET", "/livez", "").status(), 200);
    other.write(files.path());
    let client = SecureClient::new(&other, Version::HTTP_11);
    wait_until("it recovers", || client.try_ask(&server, "GET", "/livez", "").is_some());
}

#[test]
fn a_start_without_a_good_certificate_says_which_file_is_wrong() {
    let (identity, other, files) = (Identity::new(), Identity::new(), folder());
    let begin = |cert: &str, key: &str| {
        std::fs::write(files.path().join("tls.crt"), cert).unwrap();
        std::fs::write(files.path().join("tls.key"), key).unwrap();
        launch("memory://", files.path())
    };
    let Identity { cert_pem, key_pem, .. } = &identity;
    begin(cert_pem, &other.key_pem).refuses(&["tls.crt", "tls.key", "do not belong together"]);
    begin("", key_pem).refuses(&["--tls-cert", "no certificate in it"]);
    begin(key_pem, key_pem).refuses(&["--tls-cert", "no certificate in it"]);
    begin(cert_pem, cert_pem).refuses(&["--tls-key", "no private key"]);
    let damaged = key_pem.replace("-----END", "-----");
    let told = begin(cert_pem, &damaged).refuses(&["--tls-key", "no PEM"]);
    assert!(!told.contains(&key_pem[30..60]), "it tells the key: {told}");
    let encrypted = key_pem.replace("PRIVATE", "ENCRYPTED PRIVATE");
    begin(cert_pem, &encrypted).refuses(&["--tls-key", "decrypted"]);
    std::fs::remove_file(files.path().join("tls.key")).unwrap();
    launch("memory://", files.path()).refuses(&["--tls-key", "tls.key", "No such file"]);
    let half = Launch::serve("memory://").arg("--tls-cert").arg(files.path().join("tls.crt"));
    let half = half.run();
    assert_eq!(half.code, Some(2), "{half:?}");
    assert!(half.stderr.contains("--tls-key"), "{half:?}");
}

#[test]
fn a_client_without_tls_is_told_to_use_https() {
    let (identity, files) = (Identity::new(), folder());
    let server = serve(&identity, files.path(), "");
    let told = server.get("/api/movies").is(400).says("https://");
    assert_eq!(told.header("content-type"), Some("application/problem+json"));
}

#[test]
fn a_handshake_that_never_ends_is_cut_and_counts_as_a_connection() {
    let (identity, files) = (Identity::new(), folder());
    let server = serve(&identity, files.path(), "--stall-timeout 300ms --connections-max 2");
    // Nothing, and the beginning of a handshake.
    let held = [&b""[..], b"\x16\x03\x01\x02\x00\x01"].map(|sent| {
        let mut stream = converse(server.address());
        stream.write_all(sent).unwrap();
        stream
    });
    // Each ends by itself: whoever waits for it would wait for ever otherwise.
    for mut stream in held {
        let mut told = Vec::new();
        drop(stream.read_to_end(&mut told));
        assert!(told.is_empty(), "{told:?}");
    }
    let client = SecureClient::new(&identity, Version::HTTP_11);
    wait_until("a place is free", || client.try_ask(&server, "GET", "/livez", "").is_some());
}

#[test]
fn one_connection_too_many_is_closed() {
    let (identity, files) = (Identity::new(), folder());
    let server = serve(&identity, files.path(), "--connections-max 1");
    let client = SecureClient::new(&identity, Version::HTTP_11);
    let held = converse(server.address());
    wait_until("there is no place", || client.connect(server.address()).is_err());
    drop(held);
    wait_until("a place is free", || client.try_ask(&server, "GET", "/livez", "").is_some());
}

#[test]
fn an_unfinished_handshake_does_not_hold_up_the_end() {
    let (identity, files) = (Identity::new(), folder());
    let mut server = serve(&identity, files.path(), "");
    let client = SecureClient::new(&identity, Version::HTTP_11);
    let _silent = converse(server.address());
    // Accepted in order: the silent one is there when this is answered.
    client.ask(&server, "GET", "/livez", "");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

#[test]
fn the_end_of_a_certificate_is_told_before_and_after() {
    let files = folder();
    let mut server = serve(&Identity::until(2001), files.path(), "--admin-listen 127.0.0.1:0");
    let admin = server.next_line();
    let admin = admin.rsplit_once("http://").unwrap().1.parse().unwrap();
    server.says("the certificate has ended");
    let told = || {
        let metrics = crate::harness::Ask::new(admin, "GET", "/metrics").send().is(200);
        let metric = "movies_tls_certificate_expiry_timestamp_seconds ";
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(metric));
        line.unwrap().parse::<i64>().unwrap()
    };
    // The first second of the last day of each year.
    assert_eq!(told(), 1_009_756_800);
    Identity::until(2030).write(files.path());
    wait_until("the new one is told", || told() == 1_924_905_600);
    server.says("a new certificate is in use");
    assert_eq!(server.log().matches("the certificate").count(), 1, "{}", server.log());
}
