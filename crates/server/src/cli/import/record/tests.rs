//! Records of every kind as movies.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cli::import::split::Splitter;

fn mapping(map: &str) -> Vec<Mapping> {
    map.split(',').filter(|part| !part.is_empty()).map(|part| part.parse().unwrap()).collect()
}

/// What the records of a file come to: a movie's JSON, or the reason in brackets.
fn read(content: &str, map: &str, types: &[&str]) -> Result<Vec<String>, String> {
    let mut splitter = Splitter::detect(content.as_bytes()).map_err(|broken| broken.to_string())?;
    let types: Vec<String> = types.iter().map(|kind| (*kind).to_owned()).collect();
    let form = Form::new(splitter.header(), &mapping(map), &types)?;
    let mut told = Vec::new();
    while let Some(block) = splitter.next_block().map_err(|broken| broken.to_string())? {
        for record in &block.records {
            told.push(match form.read(&block, *record, &mut Vec::new()) {
                Reading::Movie(movie) => String::from_utf8(movie.json().to_vec()).unwrap(),
                Reading::WithoutYear(movie) => {
                    format!("0: {}", std::str::from_utf8(movie.json()).unwrap())
                }
                Reading::LeftOut => "left out".to_owned(),
                Reading::Rejected(reason) => format!("[{reason}]"),
            });
        }
    }
    Ok(told)
}

#[track_caller]
fn check(content: &str, map: &str, expected: &[&str]) {
    assert_eq!(read(content, map, &[]).unwrap(), expected);
}

#[track_caller]
fn check_rejected(record: &str, map: &str, words: &[&str]) {
    let told = read(record, map, &[]).unwrap().remove(0);
    assert!(told.starts_with('['), "{told}");
    assert!(words.iter().all(|word| told.contains(word)), "{told:?} does not say {words:?}");
}

const VEGA: &str = "name=Title,year=Release Date,director=Director,genre=Major Genre";

#[test]
fn a_movie_as_it_stands_is_stored_as_it_stands() {
    check(
        r#"{ "year":1995, "a":1.0, "name":"Heat" }"#,
        "",
        &[r#"{"name":"Heat","year":1995,"a":1.0}"#],
    );
    check("[{}]", "", &["left out"]);
    check("[ { } ]", "", &["left out"]);
}

#[test]
fn members_are_renamed_and_the_date_stays_beside_its_year() {
    check(
        r#"[{"Title":"The Land Girls","Release Date":"Jun 12 1998","Director":null,"Major Genre":"Drama","US Gross":146083}]"#,
        VEGA,
        &[
            r#"{"name":"The Land Girls","year":1998,"Release Date":"Jun 12 1998","director":null,"genre":"Drama","US Gross":146083}"#,
        ],
    );
    check(
        r#"[{"Title":300,"Release Date":"9-Mar-07"},{"Title":"\"9\"","Release Date":2009.0}]"#,
        VEGA,
        &[
            r#"{"name":"300","year":2007,"Release Date":"9-Mar-07"}"#,
            r#"{"name":"\"9\"","year":2009}"#,
        ],
    );
}

#[test]
fn without_a_map_names_and_years_are_taken_as_kindly() {
    check(r#"{"name":300,"year":"2007"}"#, "", &[r#"{"name":"300","year":2007}"#]);
    check(r#"{"name":"A","year":"2007-03-09"}"#, "", &[r#"{"name":"A","year":2007}"#]);
    check(r#"{"name":"A","year":null,"b":[1]}"#, "", &[r#"0: {"name":"A","year":0,"b":[1]}"#]);
    check(r#"{"name":"A","year":""}"#, "", &[r#"0: {"name":"A","year":0}"#]);
}

#[test]
fn what_is_no_movie_says_why() {
    check_rejected(r#"{"year":1995}"#, "", &["no \"name\"", "--map name="]);
    check_rejected(r#"{"name":"Heat"}"#, "", &["no \"year\"", "--map year="]);
    check_rejected(r#"{"Title":null,"Release Date":"1998"}"#, VEGA, &["\"Title\" is null"]);
    check_rejected(r#"{"Title":"A","Release Date":"soon"}"#, VEGA, &["no year", "soon"]);
    check_rejected(r#"{"Title":"A","Release Date":-1}"#, VEGA, &["no year", "-1"]);
    check_rejected(r#"{"Title":"A","Release Date":[1]}"#, VEGA, &["no year", "[1]"]);
    check_rejected(
        r#"{"Title":"A","name":"B","Release Date":1}"#,
        VEGA,
        &["two members are its name"],
    );
    check_rejected(r#"{"name":"A","year":1,"year":2}"#, "", &["stands twice"]);
    check_rejected(r#"{"name":"A","year":1,"#, "", &["line 1, column"]);
    check_rejected(r#"{"name":"","year":1}"#, "", &["empty"]);
    let deep = format!("{{\"name\":\"A\",\"year\":1,\"a\":{}1{}}}", "[".repeat(90), "]".repeat(90));
    check_rejected(&deep, "", &["nested deeper"]);
    let bottomless = format!("{{\"name\":\"A\",\"year\":1,\"a\":{}", "[".repeat(50_000));
    check_rejected(&bottomless, VEGA, &["64"]);
    check_rejected("[7]", "", &["not a JSON object"]);
    let long = format!("{{\"name\":\"A\",\"year\":1,\"a\":\"{}\"}}", "x".repeat(70_000));
    check_rejected(&long, "", &["65536"]);
}

#[test]
fn rows_have_text_numbers_and_whatever_json_stands_in_them() {
    check(
        "name,year,rating,cast,note\n300,2007,7.60,\"[\"\"A\"\",\"\"B\"\"]\",\n\"A, B\",,007,x,true\nA,2000,1\n",
        "",
        &[
            r#"{"name":"300","year":2007,"rating":7.60,"cast":["A","B"]}"#,
            r#"0: {"name":"A, B","year":0,"rating":"007","cast":"x","note":true}"#,
            "[it has 3 cells, but the header has 5]",
        ],
    );
    check(
        "Title\tRelease Date\nHeat\tDec 15 1995\n",
        "name=Title,year=Release Date",
        &[r#"{"name":"Heat","year":1995,"Release Date":"Dec 15 1995"}"#],
    );
}

#[test]
fn a_header_that_does_not_fit_is_refused_at_once() {
    let refused = |content: &str, map: &str, types: &[&str], word: &str| {
        let said = read(content, map, types).unwrap_err();
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    };
    refused("Title,Year\n", "", &[], "--map name=Title");
    refused("name,Year\n", "", &[], "--map year=");
    refused("Title,Year\n", "name=Titel,year=Year", &[], "the columns are Title, Year");
    refused("name,year,a,a\n", "", &[], "two columns are called \"a\"");
    refused("name,year\n", "", &["movie"], "--types goes with IMDb");
    refused("hello", "", &[], "neither JSON nor a header");
}

const IMDB: &str = "tconst\ttitleType\tprimaryTitle\toriginalTitle\tisAdult\tstartYear\tendYear\truntimeMinutes\tgenres\n";

#[test]
fn titles_of_imdb() {
    let rows = "tt1\tmovie\tHeat\tHeat\t0\t1995\t\\N\t170\tAction,Crime\n\
                tt2\ttvSeries\t\"Quoted\" said\tZitat\t1\t\\N\t2001\t\\N\t\\N\n\
                tt3\tmovie\tX\tX\t0\t19x5\t\\N\t\\N\t\\N\n";
    check(
        &format!("{IMDB}{rows}"),
        "",
        &[
            r#"{"name":"Heat","year":1995,"tconst":"tt1","titleType":"movie","runtimeMinutes":170,"genres":["Action","Crime"]}"#,
            r#"0: {"name":"\"Quoted\" said","year":0,"tconst":"tt2","titleType":"tvSeries","originalTitle":"Zitat","endYear":2001,"isAdult":true}"#,
            "[its startYear is 19x5]",
        ],
    );
    let movies = read(&format!("{IMDB}{rows}"), "", &["movie", "tvMovie"]).unwrap();
    assert_eq!(movies[1], "left out");
    assert!(read(IMDB, "name=primaryTitle", &[]).unwrap_err().contains("--map"));
}

proptest! {
    #[test]
    fn any_record_is_a_movie_or_has_a_reason(
        members in vec(("(name|year|Title|Release Date|[a-b]{1,2})", "\\PC{0,6}|[0-9]{1,6}"), 0..6),
        mapped: bool,
    ) {
        let members = members.iter().map(|(name, value)| format!("{name:?}:{}", serde_json::json!(value)));
        let record = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
        let told = read(&record, if mapped { VEGA } else { "" }, &[]).unwrap().remove(0);
        if !told.starts_with('[') && told != "left out" {
            let movie = told.strip_prefix("0: ").unwrap_or(&told);
            let movie: serde_json::Value = serde_json::from_str(movie).unwrap();
            prop_assert!(movie["name"].is_string() && movie["year"].is_u64(), "{}", told);
        }
    }

    #[test]
    fn a_mapped_member_keeps_its_value(name in "[a-zA-Z ]{1,10}", value in -1_000_000_i64..1_000_000) {
        prop_assume!(!["name", "year", "new"].contains(&name.as_str()));
        let record = serde_json::json!({"name": "A", "year": 1, &name: value}).to_string();
        let told = read(&record, &format!("new={name}"), &[]).unwrap();
        prop_assert_eq!(told, [format!("{{\"name\":\"A\",\"year\":1,\"new\":{value}}}")]);
    }
}
