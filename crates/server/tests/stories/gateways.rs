//! Behind a gateway: whose word on the client counts, and what a request keeps on its way.

use crate::harness::{Answer, Server, Users};

fn behind_a_trusted_gateway(users: &Users) -> Server {
    users.serve("memory://").args("--trusted-proxies 127.0.0.0/8,fd00::/8").start()
}

/// A login that fails, of a user that nobody has tried before, as a gateway would pass it on.
fn guess(server: &Server, number: u32, headers: &[(&str, &str)]) -> Answer {
    let body = format!(r#"{{"username":"nobody{number}","password":"guess"}}"#);
    let ask = server.ask("POST", "/login").json(&body);
    headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value)).send()
}

/// Guesses until it is told to wait; time gives a guess back now and then, so more than thirty may
/// pass.
fn guess_until_throttled(server: &Server, headers: impl Fn(u32) -> [(&'static str, String); 2]) {
    let throttled = (0..300).any(|number| {
        let headers = headers(number);
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let status = guess(server, number, &headers).status;
        assert!([401, 429].contains(&status), "{status}");
        status == 429
    });
    assert!(throttled, "nobody was told to wait");
}

#[test]
fn logins_are_counted_by_the_client_that_a_trusted_gateway_names() {
    let users = Users::of_the_seed("writer");
    let server = behind_a_trusted_gateway(&users);
    let claimed = |number: u32| format!("203.0.113.{}, 192.0.2.1", number % 256);
    guess_until_throttled(&server, |number| {
        [("X-Forwarded-For", claimed(number)), ("X-Forwarded-Proto", "https".to_owned())]
    });
    guess(&server, 1_000, &[("X-Forwarded-For", "192.0.2.2")]).is(401);
    guess(&server, 1_001, &[("Forwarded", "for=192.0.2.3")]).is(401);
}

#[test]
fn a_client_that_names_another_address_each_time_is_counted_by_its_own() {
    let users = Users::of_the_seed("writer");
    let server = users.serve("memory://").start();
    guess_until_throttled(&server, |number| {
        let address = format!("192.0.2.{}", number % 256);
        [("Forwarded", format!("for={address}")), ("X-Forwarded-For", address)]
    });
}

/// Where a refused client is sent for a token.
fn metadata(server: &Server) -> String {
    let refused = server
        .ask("GET", "/api/movies")
        .header("X-Forwarded-For", "192.0.2.1")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "films.example")
        .send()
        .is(401);
    let challenge = refused.header("www-authenticate").unwrap_or_default().to_owned();
    format!("{challenge} {}", refused.header("strict-transport-security").unwrap_or("plain"))
}

#[test]
fn a_trusted_gateway_says_by_which_name_and_scheme_it_was_called_and_nobody_else_does() {
    let users = Users::of_the_seed("reader");
    let told = metadata(&behind_a_trusted_gateway(&users));
    assert!(told.contains("resource_metadata=\"https://films.example/.well-known/"), "{told}");
    assert!(told.ends_with("max-age=31536000"), "{told}");
    let told = metadata(&users.serve("memory://").start());
    assert!(told.contains("resource_metadata=\"http://localhost/.well-known/"), "{told}");
    assert!(told.ends_with("plain"), "{told}");
}

#[test]
fn a_forwarded_host_opens_no_loopback_server_to_a_rebound_name() {
    let server = Server::with("--trusted-proxies 127.0.0.1");
    let request = "GET /api/movies HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\
                   X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: localhost\r\n\r\n";
    let answer = crate::harness::exchange(server.address(), request.as_bytes());
    answer.is_problem(403, "host-not-allowed");
}

#[test]
fn the_request_id_of_a_gateway_comes_back_and_stands_in_the_log() {
    let users = Users::of_the_seed("writer");
    let server = behind_a_trusted_gateway(&users);
    let id = "1a4b7f5e-0001-4000-8000-00000000000a";
    let refused = server.ask("GET", "/api/movies").header("X-Request-Id", id).send().is(401);
    assert_eq!(refused.header("x-request-id"), Some(id));
    server.says(id);
}

#[test]
fn a_network_that_is_none_is_told_at_the_start() {
    crate::harness::Launch::serve("memory://")
        .args("--trusted-proxies gateway.internal")
        .refuses(&["--trusted-proxies", "gateway.internal", "10.0.0.0/8"]);
}
