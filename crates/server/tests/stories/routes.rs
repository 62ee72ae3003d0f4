//! What every route has in common: HEAD, OPTIONS, 404, 405, 308, the pages about the service.

use crate::harness::{Ask, Launch, Server, exchange};

const HEAT: &str = "/api/movies/Heat/1995";

#[test]
fn head_is_get_without_the_body() {
    let server = Server::new();
    server.put(HEAT, r#"{"a":1}"#).is(201);
    for path in
        ["/api/movies", "/api/movies/query?year=1995", HEAT, "/api", "/livez", "/openapi.json"]
    {
        let (get, head) = (server.get(path).is(200), server.ask("HEAD", path).send().is(200));
        assert_eq!(head.body, b"", "{path}");
        for name in ["content-type", "content-length", "etag", "movies-version"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
    server.ask("HEAD", "/api/movies/Ran/1985").send().is(404);
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let server = Server::new();
    for (method, path, allowed) in [
        ("POST", "/api/movies", "GET"),
        ("PATCH", HEAT, "DELETE"),
        ("DELETE", "/api/movies/query", "HEAD"),
        ("PUT", "/livez", "GET"),
    ] {
        let answer = server.ask(method, path).send().is_problem(405, "method-not-allowed");
        let allow = answer.header("allow").unwrap();
        assert!(allow.contains(allowed) && allow.contains("OPTIONS"), "{method} {path}: {allow}");
    }
}

#[test]
fn options_lists_the_methods() {
    let server = Server::new();
    for (path, methods) in [
        ("/api/movies", "GET, HEAD, OPTIONS"),
        (HEAT, "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/api/collections/movies.json", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/docs/index.css", "GET, HEAD, OPTIONS"),
        ("/livez", "GET, HEAD, OPTIONS"),
    ] {
        let answer = server.ask("OPTIONS", path).send().is(204);
        assert_eq!(answer.header("allow"), Some(methods), "{path}");
    }
}

#[test]
fn a_trailing_slash_is_a_redirect_to_this_very_server() {
    let server = Server::new();
    for (path, target) in [
        ("/api/movies/", "/api/movies"),
        ("/api/movies/query/?year=1&name=a%2Fb", "/api/movies/query?year=1&name=a%2Fb"),
        ("/api/movies/Face%2FOff/1997/", "/api/movies/Face%2FOff/1997"),
    ] {
        assert_eq!(server.get(path).is(308).header("location"), Some(target));
    }
    for path in ["//evil.example/", "//evil.example/%2e%2e/", "/\\evil.example/"] {
        let answer = server.get(path);
        let location = answer.header("location").unwrap_or("/").to_owned();
        assert!(!location.starts_with("//") && !location.starts_with("/\\"), "{path}: {answer:?}");
    }
}

#[test]
fn an_unknown_path_is_a_problem() {
    let server = Server::new();
    for path in ["/api/films", "/favicon.ico", "/api/movies/a/b/c", "/%00"] {
        let answer = server.get(path).is(404);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
    }
}

#[test]
fn a_query_names_what_it_does_not_know() {
    let server = Server::new();
    let answer = server.get("/api/movies/query?title=Heat").is_problem(400, "invalid-query");
    answer.says("title").says("name").says("year");
    server.get("/api/movies/query?year=abc").is_problem(400, "invalid-query").says("year");
    server.get("/api/movies/query?_=123").is(200);
    server.get("/api/movies/query?name=&year=").is(200);
    server.get("/api/movies/query?name=%E9").is_problem(400, "invalid-query").says("UTF-8");
    server.get("/api/movies/query?year=1&year=2").is(400);
}

#[test]
fn every_answer_has_an_id_and_a_client_may_choose_it() {
    let server = Server::new();
    let one = server.get("/api/movies").header("x-request-id").unwrap().to_owned();
    let other = server.get("/nowhere").header("x-request-id").unwrap().to_owned();
    assert_ne!(one, other);
    let mine = server.ask("GET", "/nowhere").header("X-Request-Id", "abc-1").send();
    assert_eq!(mine.header("x-request-id"), Some("abc-1"));
}

#[test]
fn a_browser_gets_problems_as_a_page() {
    let server = Server::new();
    let ask = server.ask("GET", "/api/movies/Nope/2000").header("Accept", "text/html,*/*;q=0.8");
    let page = ask.send().is(404);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
}

#[test]
fn a_page_of_another_site_cannot_reach_a_loopback_server() {
    let server = Server::new();
    for host in ["evil.example", "evil.example:80", "10.0.0.1", ""] {
        let request =
            format!("GET /api/movies HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        exchange(server.address(), request.as_bytes()).is_problem(403, "host-not-allowed");
    }
}

#[test]
fn the_pages_about_the_service_need_no_network() {
    let server = Server::new();
    for path in
        ["/", "/docs", "/docs/", "/openapi.json", "/problems", "/problems/version-conflict", "/api"]
    {
        let answer = server.get(path);
        assert!([200, 303, 307, 308].contains(&answer.status), "{path}: {answer:?}");
        let text = answer.text();
        assert!(!text.contains("src=\"http") && !text.contains("src=\"//"), "{path}");
    }
    let document = server.get("/openapi.json").is(200).json();
    assert!(document["paths"]["/api/movies/{name}/{year}"]["put"].is_object());
    let printed = Launch::command("openapi").run();
    assert_eq!(printed.code, Some(0));
    let printed: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(printed["paths"], document["paths"]);
}

#[test]
fn what_is_served_beside_the_movies_is_told() {
    let server = Server::new();
    server.get("/livez").is(200);
    server.get("/readyz").is(200);
    server.get("/readyz?verbose").is(200);
    let about = server.get("/api").is(200);
    assert!(about.text().contains(env!("CARGO_PKG_VERSION")), "{}", about.text());
    assert!(about.text().starts_with("{\"name\":\"movies-api\",\"build\":"), "{}", about.text());
    let kind = server.get("/problems/not-found").is(200);
    assert!(kind.text().starts_with("{\"type\":\"/problems/not-found\",\"status\":404"));
    // What the start page says to try goes to where it came from.
    let request =
        b"GET / HTTP/1.1\r\nHost: localhost:81\r\nAccept: text/html\r\nConnection: close\r\n\r\n";
    let page = exchange(server.address(), request).is(200);
    assert!(page.text().contains("curl -X PUT http://localhost:81/api/movies/"), "{}", page.text());
}

#[test]
fn several_lines_of_accept_are_one_list() {
    let server = Server::new();
    let both = |path: &str| {
        server
            .ask("GET", path)
            .header("Accept", "text/html;q=0.5")
            .header("Accept", "application/json")
    };
    both("/api/movies").send().is(200);
    both("/nowhere").send().is_problem(404, "not-found");
    let page =
        server.ask("GET", "/nowhere").header("Accept", "image/png").header("Accept", "text/html");
    assert!(page.send().is(404).header("content-type").unwrap().starts_with("text/html"));
}

#[test]
fn the_hint_of_a_name_alone_can_be_followed() {
    let server = Server::new();
    for (segment, name) in [
        ("Inception", "Inception"),
        ("Face%2FOff", "Face/Off"),
        ("a+b", "a+b"),
        ("Fire%26Ice", "Fire&Ice"),
        ("Fire&Ice=1;#", "Fire&Ice=1;"),
        ("100%25", "100%"),
    ] {
        let segment = segment.trim_end_matches('#');
        let encoded = segment.replace('+', "%2B").replace('&', "%26");
        server.put(&format!("/api/movies/{encoded}/2000"), "{}").is(201);
        let hint = server.get(&format!("/api/movies/{segment}")).is_problem(404, "not-found");
        let detail = hint.json()["detail"].as_str().unwrap().to_owned();
        let query = &detail[detail.find("/api/movies/query").expect("a hint")..];
        assert_eq!(server.get(query).is(200).json()[0]["name"], name, "{detail}");
    }
    server.get("/api/movies/%E9").is_problem(404, "not-found");
}

#[test]
fn health_is_on_the_admin_listener_only_where_there_is_one() {
    let mut server = Server::with("--admin-listen 127.0.0.1:0");
    let line = server.next_line();
    let admin = line.split("http://").nth(1).unwrap().parse().unwrap();
    for path in ["/livez", "/readyz"] {
        server.get(path).is_problem(404, "not-found");
        Ask::new(admin, "GET", path).send().is(200);
        // Orchestrators call it by an address.
        let probe =
            format!("GET {path} HTTP/1.1\r\nHost: 10.0.0.1:80\r\nConnection: close\r\n\r\n");
        exchange(admin, probe.as_bytes()).is(200);
    }
    assert_eq!(server.get("/api").json()["links"].get("ready"), None);
    let page = server.ask("GET", "/").header("Accept", "text/html").send().is(200);
    assert!(!page.text().contains("/readyz"), "{}", page.text());
}
