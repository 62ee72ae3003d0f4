//! What a body may be, to the byte; held against `serde_json`.

use proptest::prelude::*;

use super::*;

fn parse(body: &str) -> Result<String, MovieError> {
    parse_bytes(body.as_bytes())
}

fn parse_bytes(body: &[u8]) -> Result<String, MovieError> {
    let key = MovieKey::parse("Heat", Year::new(1995).unwrap()).unwrap();
    let movie = Movie::parse(key, body, MovieLimits::default())?;
    assert_eq!(Movie::from_log(movie.json().clone()).unwrap(), movie);
    Ok(String::from_utf8(movie.json().to_vec()).unwrap())
}

fn refused(body: &str) -> (MovieErrorKind, String) {
    let error = parse(body).unwrap_err();
    (error.kind, error.message)
}

#[test]
fn everything_but_white_space_is_kept_verbatim() {
    let kept = |body: &str, rest: &str| {
        assert_eq!(parse(body).unwrap(), format!("{{\"name\":\"Heat\",\"year\":1995{rest}}}"));
    };
    kept("{}", "");
    kept("\u{feff} { } \n", "");
    kept("{ \"z\" : 1.0 , \"a\" : [ 1e400 , -0 ] }", ",\"z\":1.0,\"a\":[1e400,-0]");
    let forty = "1234567890123456789012345678901234567890";
    kept(&format!("{{\"n\":{forty}}}"), &format!(",\"n\":{forty}"));
    kept(r#"{"t":"\u00e9\/ \uD83C\uDFAC  x"}"#, r#","t":"\u00e9\/ \uD83C\uDFAC  x""#);
    kept(r#"{"a":1,"year":"1995","b":2,"name":"Heat"}"#, r#","a":1,"b":2"#);
    kept(r#"{"year":1995.0}"#, "");
    kept(r#"{"year":1.995e3,"na\u006de":"Heat"}"#, "");
}

#[test]
fn name_and_year_must_equal_the_path() {
    let (kind, message) = refused(r#"{"name":"Ran"}"#);
    assert_eq!(kind, MovieErrorKind::Meaning);
    assert!(message.contains("\"Ran\"") && message.contains("\"Heat\""), "{message}");
    for year in ["1996", "\"1996\"", "1995.5", "null", "[1995]", "\"\"", "\"nan\"", "-1995", "true"]
    {
        assert_eq!(refused(&format!("{{\"year\":{year}}}")).0, MovieErrorKind::Meaning, "{year}");
    }
}

#[test]
fn an_error_says_where() {
    let (kind, message) = refused("{\n  \"a\": 1,\n  \"é\": tru\n}");
    assert_eq!(kind, MovieErrorKind::Syntax);
    assert!(message.ends_with("(line 3, column 8)"), "{message}");
    let latin1 = parse_bytes(b"{\"a\":\"Am\xe9lie\"}").unwrap_err();
    assert!(
        latin1.message.contains("column 9") && latin1.message.contains("UTF-8"),
        "{}",
        latin1.message
    );
}

#[test]
fn what_is_no_movie_is_refused_by_kind() {
    for body in [
        "",
        " ",
        "{",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1e}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":nul}",
        "{} {}",
        "{'a':1}",
        "{\"a\":NaN}",
        "[1",
        "{\"a\":\"x",
    ] {
        assert_eq!(refused(body).0, MovieErrorKind::Syntax, "{body:?}");
    }
    for body in [
        "[]",
        "1",
        "null",
        "\"x\"",
        r#"{"a":1,"a":2}"#,
        r#"{"a":{"b":1,"\u0062":2}}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\ud800\u0041"}"#,
    ] {
        assert_eq!(refused(body).0, MovieErrorKind::Meaning, "{body:?}");
    }
}

#[test]
fn limits_are_exact() {
    let nested =
        |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(parse(&nested(DEPTH_MAX)).is_ok());
    assert_eq!(refused(&nested(DEPTH_MAX + 1)).0, MovieErrorKind::Meaning);
    assert!(parse(&"[".repeat(60_000)).is_err());
    let padded = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
    assert!(parse(&padded(MOVIE_BYTES_MAX)).is_ok());
    assert_eq!(refused(&padded(MOVIE_BYTES_MAX + 1)).0, MovieErrorKind::TooLarge);
}

#[test]
fn a_record_needs_its_own_name_and_year() {
    let record = |text: &str| Movie::parse_record(text.as_bytes(), MovieLimits::default());
    assert_eq!(
        record(r#"{"x":1,"year":"0080","name":"A"}"#).unwrap().json(),
        r#"{"name":"A","year":80,"x":1}"#
    );
    for text in [
        r#"{"name":"A"}"#,
        r#"{"year":1}"#,
        r#"{"name":1,"year":1}"#,
        r#"{"name":"","year":1}"#,
        r#"{"name":"A","year":10000}"#,
        r#"{"name":"A","year":null}"#,
    ] {
        assert_eq!(record(text).unwrap_err().kind, MovieErrorKind::Meaning, "{text}");
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn it_agrees_with_serde_json_on_what_is_json(text in "[{}\\[\\]\",:\\\\u0-9eE+.\\- \na-f]{0,24}") {
        let ours = parse(&format!("{{\"x\":{text}}}"));
        let theirs = serde_json::from_str::<serde_json::Value>(&format!("{{\"x\":{text}}}"));
        match ours {
            Ok(_) => {
                // serde_json reads numbers as floats, which 1e400 is not.
                if let Err(error) = theirs {
                    prop_assert!(error.to_string().contains("out of range"), "{error}");
                }
            }
            Err(error) if error.kind == MovieErrorKind::Syntax => prop_assert!(theirs.is_err(), "{error}"),
            Err(_) => {}
        }
    }

    #[test]
    fn a_value_comes_out_as_it_went_in(value in json()) {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "value": value })).unwrap();
        // Read back by the same reader: serde_json rounds the last digit of a float.
        let body: serde_json::Value = serde_json::from_str(&text).unwrap();
        let stored = parse(&text).unwrap();
        let stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(&stored["value"], &body["value"]);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse_bytes(&bytes);
    }
}
