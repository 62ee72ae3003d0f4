//! What browsers are told: no sniffing, no script that is not a file of ours, no frame, no referrer.

use crate::harness::{Answer, Server};

const HEAT: &str = "/api/movies/Heat/1995";
const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

fn page(server: &Server, path: &str) -> Answer {
    server.ask("GET", path).header("Accept", BROWSER).send()
}

#[test]
fn every_answer_forbids_sniffing() {
    let server = Server::with("--movie-bytes-max 100");
    let created = server.put(HEAT, "{}").is(201);
    let tag = created.etag();
    for answer in [
        created,
        server.put(HEAT, r#"{"a":1}"#).is(200),
        server.ask("PUT", HEAT).if_match(&tag).json("{}").send().is(409),
        server.ask("PUT", HEAT).header("If-None-Match", "*").json("{}").send().is(412),
        server.ask("PUT", HEAT).body(b"{}").send().is(415),
        server.put(HEAT, "{").is(400),
        server.put(HEAT, &"x".repeat(200)).is(413),
        server.get("/api/movies"),
        server.ask("HEAD", "/api/movies").send().is(200),
        server.ask("GET", HEAT).header("If-None-Match", "*").send().is(304),
        server.get(&format!("/api/movies?_={}", "x".repeat(16 * 1024))).is(414),
        server.ask("OPTIONS", HEAT).send().is(204),
        server.ask("POST", HEAT).send().is(405),
        server.get("/api/movies/").is(308),
        server.delete(HEAT).is(204),
        server.get(HEAT).is(404),
        server.get("/livez"),
        server.get("/openapi.json"),
        server.get("/docs/index.css"),
        page(&server, "/"),
        page(&server, HEAT).is(404),
    ] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
    }
}

#[test]
fn a_page_runs_no_script_stands_in_no_frame_and_tells_no_referrer() {
    let server = Server::new();
    for path in ["/", "/problems", "/problems/not-found", "/nowhere", "/api/movies/%3Cscript%3E/1"]
    {
        let page = page(&server, path);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert_eq!(
            page.header("content-security-policy"),
            Some(
                "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            )
        );
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert!(!page.text().contains("<script"), "{path}: {}", page.text());
    }
}

#[test]
fn the_documentation_runs_its_own_files_and_no_script_inside_the_page() {
    let server = Server::new();
    let page = page(&server, "/docs").is(200);
    let policy = page.header("content-security-policy").unwrap();
    let rules: Vec<&str> = policy.split("; ").collect();
    for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
        assert!(rules.contains(&rule), "{policy}");
    }
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    for script in page.text().split("<script").skip(1) {
        let (attributes, body) = script.split_once('>').unwrap();
        assert!(attributes.contains("src=\"docs/"), "{script}");
        assert!(body.trim_start().starts_with("</script>"), "{script}");
    }
}
