//! What caches are told: nothing by default, and with `--cdn-ttl` how long and by which tags.

use crate::harness::{Answer, Server, Users};

const MOVIE: &str = "/api/movies/Heat/1995";

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.header(name).unwrap_or_default()
}

#[test]
fn by_default_every_answer_is_revalidated_and_has_no_tags() {
    let server = Server::new();
    server.put(MOVIE, "{}").is(201);
    for path in ["/api/movies", "/api/movies/query?year=1995", MOVIE] {
        let answer = server.get(path).is(200);
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path}");
        for name in ["cdn-cache-control", "surrogate-control", "surrogate-key", "cache-tag"] {
            assert_eq!(answer.header(name), None, "{path}");
        }
    }
}

#[test]
fn with_a_ttl_caches_keep_public_reads_and_browsers_ask() {
    let server = Server::with("--cdn-ttl 60s --cdn-stale-if-error 1d");
    server.put(MOVIE, "{}").is(201);
    for path in ["/api/movies", "/api/movies/query?year=1995", MOVIE] {
        let answer = server.get(path).is(200);
        let told = header(&answer, "cache-control");
        assert_eq!(told, "public, max-age=0, s-maxage=60, stale-if-error=86400", "{path}");
        for name in ["cdn-cache-control", "surrogate-control"] {
            assert_eq!(header(&answer, name), "max-age=60, stale-if-error=86400", "{path}");
        }
        let tag = answer.etag();
        let fresh = server.ask("GET", path).header("If-None-Match", &tag).send().is(304);
        assert_eq!(header(&fresh, "surrogate-key"), header(&answer, "surrogate-key"), "{path}");
    }
}

#[test]
fn a_list_has_one_tag_and_a_movie_its_own_and_they_stay_as_they_are() {
    let server = Server::with("--cdn-ttl 60s");
    server.put(MOVIE, "{}").is(201);
    let keys = |path: &str| header(&server.get(path).is(200), "surrogate-key").to_owned();
    let (list, movie) = (keys("/api/movies"), keys(MOVIE));
    assert!(list.starts_with("c-") && list.len() == 18, "{list}");
    assert_eq!(keys("/api/movies/query?name=Heat"), list);
    let [own, all] = movie.split(' ').collect::<Vec<_>>()[..] else { panic!("{movie}") };
    assert!(own.starts_with("m-") && all.starts_with("m-") && own != all, "{movie}");
    let answer = server.get(MOVIE);
    for name in ["cache-tag", "edge-cache-tag"] {
        assert_eq!(header(&answer, name), format!("{own},{all}"));
    }
    server.put(MOVIE, r#"{"director":"Mann"}"#).is(200);
    assert_eq!((keys("/api/movies"), keys(MOVIE)), (list, movie));
}

#[test]
fn what_a_token_was_shown_for_is_never_shared() {
    let users = Users::of_the_seed("writer");
    let server = users.serve("memory://").args("--public-read --cdn-ttl 60s").start();
    let token = server.login("testuser", "testpassword");
    server.ask("PUT", MOVIE).bearer(&token).json("{}").send().is(201);
    let signed = server.ask("GET", MOVIE).bearer(&token).send().is(200);
    assert_eq!(header(&signed, "cache-control"), "private, no-cache");
    assert_eq!(header(&signed, "vary"), "Authorization");
    assert_eq!(signed.header("surrogate-key"), None);
    let missing = server.ask("GET", "/api/movies/No/1").bearer(&token).send().is(404);
    assert_eq!(header(&missing, "cache-control"), "no-store");
    let open = server.get(MOVIE).is(200);
    assert!(header(&open, "cache-control").starts_with("public"));
    assert_eq!(header(&server.get("/api/movies/No/1").is(404), "cache-control"), "max-age=1");

    let closed = users.serve("memory://").args("--cdn-ttl 60s").start();
    let token = closed.login("testuser", "testpassword");
    let list = closed.ask("GET", "/api/movies").bearer(&token).send().is(200);
    assert_eq!(header(&list, "cache-control"), "private, no-cache");
    assert_eq!(header(&list, "vary"), "Accept-Encoding, Authorization");
    assert_eq!(header(&closed.get("/api/movies").is(401), "cache-control"), "no-store");
}

#[test]
fn a_gateway_s_callers_are_not_shared_where_we_let_everybody_in() {
    let server = Server::with("--cdn-ttl 60s");
    server.put(MOVIE, "{}").is(201);
    let signed = server.ask("GET", MOVIE).bearer("of-the-gateway").send().is(200);
    assert_eq!(header(&signed, "cache-control"), "private, no-cache");
}
