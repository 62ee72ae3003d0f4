//! Tokens of other issuers, and principals of AWS (api.md, "Who may do what"). What makes a token
//! good or bad is tested one by one beside the code; here it is the whole way.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use movies_sim::identity::{Answer, DISCOVERY, Key, Provider, unsigned};
use serde_json::{Value, json};

use crate::harness::{Ask, Launch, Server, folder, wait_until};

const HEAT: &str = "/api/movies/Heat/1995";

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A file of identity providers.
fn file(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("identity-providers.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn table(issuer: &str, more: &str) -> String {
    format!("[[oidc]]\nissuer = {issuer:?}\naudience = 'movies'\n{more}\n")
}

fn serve(folder: &Path, kinds: &str, providers: &str) -> Launch {
    Launch::serve(folder.join("data"))
        .args(&format!("--auth {kinds} --identity-providers"))
        .arg(file(folder, providers))
}

fn claims(issuer: &str, more: &Value) -> Value {
    let mut claims = json!({"iss": issuer, "sub": "ann", "aud": "movies", "exp": seconds() + 600});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn with(ask: Ask, token: &str) -> Ask {
    ask.header("Authorization", &format!("Bearer {token}"))
}

#[track_caller]
fn put(server: &Server, token: &str, status: u16) {
    with(server.ask("PUT", HEAT).json("{}"), token).send().is(status);
}

#[test]
fn a_token_of_a_provider_writes_and_its_subject_stands_in_the_log() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let issuer = provider.issuer();
    let folder = folder();
    let server = serve(folder.path(), "oidc", &table(&issuer, "")).start();

    let refused = server.put(HEAT, "{}").is(401);
    assert_eq!(refused.text(), "{\"msg\":\"Missing Authorization Header\"}\n");
    let writer = key.sign(&claims(&issuer, &json!({"scope": "movies:write"})));
    put(&server, &writer, 201);
    put(&server, &key.sign(&claims(&issuer, &json!({"scope": "movies:read"}))), 403);
    put(&server, &key.sign(&claims(&issuer, &json!({"scope": "openid"}))), 403);

    let metadata = server.get("/.well-known/oauth-protected-resource").is(200).json();
    assert_eq!(metadata["authorization_servers"], json!([issuer]));

    let log = Launch::command("log").arg("--store").arg(folder.path().join("data")).run();
    assert!(log.stdout.contains(&format!("{issuer}|ann")), "{}", log.stdout);
    assert!(!server.log().contains(&writer), "the log holds a token");
}

#[test]
fn a_bad_token_is_401_and_hears_no_reason() {
    let (key, thief) = (Key::new("a"), Key::new("a"));
    let provider = Provider::start(&[&key]).unwrap();
    let issuer = provider.issuer();
    let folder = folder();
    let server = serve(folder.path(), "oidc", &table(&issuer, "")).start();
    let claims = |more: Value| claims(&issuer, &more);
    let none = json!({"alg": "none", "typ": "at+jwt", "kid": "a"});
    for (bad, reason) in [
        (thief.sign(&claims(json!({}))), "its signature does not fit"),
        (key.confused(&claims(json!({}))), "its algorithm is not its key's"),
        (format!("{}.", unsigned(&none, &claims(json!({})))), "its algorithm is not its key's"),
        (key.sign(&claims(json!({"aud": "else"}))), "it is for another audience"),
        (key.sign(&claims(json!({"iss": "https://else.example"}))), "its issuer is not known"),
        (key.sign(&claims(json!({"nbf": seconds() + 600}))), "its time has not come"),
    ] {
        let answer = with(server.ask("GET", HEAT), &bad).send().is(401);
        assert_eq!(answer.text(), "{\"msg\":\"Invalid token\"}\n");
        assert!(!answer.header("www-authenticate").unwrap().contains(reason));
        server.says(reason);
    }
    let expired = key.sign(&claims(json!({"exp": seconds() - 61})));
    let answer = with(server.ask("GET", HEAT), &expired).send().is(401);
    assert_eq!(answer.text(), "{\"msg\":\"Token has expired\"}\n");
}

#[test]
fn two_providers_give_roles_by_rules_of_their_own() {
    let (key, other_key) = (Key::new("a"), Key::new("b"));
    let (one, other) = (Provider::start(&[&key]).unwrap(), Provider::start(&[&other_key]).unwrap());
    let folder = folder();
    let rules = "roles = [{ claim = '/realm/roles', value = 'press', role = 'writer:other.json' }]";
    let providers = table(&one.issuer(), "") + &table(&other.issuer(), rules);
    let server = serve(folder.path(), "oidc", &providers).start();
    put(&server, &key.sign(&claims(&one.issuer(), &json!({"scope": "movies:write"}))), 201);
    let press = json!({"realm": {"roles": ["x", "press"]}, "scope": "movies:admin"});
    let press = other_key.sign(&claims(&other.issuer(), &press));
    put(&server, &press, 403);
    let elsewhere = format!("{HEAT}?filename=other.json");
    with(server.ask("PUT", &elsewhere).json("{}"), &press).send().is(201);
}

#[test]
fn a_change_of_keys_needs_no_restart_and_a_provider_may_be_away() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let provider = Provider::start(&[&old]).unwrap();
    let (issuer, address) = (provider.issuer(), provider.address());
    let folder = folder();
    let server = serve(folder.path(), "oidc", &table(&issuer, "")).start();
    let writer = |key: &Key, jti: u32| {
        key.sign(&claims(&issuer, &json!({"scope": "movies:write", "jti": jti.to_string()})))
    };
    put(&server, &writer(&old, 1), 201);
    provider.publish(&[&new, &old]);
    put(&server, &writer(&new, 2), 200);
    drop(provider);
    put(&server, &writer(&new, 3), 200);
    put(&server, &writer(&old, 4), 200);

    // Another replica, that has never seen a key, says so until the provider is back.
    let late = serve(folder.path(), "oidc", &table(&issuer, "")).start();
    let answer = with(late.ask("PUT", HEAT).json("{}"), &writer(&new, 5)).send();
    answer.is_problem(503, "issuer-unavailable");
    let _provider = Provider::at(address, &[&new]).unwrap();
    wait_until("the keys are known", || {
        with(late.ask("PUT", HEAT).json("{}"), &writer(&new, 6)).send().status == 200
    });
}

#[test]
fn what_is_wrong_with_a_provider_is_told_to_the_operator_alone() {
    let key = Key::new("a");
    let provider = Provider::start(&[&key]).unwrap();
    let document = json!({"issuer": provider.issuer(), "jwks_uri": "https://169.254.169.254/keys"});
    provider.say(DISCOVERY, Answer::json(&document));
    let folder = folder();
    let server = serve(folder.path(), "oidc", &table(&provider.issuer(), "")).start();
    let token = key.sign(&claims(&provider.issuer(), &json!({"scope": "movies:write"})));
    let answer = with(server.ask("PUT", HEAT).json("{}"), &token).send();
    let answer = answer.is_problem(503, "issuer-unavailable");
    assert!(!answer.text().contains("169.254"));
    server.says("lies deeper in the network than the issuer does");
}

#[test]
fn a_file_of_providers_that_cannot_be_meant_stops_the_start() {
    let folder = folder();
    let refuses = |kinds: &str, providers: &str, words: &[&str]| {
        serve(folder.path(), kinds, providers).refuses(words);
    };
    refuses("oidc", "", &["identity-providers.toml", "no provider"]);
    refuses("oidc", "[[oidc]]\nissuer = 'https://a.example'", &["audience"]);
    refuses("oidc", &table("http://a.example", ""), &["https"]);
    let (issuer, aws) = (table("https://a.example", ""), "[aws]\nserver_id = 'm'\nroles = []");
    refuses("oidc", aws, &["--auth oidc", "needs the table [[oidc]]"]);
    refuses("aws", &issuer, &["has the table [[oidc]]", "add --auth oidc"]);
    refuses("oidc", &(issuer + aws), &["has the table [aws]", "add --auth aws"]);
    Launch::serve(folder.path().join("data"))
        .args("--auth oidc")
        .refuses(&["--identity-providers"]);
    let path = file(folder.path(), &table("https://a.example", ""));
    let unused = Launch::serve(folder.path().join("data")).arg("--identity-providers").arg(path);
    unused.refuses(&["--auth oidc"]);
}

/// What the token service says of the session of a role.
fn identity(arn: &str) -> Answer {
    Answer::of(
        200,
        format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <GetCallerIdentityResult><Arn>{arn}</Arn><UserId>AROA:x</UserId>\
             <Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        ),
    )
}

/// A URL as boto3 presigns it, at this moment.
fn presigned(sts: &Provider) -> String {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    format!(
        "{}/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential=AKIA%2F20261125%2Feu-central-1%2Fsts%2Faws4_request&X-Amz-Date={now}\
         &X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-movies-server-id\
         &X-Amz-Signature=0123456789abcdef",
        sts.issuer()
    )
}

fn aws(sts: &Provider) -> String {
    format!(
        "[aws]\nserver_id = 'movies.example'\nsts_endpoint = {:?}\n\
         roles = [{{ arn = 'arn:aws:iam::123456789012:role/film-*', role = 'writer' }}]\n",
        sts.issuer()
    )
}

fn login(server: &Server, url: &str) -> crate::harness::Answer {
    server.ask("POST", "/login/aws").json(&json!({ "url": url }).to_string()).send()
}

#[test]
fn a_role_of_aws_gets_a_token_that_writes() {
    let sts = Provider::start(&[]).unwrap();
    sts.say("/", identity("arn:aws:sts::123456789012:assumed-role/film-press/ann"));
    let folder = folder();
    let server = serve(folder.path(), "aws", &aws(&sts)).start();
    let url = presigned(&sts);
    let answer = login(&server, &url).is(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1);
    let token = body["access_token"].as_str().unwrap();
    put(&server, token, 201);
    with(server.ask("DELETE", "/api/collections/movies.json"), token).send().is(403);

    let asked = sts.asked("/");
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].to_lowercase().contains("\nx-movies-server-id: movies.example\r\n"),
        "{asked:?}"
    );

    let log = Launch::command("log").arg("--store").arg(folder.path().join("data")).run();
    // Every session has another name; the role is who it was.
    assert!(log.stdout.contains("arn:aws:iam::123456789012:role/film-press"), "{}", log.stdout);
    assert!(!log.stdout.contains("assumed-role"), "{}", log.stdout);
    for secret in [token, "0123456789abcdef"] {
        assert!(!server.log().contains(secret), "the log holds a secret");
    }
}

#[test]
fn a_principal_of_aws_that_is_not_let_in_gets_nothing() {
    let sts = Provider::start(&[]).unwrap();
    let elsewhere = Provider::start(&[]).unwrap();
    let folder = folder();
    let server = serve(folder.path(), "aws", &aws(&sts)).start();
    let url = presigned(&sts);

    sts.say("/", identity("arn:aws:sts::123456789012:assumed-role/cook/ann"));
    login(&server, &url).is_problem(403, "no-role");
    server.says("arn:aws:iam::123456789012:role/cook");
    sts.say("/", identity("arn:aws:iam::123456789012:user/role/film-press"));
    login(&server, &url).is_problem(403, "no-role");
    sts.say("/", Answer::of(403, "SignatureDoesNotMatch"));
    login(&server, &url).is_problem(401, "bad-aws-login");
    for trouble in [
        Answer::of(503, ""),
        Answer::of(200, "x".repeat(17 * 1024)),
        Answer::of(200, "<html/>"),
        Answer::redirect(&format!("{}/", elsewhere.issuer())),
    ] {
        sts.say("/", trouble);
        login(&server, &url).is_problem(503, "sts-unavailable");
    }
    assert!(elsewhere.asked("/").is_empty());

    let asked = sts.asked("/").len();
    let other_host = url.replace(&sts.issuer(), &elsewhere.issuer());
    login(&server, &other_host).is_problem(422, "invalid-presigned-url").says("STS");
    let other_action = url.replace("GetCallerIdentity", "AssumeRole");
    login(&server, &other_action)
        .is_problem(422, "invalid-presigned-url")
        .says("GetCallerIdentity");
    login(&server, &"a".repeat(9_000)).is_problem(422, "invalid-presigned-url");
    let ask = server.ask("POST", "/login/aws");
    for body in ["", "{", "[]", "{}", "{\"url\":7}"] {
        ask.clone().json(body).send().is_problem(400, "invalid-body");
    }
    assert_eq!((sts.asked("/").len(), elsewhere.asked("/").len()), (asked, 0));
    drop(sts);
    login(&server, &url).is_problem(503, "sts-unavailable");
}

#[test]
fn nobody_logs_in_to_aws_where_the_operator_does_not_say_so() {
    let server = Server::new();
    let ask = server.ask("POST", "/login/aws").json("{\"url\":\"x\"}");
    ask.send().is_problem(404, "not-found");
}

#[test]
fn a_changed_file_of_providers_counts_without_a_restart_and_a_bad_one_is_told() {
    let (key, other_key) = (Key::new("a"), Key::new("b"));
    let (one, other) = (Provider::start(&[&key]).unwrap(), Provider::start(&[&other_key]).unwrap());
    let folder = folder();
    let change = |text: &str| {
        let aside = folder.path().join("aside");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, folder.path().join("identity-providers.toml")).unwrap();
    };
    let server = serve(folder.path(), "oidc", &table(&one.issuer(), "")).start();
    let writer = key.sign(&claims(&one.issuer(), &json!({"scope": "movies:write"})));
    let press = other_key.sign(&claims(&other.issuer(), &json!({"groups": ["press"]})));
    put(&server, &writer, 201);
    put(&server, &press, 401);
    let status = |token: &str| with(server.ask("PUT", HEAT).json("{}"), token).send().status;

    let rules = "roles = [{ claim = 'groups', value = 'press', role = 'writer' }]";
    change(&(table(&one.issuer(), "") + &table(&other.issuer(), rules)));
    wait_until("the second one is believed", || status(&press) == 200);
    put(&server, &writer, 200);
    assert_eq!(one.asked(DISCOVERY).len(), 1, "keys that are known go on");

    change("[[oidc]]\nissuer = 'http://films.example'\naudience = 'movies'");
    server.says("the providers that were known go on");
    put(&server, &press, 200);

    change(&table(&other.issuer(), "roles = [{ claim = 'groups', value = 'x', role = 'admin' }]"));
    wait_until("the role is gone", || status(&press) == 403);
    put(&server, &writer, 401);
}

#[test]
fn an_address_that_fails_too_often_at_aws_has_to_wait_and_sts_is_left_alone() {
    let sts = Provider::start(&[]).unwrap();
    sts.say("/", Answer::of(403, "SignatureDoesNotMatch"));
    let folder = folder();
    let server = serve(folder.path(), "aws", &aws(&sts)).start();
    let url = presigned(&sts);
    let statuses: Vec<u16> = (0..40).map(|_| login(&server, &url).status).collect();
    assert!(statuses.iter().take(30).all(|status| *status == 401), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(sts.asked("/").len() < 40);
    server.says("too many failures");
}
