//! What caches are told of writes: each provider in its own form, and nothing of what did not happen.
//! (When and how often is tested beside the code, in virtual time.)

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use movies_sim::s3::{Fault, Operation, Rule, S3Options, S3Server};
use ring::{digest, hmac};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Endpoint, Launch, Question, Reply, Server, Users, folder, keep_secret, wait_until,
};

const HEAT: &str = "/api/movies/Heat/1995";
const RAN: &str = "/api/movies/Ran/1985";
const TOKEN: &str = "a-token-that-only-the-provider-may-see";

/// A provider, and what it was asked.
struct Provider {
    endpoint: Endpoint,
    asked: Arc<Mutex<Vec<Question>>>,
}

impl Provider {
    /// One that answers by the number of the call.
    fn answering(answer: impl Fn(usize) -> Reply + Send + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&asked);
        let endpoint = Endpoint::start(move |question: &Question| {
            let mut told = told.lock().unwrap();
            told.push(question.clone());
            answer(told.len())
        });
        Self { endpoint, asked }
    }

    fn well() -> Self {
        Self::answering(|_| ok())
    }

    fn asked(&self) -> MutexGuard<'_, Vec<Question>> {
        self.asked.lock().unwrap()
    }

    /// Waits until it was asked so often.
    #[track_caller]
    fn was_asked(&self, times: usize) {
        wait_until(&format!("it is asked {times} times"), || self.asked().len() >= times);
    }

    /// Every tag that it was asked to purge by, wherever it stands.
    fn tags(&self) -> BTreeSet<String> {
        self.asked().iter().flat_map(tags_of).collect()
    }

    fn hook(&self) -> Launch {
        let url = format!("hook:{}/purge/{{tag}}", self.endpoint.url());
        Launch::serve("memory://").args("--cdn-ttl 60s --purge").arg(url)
    }
}

fn ok() -> Reply {
    (200, r#"{"success":true,"errors":[]}"#.to_owned()).into()
}

fn answer(status: u16, line: &str) -> Reply {
    Reply::Answer(status, vec![line.to_owned()], String::new())
}

/// `c-` or `m-` and 16 hexadecimal digits.
fn tags_of(question: &Question) -> Vec<String> {
    let header = question.header("surrogate-key").unwrap_or_default();
    let text = format!("{} {header} {}", question.target, question.body);
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).map(str::to_owned);
    let is_tag =
        |word: &String| word.len() == 18 && (word.starts_with("c-") || word.starts_with("m-"));
    words.filter(is_tag).collect()
}

/// What an answer says by which it is purged: its own tag, and that of all such.
#[track_caller]
fn own_and_all(server: &Server, path: &str) -> (String, String) {
    let answer = server.get(path).is(200);
    let tags = answer.header("surrogate-key").unwrap();
    let (own, all) = tags.split_once(' ').unwrap_or((tags, tags));
    (own.to_owned(), all.to_owned())
}

fn set(tags: &[&String]) -> BTreeSet<String> {
    tags.iter().map(|tag| (*tag).clone()).collect()
}

/// Serves before a provider whose API is the endpoint, at the most talkative level.
fn serve(provider: &Provider, place: &str, token: &str) -> Server {
    keep_secret(token);
    let launch = Launch::serve("memory://").args("--log-level trace --cdn-ttl 60s --purge");
    let launch = launch.arg(place).arg("--purge-api").arg(provider.endpoint.url());
    launch.var("MOVIES_PURGE_TOKEN", token).start()
}

/// Writes, waits for both purges, and holds them against the tags that reads carry.
#[track_caller]
fn purges_twice(server: &Server, provider: &Provider) {
    server.put(HEAT, "{}").is(201);
    provider.was_asked(2);
    let expected = set(&[&own_and_all(server, HEAT).0, &own_and_all(server, "/api/movies").0]);
    for question in provider.asked().iter() {
        assert_eq!(tags_of(question).into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

#[test]
fn cloudflare_is_asked_as_it_documents() {
    let provider = Provider::well();
    let server = serve(&provider, "cloudflare:0a1b2c3d", TOKEN);
    purges_twice(&server, &provider);
    let asked = provider.asked();
    let question = asked.first().unwrap();
    assert_eq!(question.method, "POST");
    assert_eq!(question.target, "/client/v4/zones/0a1b2c3d/purge_cache");
    assert_eq!(question.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(question.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_str(&question.body).unwrap();
    assert_eq!(body, json!({ "tags": tags_of(question) }));
    server.says("TRACE");
}

#[test]
fn fastly_is_asked_as_it_documents() {
    let provider = Provider::well();
    let server = serve(&provider, "fastly:SU1Z0isxPaozGVKXdv0eY", TOKEN);
    purges_twice(&server, &provider);
    let asked = provider.asked();
    let question = asked.first().unwrap();
    assert_eq!(question.method, "POST");
    assert_eq!(question.target, "/service/SU1Z0isxPaozGVKXdv0eY/purge");
    assert_eq!(question.header("fastly-key"), Some(TOKEN));
    assert_eq!(question.header("surrogate-key"), Some(tags_of(question).join(" ").as_str()));
    assert_eq!(question.header("fastly-soft-purge"), None);
    assert_eq!(question.body, "");
}

#[test]
fn akamai_is_asked_as_it_documents_and_can_verify_who_asks() {
    let (client, access) = ("akab-client-token-of-a-story", "akab-access-token-of-a-story");
    let secret = "a-client-secret-that-nobody-may-see=";
    for told in [client, access, secret] {
        keep_secret(told);
    }
    let provider = Provider::answering(|_| {
        (201, r#"{"httpStatus":201,"detail":"Request accepted"}"#.to_owned()).into()
    });
    let edgerc = format!(
        "[default]\nclient_secret = {secret}\nhost = akab-0.luna.akamaiapis.net\naccess_token = {access}\nclient_token = {client}\n"
    );
    let server = serve(&provider, "akamai:staging", &edgerc);
    purges_twice(&server, &provider);
    let asked = provider.asked();
    let question = asked.first().unwrap();
    assert_eq!(
        (question.method.as_str(), &*question.target),
        ("POST", "/ccu/v3/delete/tag/staging")
    );
    assert_eq!(question.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_str(&question.body).unwrap();
    assert_eq!(body, json!({ "objects": tags_of(question) }));

    let signed = question.header("authorization").unwrap();
    let (unsigned, signature) = signed.split_once("signature=").unwrap();
    let begin = format!("EG1-HMAC-SHA256 client_token={client};access_token={access};timestamp=");
    let rest = unsigned.strip_prefix(&begin).unwrap();
    let timestamp = rest.split(';').next().unwrap();
    let keyed = |key: &str, text: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        STANDARD.encode(hmac::sign(&key, text.as_bytes()))
    };
    let digest = STANDARD.encode(digest::digest(&digest::SHA256, question.body.as_bytes()));
    let text = format!("POST\thttp\t127.0.0.1\t{}\t\t{digest}\t{unsigned}", question.target);
    assert_eq!(signature, keyed(&keyed(secret, timestamp), &text));
    let nonces: BTreeSet<_> = asked.iter().map(|q| q.header("authorization")).collect();
    assert_eq!(nonces.len(), asked.len(), "each is signed anew");
}

#[test]
fn a_hook_is_called_for_each_tag_or_with_all_of_them_in_a_header() {
    let provider = Provider::well();
    let server = provider.hook().var("MOVIES_PURGE_TOKEN", TOKEN).start();
    server.put(HEAT, "{}").is(201);
    provider.was_asked(4);
    let tags = set(&[&own_and_all(&server, HEAT).0, &own_and_all(&server, "/api/movies").0]);
    assert_eq!(provider.tags(), tags);
    for question in provider.asked().iter() {
        assert_eq!(question.method, "PURGE");
        let tag = question.target.strip_prefix("/purge/").unwrap();
        assert!(tags.contains(tag), "{question:?}");
        assert_eq!(question.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    }

    let provider = Provider::well();
    let server = Launch::serve("memory://")
        .args("--cdn-ttl 60s --purge-method POST --purge-header Surrogate-Key --purge")
        .arg(format!("hook:{}/all?now=1", provider.endpoint.url()))
        .start();
    purges_twice(&server, &provider);
    let asked = provider.asked();
    let question = asked.first().unwrap();
    assert_eq!((question.method.as_str(), &*question.target), ("POST", "/all?now=1"));
    assert_eq!(question.header("authorization"), None);
}

#[test]
fn what_did_not_happen_purges_nothing() {
    let provider = Provider::well();
    let server = provider.hook().start();
    server.put(HEAT, "{}").is(201);
    provider.was_asked(4);
    let heat = own_and_all(&server, HEAT).0;
    provider.asked().clear();
    server.ask("PUT", HEAT).header("If-Match", "\"m-0\"").json("[]").send().is(422);
    server.ask("PUT", HEAT).header("If-Match", "\"m-0\"").json("{\"a\":1}").send().is(409);
    server.ask("PUT", HEAT).header("If-None-Match", "*").json("{\"a\":1}").send().is(412);
    server.ask("DELETE", HEAT).header("If-Match", "\"m-0\"").send().is(409);
    server.delete("/api/movies/None/1995").is(404);
    server.put(HEAT, "{}").is(200);
    server.ask("PUT", "/api/collections/movies.json").send().is(204);
    server.delete("/api/collections/none.json").is(404);
    server.put(RAN, "{}").is(201);
    provider.was_asked(4);
    let expected = set(&[&own_and_all(&server, RAN).0, &own_and_all(&server, "/api/movies").0]);
    assert_eq!(provider.tags(), expected);
    assert!(!expected.contains(&heat));
}

#[test]
fn a_movie_that_goes_and_a_collection_that_goes_purge_what_caches_have_of_them() {
    let provider = Provider::well();
    let server = provider.hook().start();
    let filed = "/api/movies/Heat/1995?filename=other.json";
    server.put(filed, "{}").is(201);
    let (heat, movies) = own_and_all(&server, filed);
    let (lists, _) = own_and_all(&server, "/api/movies?filename=other.json");
    provider.was_asked(4);
    provider.asked().clear();
    server.delete(filed).is(204);
    provider.was_asked(4);
    assert_eq!(provider.tags(), set(&[&heat, &lists]));
    provider.asked().clear();
    server.delete("/api/collections/other.json").is(204);
    provider.was_asked(4);
    assert_eq!(provider.tags(), set(&[&movies, &lists]));
    provider.asked().clear();
    server.ask("PUT", "/api/collections/other.json").send().is(201);
    provider.was_asked(4);
    assert_eq!(provider.tags(), set(&[&movies, &lists]));
}

#[test]
fn a_write_whose_outcome_is_unknown_is_purged() {
    let provider = Provider::well();
    let s3 = S3Server::start(S3Options::default());
    let server = Launch::serve(format!("s3://{}", s3.bucket()))
        .env(s3.env())
        .args("--request-timeout 2s --cdn-ttl 60s --purge")
        .arg(format!("hook:{}/{{tag}}", provider.endpoint.url()))
        .start();
    let stored = Rule::new(Fault::RESET_AFTER_EFFECT);
    s3.faults().add(stored.on(Operation::PutObject).key("/commit/").next(1));
    s3.faults().add(Rule::new(Fault::RESET_BEFORE_EFFECT));
    server.put(HEAT, "{}").is_problem(504, "outcome-unknown");
    s3.faults().clear();
    wait_until("it is there", || server.get(HEAT).status == 200);
    provider.was_asked(6);
    let expected = set(&[&own_and_all(&server, HEAT).0, &own_and_all(&server, "/api/movies").0]);
    assert_eq!(provider.tags(), expected);
}

fn calls(server: &Server, outcome: &str) -> u64 {
    server.metric(&format!("movies_purge_calls_total{{outcome=\"{outcome}\"}}"))
}

#[test]
fn while_nobody_can_be_told_writes_go_on_and_it_says_so_and_then_makes_up_for_it() {
    let provider = Provider::answering(|call| match call {
        1 => Reply::HangUp,
        2 => answer(500, "X-Trouble: yes"),
        3 => answer(302, "Location: /elsewhere"),
        4 => answer(403, "X-Token: wrong"),
        _ => ok(),
    });
    let server = serve(&provider, "cloudflare:0a1b", TOKEN);
    server.put(HEAT, "{}").is(201);
    provider.was_asked(1);
    server.put(RAN, "{}").is(201);
    server.says("a purge failed and is tried again");
    let notes = server.get("/readyz?verbose").is(200).json();
    let told = notes["notes"][0].as_str().unwrap();
    assert!(told.starts_with("caches are not told what has changed"), "{told}");
    assert!(server.metric("movies_purge_tags_waiting") > 0);
    server.says("purges go on");
    provider.was_asked(5);
    let asked = provider.asked();
    assert!(asked.iter().all(|question| question.target.ends_with("/purge_cache")), "{asked:?}");
    let all: BTreeSet<_> = asked.iter().skip(4).flat_map(tags_of).collect();
    drop(asked);
    for path in [HEAT, RAN, "/api/movies"] {
        assert!(all.contains(&own_and_all(&server, path).0), "{path}");
    }
    assert_eq!((calls(&server, "failed"), calls(&server, "refused")), (2, 2));
    assert!(calls(&server, "ok") > 0);
    assert!(server.metric("movies_purge_tags_total") >= 3);
    assert_eq!(server.metric("movies_purge_tags_dropped_total"), 0);
}

#[test]
fn what_is_wrong_with_purges_is_for_operators() {
    let users = Users::of_the_seed("admin");
    users.add("ann", "open-sesame-1", "writer");
    let launch = users.serve("memory://").args("--public-read --cdn-ttl 60s");
    let server = launch.args("--purge hook:http://127.0.0.1:1/{tag}").start();
    let (admin, ann) =
        (server.login("testuser", "testpassword"), server.login("ann", "open-sesame-1"));
    server.ask("PUT", HEAT).bearer(&ann).json("{}").send().is(201);
    let verbose = || server.ask("GET", "/readyz?verbose");
    let told = |answer: Answer| answer.is(200).text().contains("caches are not told");
    wait_until("an admin hears of it", || told(verbose().bearer(&admin).send()));
    assert!(!told(verbose().bearer(&ann).send()));
    assert!(!told(verbose().send()));
}

#[test]
fn a_provider_that_never_answers_holds_nobody_up() {
    let provider = Provider::answering(|call| if call == 1 { Reply::Silence } else { ok() });
    let server = serve(&provider, "fastly:0a1b", TOKEN);
    server.put(HEAT, "{}").is(201);
    provider.was_asked(1);
    for number in 0..20 {
        server.put(&format!("/api/movies/Heat/{}", 1_900 + number), "{}").is(201);
        server.get("/api/movies").is(200);
    }
    assert_eq!(provider.asked().len(), 1, "it was not asked again while it did not answer");
    provider.was_asked(2);
    assert_eq!(calls(&server, "failed"), 1);
}

#[test]
fn over_the_rate_the_collection_s_tag_stands_for_its_movies() {
    let provider = Provider::answering(|call| match call {
        1 => answer(429, "Retry-After: 1"),
        _ => ok(),
    });
    let server = serve(&provider, "cloudflare:0a1b", TOKEN);
    server.put(HEAT, "{}").is(201);
    server.put(RAN, "{}").is(201);
    provider.was_asked(2);
    let (_, movies) = own_and_all(&server, HEAT);
    let (lists, _) = own_and_all(&server, "/api/movies");
    let second: BTreeSet<_> = provider.asked().iter().skip(1).flat_map(tags_of).collect();
    assert_eq!(second, set(&[&movies, &lists]));
    assert_eq!(calls(&server, "limited"), 1);
    assert!(server.metric("movies_purge_widened_total") >= 1);
}

#[test]
fn cloudflare_may_refuse_with_a_200() {
    let refused = r#"{"success":false,"errors":[{"code":1,"message":"no"}]}"#;
    let provider = Provider::answering(move |_| (200, refused.to_owned()).into());
    let server = serve(&provider, "cloudflare:0a1b", TOKEN);
    server.put(HEAT, "{}").is(201);
    server.says("without success");
    assert!(calls(&server, "refused") > 0);
}

#[test]
fn a_server_that_stops_sends_what_still_waits() {
    let provider = Provider::well();
    let mut server = provider.hook().start();
    server.put(HEAT, "{}").is(201);
    provider.was_asked(2);
    let first = provider.tags();
    provider.asked().clear();
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert_eq!(provider.tags(), first, "the second purge did not wait for its time");
}

#[test]
fn a_server_that_stops_does_not_wait_for_a_provider_that_is_silent() {
    let provider = Provider::answering(|_| Reply::Silence);
    let mut server = provider.hook().start();
    server.put(HEAT, "{}").is(201);
    provider.was_asked(2);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    server.says("caches did not hear of all that changed");
}

#[test]
fn a_token_in_a_file_is_read_again_when_it_changes() {
    keep_secret("the-first-token");
    keep_secret("the-second-token");
    let provider = Provider::well();
    let home = folder();
    let file = home.path().join("token");
    std::fs::write(&file, "the-first-token\n").unwrap();
    let server = Launch::serve("memory://")
        .args("--cdn-ttl 60s --purge fastly:0a1b --purge-token-file")
        .arg(&file)
        .arg("--purge-api")
        .arg(provider.endpoint.url())
        .start();
    server.put(HEAT, "{}").is(201);
    provider.was_asked(1);
    std::fs::write(&file, "the-second-token\n").unwrap();
    server.put(RAN, "{}").is(201);
    provider.was_asked(2);
    let keys: Vec<_> =
        provider.asked().iter().map(|q| q.header("fastly-key").unwrap().to_owned()).collect();
    assert_eq!(keys[..2], ["the-first-token", "the-second-token"]);
}

#[test]
fn options_that_contradict_each_other_are_told() {
    keep_secret("of-ours-alone");
    let serve = |options: &str| Launch::serve("memory://").args(options);
    let url = "hook:http://127.0.0.1:9/";
    serve("--purge cloudflare:0a1b").refuses(&["--cdn-ttl"]);
    let serve = |options: &str| serve("--cdn-ttl 60s").args(options);
    serve("--purge moon:0a1b").refuses(&["cloudflare:ZONE", "hook:URL"]);
    serve("--purge hook:http://user:of-ours-alone@127.0.0.1/").refuses(&["MOVIES_PURGE_TOKEN"]);
    for place in ["cloudflare:0a1b", "fastly:0a1b", "akamai:staging"] {
        serve(&format!("--purge {place}")).refuses(&["--purge-token-file", "MOVIES_PURGE_TOKEN"]);
    }
    serve("--purge akamai:staging")
        .var("MOVIES_PURGE_TOKEN", "of-ours-alone")
        .refuses(&[".edgerc"]);
    serve(&format!("--purge {url}")).refuses(&["{tag}", "--purge-header"]);
    serve(&format!("--purge {url}{{tag}} --purge-header X-Tags")).refuses(&["{tag}"]);
    serve("--purge fastly:0a1b --purge-token-file /nowhere/token").refuses(&["/nowhere/token"]);
    for option in ["--purge-header X-Tags", "--purge-token-file x"] {
        let finished = serve(option).run();
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains("--purge <CACHE>"), "{finished:?}");
    }
}
