//! Who may do what, and how others are told that they may not.

use serde_json::{Value, json};

use crate::harness::{Answer, Launch, Server, Users, encode, exchange, folder, sign};

const SECRET: &str = "a-secret-of-this-test-that-is-long-enough";
const MOVIE: &str = "/api/movies/Heat/1995";

/// A server whose signing secret the test has.
fn with_secret(users: &Users, options: &str) -> Server {
    users.serve("memory://").args(options).var("MOVIES_TOKEN_KEY", SECRET).start()
}

fn parts(token: &str) -> (Value, Value) {
    use base64::Engine as _;
    let decode = |part: &str| {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let mut parts = token.split('.');
    (decode(parts.next().unwrap()), decode(parts.next().unwrap()))
}

/// Fails unless it is this 401, with its challenge.
#[track_caller]
fn refused(answer: Answer, msg: &str, error: &str) {
    let answer = answer.is(401);
    assert_eq!(answer.text(), format!("{{\"msg\":\"{msg}\"}}\n"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let metadata = "resource_metadata=\"http://localhost/.well-known/oauth-protected-resource\"";
    let challenge = format!("Bearer realm=\"movies\",{error} scope=\"movies:read\", {metadata}");
    assert_eq!(answer.header("www-authenticate"), Some(&*challenge));
}

const INVALID: &str = " error=\"invalid_token\",";

#[test]
fn nothing_of_the_catalogue_is_told_without_a_token() {
    let users = Users::of_the_seed("admin");
    let server = users.serve("memory://").start();
    for (method, path) in [
        ("GET", "/api/movies"),
        ("HEAD", "/api/movies"),
        ("GET", "/api/movies?filename=absent.json"),
        ("GET", "/api/movies/query?year=abc"),
        ("GET", MOVIE),
        ("GET", "/api/movies/%E9/1995"),
        ("PUT", MOVIE),
        ("DELETE", MOVIE),
        ("GET", "/api/collections"),
        ("GET", "/api/collections/movies.json"),
        ("PUT", "/api/collections/other.json"),
        ("DELETE", "/api/collections/other.json"),
    ] {
        let answer = server.ask(method, path).send().is(401);
        assert!(answer.header("www-authenticate").is_some(), "{method} {path}");
        assert!(answer.header("etag").is_none() && answer.header("movies-version").is_none());
    }
    for path in ["/", "/api", "/openapi.json", "/docs", "/problems", "/livez", "/readyz"] {
        server.get(path).is(200);
    }
    server.get("/nothing").is(404);
}

#[test]
fn every_kind_of_bad_token_is_refused_in_the_words_of_the_seed_s_library() {
    let users = Users::of_the_seed("writer");
    let server = with_secret(&users, "");
    let token = server.login("testuser", "testpassword");
    let (header, claims) = parts(&token);
    let ask = |token: &str| server.ask("GET", "/api/movies").bearer(token).send();
    ask(&sign(&header, &claims, SECRET)).is(200);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        sign(&header, &claims, SECRET)
    };
    let header_with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        sign(&header, &claims, SECRET)
    };
    refused(server.get("/api/movies"), "Missing Authorization Header", "");
    refused(ask(&with("exp", json!(1_000_000_000))), "Token has expired", INVALID);
    let unsigned =
        format!("{}.{}.", encode(json!({"alg": "none"}).to_string()), encode(claims.to_string()));
    for bad in [
        "".to_owned(),
        "x".to_owned(),
        "a.b.c".to_owned(),
        token.replace('.', "!"),
        token.clone() + "x",
        unsigned,
        header_with("alg", json!("none")),
        header_with("alg", json!("ES256")),
        header_with("crit", json!(["exp"])),
        header_with("kid", json!("another")),
        header_with("typ", json!("JWT")),
        with("iss", json!("https://elsewhere.example")),
        with("aud", json!("elsewhere")),
        with("nbf", json!(9_000_000_000_u64)),
        with("exp", json!("never")),
        with("sub", json!("nobody")),
        sign(&header, &claims, "another-secret-that-is-also-long-enough"),
        "A".repeat(20_000),
    ] {
        refused(ask(&bad), "Invalid token", INVALID);
    }
    refused(
        server.ask("GET", "/api/movies").header("Authorization", "Basic YTpi").send(),
        "Invalid token",
        INVALID,
    );
}

#[test]
fn a_token_counts_in_the_one_header_and_nowhere_else() {
    let users = Users::of_the_seed("writer");
    let server = users.serve("memory://").start();
    let token = server.login("testuser", "testpassword");
    let twice = server.ask("GET", "/api/movies").bearer(&token).bearer(&token).send();
    let twice = twice.is_problem(400, "invalid-header").says("more than once");
    assert!(twice.header("www-authenticate").unwrap().contains("error=\"invalid_request\""));
    for name in ["access_token", "token", "jwt"] {
        let query = server.get(&format!("/api/movies/query?{name}={token}"));
        refused(query, "Missing Authorization Header", "");
    }
    let cookie = format!("access_token={token}; access_token_cookie={token}");
    let cookie = server.ask("GET", "/api/movies").header("Cookie", &cookie).send();
    refused(cookie, "Missing Authorization Header", "");
}

#[test]
fn a_role_allows_what_it_says_and_no_more() {
    let users = Users::none();
    for role in ["reader", "writer", "admin"] {
        users.add(role, "open-sesame-1", role);
    }
    let server = users.serve("memory://").start();
    let [reader, writer, admin] =
        ["reader", "writer", "admin"].map(|role| server.login(role, "open-sesame-1"));
    let other = "/api/collections/other.json";
    for (token, method, path, status) in [
        (&reader, "PUT", MOVIE, 403),
        (&reader, "DELETE", MOVIE, 403),
        (&reader, "PUT", other, 403),
        (&reader, "GET", "/api/movies", 200),
        (&writer, "PUT", MOVIE, 201),
        (&reader, "GET", MOVIE, 200),
        (&writer, "PUT", other, 201),
        (&writer, "DELETE", other, 403),
        (&writer, "DELETE", MOVIE, 204),
        (&admin, "DELETE", other, 204),
    ] {
        assert_eq!(server.status(token, method, path), status, "{method} {path}");
    }
    let denied = server.ask("DELETE", MOVIE).bearer(&reader).send();
    let denied = denied.is_problem(403, "insufficient-scope").says("movies:write:movies.json");
    assert_eq!(
        denied.header("www-authenticate"),
        Some("Bearer realm=\"movies\", error=\"insufficient_scope\", scope=\"movies:write\"")
    );
}

#[test]
fn a_role_in_one_collection_is_a_role_there_alone() {
    let users = Users::of_the_seed("admin");
    users.add("ann", "open-sesame-1", "writer:ann.json,reader:shared.json");
    let server = users.serve("memory://").start();
    let admin = server.login("testuser", "testpassword");
    for file in ["ann.json", "shared.json", "secret.json"] {
        assert_eq!(server.status(&admin, "PUT", &format!("{MOVIE}?filename={file}")), 201);
    }
    let ann = server.login("ann", "open-sesame-1");
    for (method, file, status) in [
        ("PUT", "ann.json", 200),
        ("GET", "ann.json", 200),
        ("PUT", "shared.json", 403),
        ("GET", "shared.json", 200),
        ("GET", "secret.json", 403),
        ("GET", "absent.json", 403),
        ("GET", "movies.json", 403),
    ] {
        let path = format!("{MOVIE}?filename={file}");
        assert_eq!(server.status(&ann, method, &path), status, "{method} {file}");
    }
    let listed = |token: &str| {
        let list = server.ask("GET", "/api/collections").bearer(token).send().is(200).json();
        let names =
            list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(listed(&ann), ["ann.json", "shared.json"]);
    assert_eq!(listed(&admin), ["ann.json", "movies.json", "secret.json", "shared.json"]);
}

#[test]
fn what_is_public_is_read_without_a_token_and_written_with_one() {
    let users = Users::of_the_seed("writer");
    let server = users.serve("memory://").arg("--public-read").start();
    assert_eq!(server.get("/api/movies").is(200).header("vary"), Some("Accept-Encoding"));
    server.get("/api/collections").is(200);
    server.ask("HEAD", "/api/movies").send().is(200);
    let put = server.put(MOVIE, "{}").is(401);
    assert_eq!(put.text(), "{\"msg\":\"Missing Authorization Header\"}\n");
    assert!(put.header("www-authenticate").unwrap().contains("scope=\"movies:write\""));
    server.ask("GET", "/api/movies").bearer("bad").send().is(401);
    let token = server.login("testuser", "testpassword");
    assert_eq!(server.status(&token, "PUT", MOVIE), 201);
    assert_eq!(server.get("/api").is(200).json()["features"]["public_read"], true);
}

#[test]
fn the_metrics_want_a_token_even_where_reading_is_public() {
    let users = Users::of_the_seed("admin");
    users.add("reader", "readerpassword", "reader");
    let server = users.serve("memory://").arg("--public-read").start();
    let refused = server.get("/metrics").is(401);
    assert_eq!(refused.text(), "{\"msg\":\"Missing Authorization Header\"}\n");
    assert!(refused.header("www-authenticate").unwrap().contains("scope=\"movies:admin\""));
    let reader = server.login("reader", "readerpassword");
    assert_eq!(server.status(&reader, "GET", "/metrics"), 403);
    let admin = server.login("testuser", "testpassword");
    assert_eq!(server.status(&admin, "GET", "/metrics"), 200);
}

/// RFC 9728, section 3.1: the path of the service comes behind the well-known one.
#[test]
fn the_metadata_of_a_service_with_a_path_is_where_clients_look_for_it() {
    let users = Users::of_the_seed("writer");
    let server = users.serve("memory://").args("--public-url https://films.example/eu/v1").start();
    let there = "/.well-known/oauth-protected-resource/eu/v1";
    let challenge = server.get("/api/movies").is(401);
    let url = format!("resource_metadata=\"https://films.example{there}\"");
    assert!(challenge.header("www-authenticate").unwrap().ends_with(&url), "{challenge:?}");
    let metadata = server.get(there).is(200).json();
    assert_eq!(metadata["resource"], "https://films.example/eu/v1");
    // A gateway that takes the path away asks here.
    let bare = server.get("/.well-known/oauth-protected-resource").is(200).json();
    assert_eq!(bare, metadata);
    let other = "/.well-known/oauth-protected-resource/us";
    server.get(other).is_problem(404, "not-found");
    server.ask("POST", there).send().is(405);
}

#[test]
fn a_client_that_does_not_say_whom_it_calls_is_asked_to() {
    let users = Users::of_the_seed("writer");
    let options = "--listen 0.0.0.0:0 --store memory:// --auth users --users";
    let server = Launch::command("serve").args(options).arg(users.path()).start();
    let ask = |path: &str| {
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        exchange(server.address(), request.as_bytes())
    };
    ask("/.well-known/oauth-protected-resource").is_problem(400, "invalid-header").says("Host");
    let challenge = ask("/api/movies").is(401);
    let challenge = challenge.header("www-authenticate").unwrap();
    assert!(!challenge.contains("resource_metadata"), "{challenge}");
}

#[test]
fn metadata_that_says_how_it_was_asked_for_is_kept_by_no_cache() {
    let users = Users::of_the_seed("writer");
    let metadata = "/.well-known/oauth-protected-resource";
    let server = users.serve("memory://").start();
    assert_eq!(server.get(metadata).is(200).header("cache-control"), Some("no-store"));
    let server = users.serve("memory://").args("--public-url https://films.example/").start();
    assert_eq!(server.get(metadata).is(200).header("cache-control"), Some("max-age=300"));
}

#[test]
fn the_metadata_says_who_issues_tokens_and_where() {
    let users = Users::of_the_seed("writer");
    let server = users.serve("memory://").args("--public-url https://films.example/").start();
    let metadata = server.get("/.well-known/oauth-protected-resource").is(200).json();
    assert_eq!(metadata["resource"], "https://films.example");
    assert_eq!(metadata["jwks_uri"], "https://films.example/.well-known/jwks.json");
    assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
    let token = server.login("testuser", "testpassword");
    let (_, claims) = parts(&token);
    assert_eq!((&claims["iss"], &claims["aud"]), (&metadata["resource"], &metadata["resource"]));
    let challenge = server.get("/api/movies").is(401);
    let url = "resource_metadata=\"https://films.example/.well-known/oauth-protected-resource\"";
    assert!(challenge.header("www-authenticate").unwrap().ends_with(url), "{challenge:?}");
    let keys = server.get("/.well-known/jwks.json").is(200).json();
    let key = keys["keys"][0].as_object().unwrap();
    let members: Vec<_> = key.keys().map(String::as_str).collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"], "nothing private");
}

/// Who stands in the commits of a folder, oldest first.
fn authors(home: &std::path::Path) -> Vec<Option<String>> {
    let log = Launch::command("log").arg("--json").arg("--store").arg(home).run();
    let commits = log.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    let commits: Vec<Value> = commits.collect();
    let mut authors = Vec::new();
    for commit in commits.iter().rev() {
        collect_authors(commit, &mut authors);
    }
    authors
}

fn collect_authors(value: &Value, authors: &mut Vec<Option<String>>) {
    match value {
        Value::Object(members) => {
            if let Some(by) = members.get("by") {
                authors.push(by.as_str().map(str::to_owned));
            }
            members.values().for_each(|member| collect_authors(member, authors));
        }
        Value::Array(all) => all.iter().for_each(|one| collect_authors(one, authors)),
        _ => {}
    }
}

#[test]
fn who_wrote_stands_in_the_log() {
    let (users, home) = (Users::of_the_seed("writer"), folder());
    let data = home.path().join("data");
    let server = users.serve(data.to_str().unwrap()).start();
    let token = server.login("testuser", "testpassword");
    assert_eq!(server.status(&token, "PUT", MOVIE), 201);
    drop(server);
    let authors: Option<Vec<_>> = authors(&data).into_iter().collect();
    assert_eq!(authors, Some(vec!["service".to_owned(), "user:testuser".to_owned()]));
}

#[test]
fn a_pseudonym_keeps_the_name_out_of_log_and_lines_and_is_the_same_on_all_replicas() {
    let (users, home) = (Users::of_the_seed("writer"), folder());
    let data = home.path().join("data");
    let serve = || users.serve(data.to_str().unwrap()).args("--actor pseudonym").start();
    let (one, two) = (serve(), serve());
    let token = one.login("testuser", "testpassword");
    assert_eq!(one.status(&token, "PUT", MOVIE), 201);
    assert_eq!(two.status(&token, "DELETE", MOVIE), 204);
    one.says("written");
    two.says("written");
    for server in [one, two] {
        assert!(!server.log().contains("testuser"), "{}", server.log());
    }
    let authors: Vec<_> = authors(&data).into_iter().flatten().collect();
    let [born, put, deleted] = &*authors else { panic!("{authors:?}") };
    assert!(born == "service" && put == deleted && put.starts_with("p:"), "{authors:?}");
}

#[test]
fn an_idempotency_key_belongs_to_whoever_sent_it() {
    let users = Users::of_the_seed("writer");
    users.add("ann", "open-sesame-1", "writer");
    let server = users.serve("memory://").start();
    let put = |token: &str, path: &str| {
        server.ask("PUT", path).bearer(token).header("Idempotency-Key", "k1").json("{}").send()
    };
    let (one, ann) =
        (server.login("testuser", "testpassword"), server.login("ann", "open-sesame-1"));
    put(&one, MOVIE).is(201);
    let again = put(&one, MOVIE).is(201);
    assert_eq!(again.header("movies-replayed"), Some("true"));
    let other = put(&ann, "/api/movies/Ronin/1998").is(201);
    assert_eq!(other.header("movies-replayed"), None);
}

#[test]
fn logins_refusals_and_writes_are_told_and_no_secret_is() {
    let users = Users::of_the_seed("writer");
    let server = with_secret(&users, "--log-format json --log-level trace");
    let token = server.login("testuser", "testpassword");
    server.try_login("testuser", "wrong-password").is(401);
    server.try_login("typed-password-as-name", "x").is(401);
    let id = "b7ad6b71-0000-4000-8000-000000000001";
    let put = server.ask("PUT", MOVIE).bearer(&token).header("X-Request-Id", id).json("{}").send();
    put.is(201);
    assert_eq!(server.status(&token, "DELETE", "/api/collections/movies.json"), 403);
    let bad = token.clone() + "x";
    server.ask("GET", "/api/movies").bearer(&bad).send().is(401);
    server.says("its signature does not fit");
    let log = server.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let audit: Vec<&Value> =
        lines.iter().filter(|line| line["target"] == "movies_api::audit").collect();
    let told = |message: &str, fields: Value| {
        let fits = |line: &&&Value| {
            line["message"] == message
                && fields.as_object().unwrap().iter().all(|(name, value)| line[name] == *value)
        };
        audit.iter().filter(fits).count()
    };
    let me = "user:testuser";
    assert_eq!(told("logged in", json!({"actor": me})), 1, "{log}");
    for (actor, reason) in [(json!(me), "not the password"), (Value::Null, "no such user")] {
        let fields = json!({"action": "login", "actor": actor, "reason": reason});
        assert_eq!(told("refused", fields), 1, "{log}");
    }
    assert_eq!(
        told(
            "written",
            json!({"actor": me, "action": "put movie", "collection": "movies.json", "request_id": id})
        ),
        1
    );
    assert_eq!(
        told(
            "refused",
            json!({"actor": me, "action": "movies:admin", "collection": "movies.json"})
        ),
        1
    );
    assert_eq!(told("refused", json!({"reason": "its signature does not fit"})), 1);
    let hash = std::fs::read_to_string(users.path()).unwrap();
    let hash = hash.split(' ').nth(2).unwrap().trim();
    let signature = token.rsplit('.').next().unwrap();
    for secret in
        ["testpassword", "wrong-password", "typed-password", SECRET, hash, signature, "127.0.0.1:"]
    {
        let from =
            if secret == "127.0.0.1:" { &audit[..] } else { &lines.iter().collect::<Vec<_>>() };
        assert!(from.iter().all(|line| !line.to_string().contains(secret)), "{secret}: {log}");
    }
}

#[test]
fn with_tokens_a_loopback_server_may_be_called_by_any_name() {
    let users = Users::of_the_seed("reader");
    let server = users.serve("memory://").start();
    let token = server.login("testuser", "testpassword");
    let by_name = b"GET /api/movies HTTP/1.1\r\nHost: films.example\r\nConnection: close\r\n";
    let request =
        [&by_name[..], format!("Authorization: Bearer {token}\r\n\r\n").as_bytes()].concat();
    assert_eq!(exchange(server.address(), &request).status, 200);
}

#[test]
fn passwords_over_plain_http_from_elsewhere_are_warned_of() {
    let users = Users::of_the_seed("reader");
    let options = "--listen 0.0.0.0:0 --store memory:// --auth users --users";
    let server = Launch::command("serve").args(options).arg(users.path()).start();
    server.says("without encryption");
    assert!(!server.log().contains("without authentication"), "{}", server.log());
}

#[test]
fn what_is_wrong_with_a_collection_is_told_to_those_who_may_read_it() {
    let users = Users::of_the_seed("reader:movies.json");
    users.add("other", "otherpassword", "admin:other.json");
    let home = folder();
    let data = home.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let file = r#"[{"name":"Heat","year":1995},{"name":"Secret Title"}]"#;
    std::fs::write(data.join("movies.json"), file).unwrap();
    let server = users.serve(data.to_str().unwrap()).start();
    let reader = server.login("testuser", "testpassword");
    let other = server.login("other", "otherpassword");
    let verbose = || server.ask("GET", "/readyz?verbose");
    let notes = |answer: Answer| answer.is(200).json()["notes"].to_string();
    assert!(notes(verbose().bearer(&reader).send()).contains("record 1"));
    for answer in [verbose().send(), verbose().bearer(&other).send(), verbose().bearer("x").send()]
    {
        assert_eq!(notes(answer), "[]");
    }
}
