//! The year of a date as people write it.
//!
//! Strict on purpose: a text whose words are neither months nor days is no date, else the room
//! 1408 would be a year.

use std::borrow::Cow;

use movies_store::key::Year;

/// A year, and whether the text said nothing but it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dated {
    pub(super) year: Year,
    pub(super) is_exact: bool,
}

/// Two digits are of this century up to this one, of the last century after it: as POSIX
/// `strptime` has it.
const PIVOT: u64 = 68;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// What else stands in dates.
const OTHERS: [&str; 9] = ["st", "nd", "rd", "th", "t", "z", "am", "pm", "of"];

/// The year of `1998`, `1998-06-12`, `1998-06-12T20:00:00Z`, `Jun 12 1998`, `12-Jun-98`,
/// `6/12/1998`, `19980612`; `None` where the text is no such date.
pub(super) fn year_of(text: &str) -> Option<Dated> {
    let text = &without_time(text.trim());
    if text.starts_with(['-', '+']) || is_fraction(text) {
        return None;
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return of_digits(text);
    }
    let words = words_of(text)?;
    let numbers: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    let long = |number: &&&str| number.len() == 4;
    let only_numbers = words.len() == numbers.len();
    if numbers.iter().filter(long).count() > 1 || only_numbers && text.contains(',') {
        return None;
    }
    let year = match numbers.iter().find(long) {
        Some(number) => number.parse().ok()?,
        // Day, month and two digits of a year; with a time behind it nobody could tell.
        None => {
            let parts = if only_numbers { 3 } else { 2 };
            let last = numbers.last().filter(|last| numbers.len() == parts && last.len() == 2)?;
            let short: u64 = last.parse().ok()?;
            short + if short > PIVOT { 1_900 } else { 2_000 }
        }
    };
    Some(Dated { year: Year::new(year)?, is_exact: false })
}

/// Whether it is a number that is no year: `1995.5`, `1e3`.
fn is_fraction(text: &str) -> bool {
    text.parse::<f64>().is_ok() && !text.bytes().all(|b| b.is_ascii_digit())
}

/// A date without its time of day, and without the zone behind that: in both stand numbers that
/// could be taken for a year.
fn without_time(text: &str) -> Cow<'_, str> {
    let Some((before, after)) = text.split_once(':') else { return text.into() };
    let date = before.trim_end_matches(|c: char| c.is_ascii_digit());
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || ":.".contains(c)).trim();
    let is_zone = |c: char| c.is_ascii_digit() || c == ':';
    let rest = match rest.strip_prefix(['+', '-']) {
        Some(zone) => zone.trim_start_matches(is_zone),
        None => rest,
    };
    format!("{date} {rest}").trim().to_owned().into()
}

fn of_digits(digits: &str) -> Option<Dated> {
    match digits.len() {
        1..=4 => Some(Dated { year: Year::new(digits.parse().ok()?)?, is_exact: true }),
        // ISO 8601's basic form.
        8 => {
            let date: u64 = digits.parse().ok()?;
            let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
            let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
            is_date.then(|| Some(Dated { year: Year::new(year)?, is_exact: false }))?
        }
        _ => None,
    }
}

/// The words and numbers of a date; `None` where something else stands in it.
fn words_of(text: &str) -> Option<Vec<&str>> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_alike = |c: char| match first {
            '0'..='9' => c.is_ascii_digit(),
            _ if first.is_ascii_alphabetic() => c.is_ascii_alphabetic(),
            _ => " -/.,:+".contains(c),
        };
        let length = rest.find(|c| !is_alike(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        let known = match first {
            '0'..='9' => word.len() <= 4 || text.contains(':') && word.len() <= 9,
            _ if first.is_ascii_alphabetic() => is_known(&word.to_ascii_lowercase()),
            _ => !word.is_empty(),
        };
        if !known {
            return None;
        }
        if first.is_ascii_alphanumeric() {
            words.push(word);
        }
        rest = after;
    }
    Some(words)
}

fn is_known(word: &str) -> bool {
    let short = |long: &&str| word.len() >= 3 && long.starts_with(word);
    MONTHS.iter().chain(&DAYS).any(short) || OTHERS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn year(text: &str) -> Option<u16> {
        year_of(text).map(|dated| dated.year.get())
    }

    #[test]
    fn dates_as_people_write_them() {
        for text in [
            "1998",
            "Jun 12 1998",
            "12-Jun-98",
            "1998-06-12",
            "June 12, 1998",
            "12 June 1998",
            "6/12/1998",
            "06/12/98",
            "12.06.1998",
            "Fri, 12 Jun 1998 00:00:00 +0000",
            "Fri, 12 Jun 98 00:00:00 +0000",
            "19980612",
            "1998-06-12T20:15:00Z",
            "1998-06-12 20:15:00.123456",
            "12th of June 1998",
            "Sept 1998",
            " 1998 ",
            "1998/99",
            "1998-06",
            "12 Jun 98 10:00 +0200",
            "12/06/98 10:15:00.1234",
            "Fri Jun 12 20:15:00 1998",
        ] {
            assert_eq!(year(text), Some(1998), "{text}");
        }
        assert_eq!((year("1-Jan-69"), year("1-Jan-68")), (Some(1969), Some(2068)));
        assert_eq!((year("0080"), year("80"), year("0")), (Some(80), Some(80), Some(0)));
    }

    #[test]
    fn what_is_no_date_has_no_year() {
        for text in [
            "",
            "Room 1408",
            "TBD",
            "soon",
            "10000",
            "1998?",
            "-",
            "12 Jun",
            "June",
            "98-Jun",
            "897609600000",
            "19981345",
            "1998 (re-release)",
            "٢٠١٠",
            "1,998,000",
            "1,2345",
            "-1995",
            "1995.5",
            "1995 1996",
        ] {
            assert_eq!(year(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_bare_year_is_exact() {
        assert!(year_of("1998").unwrap().is_exact);
        assert!(!year_of("1998-01-01").unwrap().is_exact);
    }

    proptest! {
        #[test]
        fn a_date_in_any_form_has_its_year(
            y in 1000_u64..=9999, m in 1_usize..=12, d in 1_usize..=28, form in 0_usize..6,
        ) {
            let name = MONTHS[m - 1];
            let short = name.get(..3).unwrap();
            let text = match form {
                0 => format!("{y}-{m:02}-{d:02}"),
                1 => format!("{short} {d:02} {y}"),
                2 => format!("{d}-{}-{y}", short.to_uppercase()),
                3 => format!("{name} {d}, {y}"),
                4 => format!("{m}/{d}/{y}"),
                _ => format!("{y}{m:02}{d:02}"),
            };
            prop_assert_eq!(year(&text).map(u64::from), Some(y), "{}", text);
        }

        #[test]
        fn any_text_is_a_date_or_is_not(text in "\\PC{0,30}") {
            if let Some(dated) = year_of(&text) {
                prop_assert!(text.chars().any(|c| c.is_ascii_digit()));
                prop_assert!(dated.year.get() <= 9999);
            }
        }
    }
}
