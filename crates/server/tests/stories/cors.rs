//! Pages of other origins, where the operator lets them in (api.md sections 1 and 6).

use crate::harness::{Answer, Launch, Server};

const HEAT: &str = "/api/movies/Heat/1995";
const FRIEND: &str = "https://films.example";

fn from(server: &Server, origin: &str, method: &str, path: &str) -> Answer {
    server.ask(method, path).header("Origin", origin).send()
}

fn preflight(server: &Server, origin: &str) -> Answer {
    let ask = server.ask("OPTIONS", HEAT).header("Origin", origin);
    let ask = ask.header("Access-Control-Request-Method", "PUT");
    ask.header("Access-Control-Request-Headers", "content-type,if-match").send().is(204)
}

/// The headers that let a page in.
fn let_in(answer: &Answer) -> Vec<&str> {
    let headers = answer.headers.iter().map(|(name, _)| name.as_str());
    headers.filter(|name| name.to_lowercase().starts_with("access-control-")).collect()
}

#[test]
fn no_page_of_another_origin_is_let_in_by_default() {
    let server = Server::new();
    assert_eq!(let_in(&from(&server, FRIEND, "GET", "/api/movies")), [""; 0]);
    assert_eq!(let_in(&preflight(&server, FRIEND)), [""; 0]);
    assert_eq!(server.get("/api").json()["features"]["cors_origins"], serde_json::json!([]));
}

#[test]
fn the_pages_of_named_origins_are_let_in() {
    let server = Server::with("--cors-origins https://films.example,http://localhost:8080");
    server.put(HEAT, "{}").is(201);
    for origin in [FRIEND, "http://localhost:8080"] {
        for (method, path, status) in [
            ("GET", "/api/movies", 200),
            ("GET", "/nowhere", 404),
            ("POST", HEAT, 405),
            ("GET", "/api/movies/query?year=x", 400),
        ] {
            let answer = from(&server, origin, method, path).is(status);
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{path}");
            assert_eq!(
                answer.header("access-control-expose-headers"),
                Some(
                    "ETag, Link, Location, Retry-After, WWW-Authenticate, X-Request-Id, X-Total-Count, Movies-Outcome, Movies-Replayed, Movies-Version"
                ),
            );
            assert_eq!(answer.header("access-control-allow-credentials"), None);
        }
        let answer = preflight(&server, origin);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert_eq!(answer.header("access-control-max-age"), Some("86400"));
        let methods = answer.header("access-control-allow-methods");
        assert_eq!(methods, Some("GET, HEAD, POST, PUT, DELETE"));
        let headers = answer.header("access-control-allow-headers").unwrap().to_lowercase();
        for name in [
            "authorization",
            "content-type",
            "if-match",
            "if-none-match",
            "idempotency-key",
            "prefer",
        ] {
            assert!(headers.split(", ").any(|header| header == name), "{name}: {headers}");
        }
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    for origin in ["https://evil.example", "https://films.example.evil.example", "null", ""] {
        assert_eq!(let_in(&from(&server, origin, "GET", "/api/movies")), [""; 0], "{origin}");
        assert_eq!(let_in(&preflight(&server, origin)), [""; 0], "{origin}");
    }
}

/// Every answer of a path depends on who asks, so a cache must know it from each.
#[test]
fn a_cache_is_told_that_answers_depend_on_the_origin() {
    let vary = |answer: &Answer| {
        let lines = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("vary"));
        lines.map(|(_, value)| value.to_lowercase()).collect::<Vec<_>>().join(", ")
    };
    let server = Server::with("--cors-origins https://films.example");
    let tag = server.get("/api/movies").etag();
    let unchanged = server.ask("GET", "/api/movies").header("If-None-Match", &tag);
    for answer in [
        server.get("/api/movies"),
        from(&server, "https://evil.example", "GET", "/api/movies"),
        unchanged.send().is(304),
        server.get("/nowhere"),
        preflight(&server, FRIEND),
    ] {
        assert!(vary(&answer).contains("origin"), "{answer:?}");
    }
    assert!(vary(&server.get("/nowhere")).contains("accept"));
    for options in ["", "--cors-origins *"] {
        assert!(!vary(&Server::with(options).get("/api/movies")).contains("origin"), "{options}");
    }
}

#[test]
fn every_page_is_let_in_by_a_star() {
    let launch = Launch::serve("memory://").var("MOVIES_CORS_ORIGINS", "*");
    let server = launch.start();
    let answer = from(&server, "https://anyone.example", "GET", "/api/movies").is(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let answer = preflight(&server, "https://anyone.example");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    // To a browser a star here would not stand for it.
    let headers = answer.header("access-control-allow-headers").unwrap();
    assert!(headers.starts_with("Authorization, "), "{headers}");
}

#[test]
fn what_is_no_origin_is_refused_at_the_start() {
    for origin in [
        "films.example",
        "https://films.example/",
        "https://*.example",
        "null",
        "*,https://a.example",
    ] {
        let launch = Launch::serve("memory://").arg("--cors-origins").arg(origin);
        launch.refuses(&["--cors-origins: ", "is no origin"]);
    }
}
