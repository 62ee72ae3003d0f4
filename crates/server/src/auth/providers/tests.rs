//! The file of identity providers: what it gives, and what is wrong in it.

use serde_json::json;

use super::*;

const FULL: &str = r#"
[[oidc]]
issuer = "https://login.example/realms/films"
audience = "movies"
roles = [
  { claim = "/realm_access/roles", value = "film-editor", role = "writer" },
  { claim = "groups", value = "archive-*", role = "reader:archive.json" },
  { claim = "https://example.com/roles", value = "boss", role = "admin" },
  { claim = "/a~1b/c~0d/0", value = "7", role = "admin" },
  { claim = "scp", value = "Movies.Write", role = "writer" },
  { claim = "groups", value = "{a,b}[c]?", role = "admin" },
  { claim = "groups", value = 'FILMS\Editors', role = "writer" },
]

[[oidc]]
issuer = "https://tenant.example/"
audience = ["https://movies.example", "other"]

[aws]
server_id = "movies.example"
roles = [
  { arn = "arn:aws:iam::123456789012:role/film-*", role = "writer" },
  { arn = "arn:aws:iam::*:user/ann", role = "reader:archive.json,admin:own.json" },
]
"#;

fn claims(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(claims) => claims,
        _ => panic!("claims are an object"),
    }
}

fn parse(text: &str) -> Providers {
    Providers::parse(text).unwrap()
}

#[track_caller]
fn refused(text: &str, because: &str) {
    let error = format!("{:#}", Providers::parse(text).unwrap_err());
    assert!(error.contains(because), "{error}");
}

#[test]
fn claims_give_roles_wherever_they_stand() {
    let providers = parse(FULL);
    for (held, gives) in [
        (json!({"realm_access": {"roles": ["other", "film-editor"]}}), "movies:write"),
        (json!({"realm_access": {"roles": "film-editor"}}), "movies:write"),
        (json!({"realm_access": ["film-editor"]}), ""),
        (json!({"groups": ["archive-eu", "archive-us"]}), "movies:read:archive.json"),
        (json!({"groups": ["archive-eu/more"]}), ""),
        (json!({"groups": "ARCHIVE-eu"}), ""),
        (json!({"groups": ["{a,b}[c]?"]}), "movies:admin"),
        (json!({"groups": ["ac1", "a", "bc?"]}), ""),
        (json!({"groups": ["FILMS\\Editors"]}), "movies:write"),
        (json!({"groups": ["FILMSEditors"]}), ""),
        (json!({"groups": "x archive-eu"}), ""),
        (json!({"https://example.com/roles": ["boss"]}), "movies:admin"),
        (json!({"a/b": {"c~d": [7]}}), "movies:admin"),
        (json!({"scp": "User.Read Movies.Write"}), "movies:write"),
        (json!({"scp": ["User.Read", "Movies.Write"]}), "movies:write"),
        // Where rules stand, a scope is a claim like any other.
        (json!({"scope": "movies:admin"}), ""),
        (json!({}), ""),
    ] {
        let given = providers.oidc[0].grants(&claims(held.clone())).to_string();
        assert_eq!(given, gives, "{held}");
    }
}

#[test]
fn without_rules_the_scopes_of_ours_count() {
    let issuer = &parse(FULL).oidc[1];
    let given = |held: Value| issuer.grants(&claims(held)).to_string();
    assert_eq!(given(json!({"scope": "openid movies:write"})), "movies:write");
    assert_eq!(given(json!({"scp": ["movies:read:a.json"]})), "movies:read:a.json");
    assert_eq!(given(json!({"roles": ["movies:write"]})), "");
}

#[test]
fn principals_of_aws_have_roles_by_their_names() {
    let aws = parse(FULL).aws.unwrap();
    let given = |arn: &str| aws.grants(arn).to_string();
    assert_eq!(given("arn:aws:iam::123456789012:role/film-press"), "movies:write");
    assert_eq!(given("arn:aws:iam::999999999999:role/film-press"), "");
    assert_eq!(given("arn:aws:iam::123456789012:role/film-press/x"), "");
    assert_eq!(
        given("arn:aws:iam::999999999999:user/ann"),
        "movies:read:archive.json movies:admin:own.json"
    );
}

#[test]
fn what_is_wrong_in_the_file_is_told() {
    let issuer = |lines: &str| format!("[[oidc]]\nissuer = \"https://a.example\"\n{lines}");
    refused("", "no provider");
    refused("[[oidc]]\nissuer = 'https://a.example'", "audience");
    refused(&issuer("audience = ''"), "name the audience");
    refused(&issuer("audience = []"), "name the audience");
    refused(&issuer("audience = 'a'\nclient_id = 'x'"), "client_id");
    refused(
        &issuer("audience = 'a'\nroles = [{ claim = 'c', value = 'v', role = 'king' }]"),
        "king",
    );
    refused(
        &issuer("audience = 'a'\nroles = [{ claim = 'c', value = '', role = 'reader' }]"),
        "empty",
    );
    refused(
        &issuer("audience = 'a'\nroles = [{ claim = 'c', value = '**', role = 'reader' }]"),
        "one star",
    );
    refused("[[oidc]]\nissuer = 'http://a.example'\naudience = 'a'", "not https");
    refused("[[oidc]]\nissuer = 'https://u:p@a.example'\naudience = 'a'", "user");
    refused("[[oidc]]\nissuer = 'https://a.example?x'\naudience = 'a'", "query");
    refused("[[oidc]]\nissuer = 'https://a.example/x|y'\naudience = 'a'", "|");
    refused("[[oidc]]\nissuer = 'a.example'\naudience = 'a'", "no URL");
    let one = issuer("audience = 'a'\n");
    refused(&format!("{one}{one}"), "twice");
    refused("[aws]\nserver_id = 'a b'\nroles = []", "visible ASCII");
    refused("[aws]\nserver_id = 'a'\nsts_endpoint = 'http://sts.example'\nroles = []", "not https");
    refused("[aws]\nserver_id = 'a'\nsts_endpoint = 'https://sts.example/x'\nroles = []", "host");
}
