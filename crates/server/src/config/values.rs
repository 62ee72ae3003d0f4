//! Values as a person writes them: times, sizes, names. What is wrong is said with the right form.

use std::time::Duration;

use movies_store::key::{Seq, Timestamp};
use movies_store::prune::Before;

/// How often something is done; none: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Every(pub(super) Option<Duration>);

pub(super) fn is_plain(c: &char) -> bool {
    c.is_ascii_alphanumeric() || "-._".contains(*c)
}

pub(super) fn replica(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 64 || !text.chars().all(|c| is_plain(&c)) {
        return Err("use 1 to 64 letters, digits and -._".to_owned());
    }
    Ok(text.to_owned())
}

/// `4200`, `2026-01-31`, `2026-01-31T12:00:00Z`.
pub(super) fn before(text: &str) -> Result<Before, String> {
    if let Ok(seq) = text.parse() {
        return Ok(Before::Seq(Seq(seq)));
    }
    let at = Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")));
    at.map(Before::Time).ok_or_else(|| {
        "write the number of a commit, 2026-01-31 or 2026-01-31T12:00:00Z".to_owned()
    })
}

/// `500ms`, `10s`, `2m`, `1h`; at most a day, so that sums never overflow.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a whole number and ms, s, m or h, such as 500ms or 10s".to_owned()),
    };
    let ms = number.parse().ok().and_then(|number: u64| number.checked_mul(unit_ms));
    match ms {
        Some(ms) if ms <= 24 * 3_600_000 => Ok(Duration::from_millis(ms)),
        _ => Err("at most 24h".to_owned()),
    }
}

/// As [`duration`], in whole seconds and up to thirty days: what caches count in.
pub(super) fn days(text: &str) -> Result<Duration, String> {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    let time = match text.strip_suffix('d').map(str::parse) {
        Some(Ok(days)) => (1..=30).contains(&days).then(|| DAY * days).ok_or("at most 30d")?,
        Some(Err(_)) => return Err("write a whole number of days, such as 1d".to_owned()),
        None => duration(text)?,
    };
    if time.subsec_nanos() > 0 || time.is_zero() {
        return Err("whole seconds, at least one".to_owned());
    }
    Ok(time)
}

pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("more than 0".to_owned()),
        time => Ok(time),
    }
}

pub(super) fn publish(text: &str) -> Result<Every, String> {
    match text {
        "off" => Ok(Every(None)),
        _ => duration(text).map(|interval| Every(Some(interval))),
    }
}

pub(super) fn adopt(text: &str) -> Result<Every, String> {
    match text {
        "off" => Ok(Every(None)),
        _ => some_time(text).map(|interval| Every(Some(interval))),
    }
}

/// `4096`, `64KiB`, `1MiB`, `4GiB`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(SIZE_FORM.to_owned()),
    };
    number
        .parse()
        .ok()
        .and_then(|number: usize| number.checked_mul(factor))
        .ok_or_else(|| SIZE_FORM.to_owned())
}

const SIZE_FORM: &str = "write a whole number of bytes, KiB, MiB or GiB, such as 64KiB";

/// Any size; none at all is one.
pub(super) fn memory_bytes(text: &str) -> Result<u64, String> {
    bytes(text).map(|bytes| bytes as u64)
}

/// A commit takes 64 MiB; a movie must never fill one alone.
pub(super) fn movie_bytes(text: &str) -> Result<usize, String> {
    within(bytes(text)?, 2, 16 << 20)
}

/// hyper reads a head into one buffer, which starts at 8 KiB; a URI has at most 64 KiB.
pub(super) fn head_bytes(text: &str) -> Result<usize, String> {
    within(bytes(text)?, 1 << 10, 1 << 20)
}

pub(super) fn within(size: usize, min: usize, max: usize) -> Result<usize, String> {
    if (min..=max).contains(&size) {
        return Ok(size);
    }
    Err(format!("between {min} and {max} bytes"))
}

/// A part of all, from none to all.
pub(super) fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("from 0 to 1, such as 0.01".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, ms) in [("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.5s", "1d", "25h", "99999999999999999999h", "1 s", "5é"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(some_time("0s").is_err());
        assert_eq!(publish("off"), Ok(Every(None)));
        assert_eq!(publish("1m"), Ok(Every(Some(Duration::from_secs(60)))));
        assert_eq!(publish("0s"), Ok(Every(Some(Duration::ZERO))));
        assert!(publish("on").is_err());
        assert_eq!(adopt("off"), Ok(Every(None)));
        assert_eq!(adopt("5s"), Ok(Every(Some(Duration::from_secs(5)))));
        assert!(adopt("0s").is_err());
    }

    #[test]
    fn caches_count_in_seconds_up_to_thirty_days() {
        assert_eq!(days("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(days("1d"), Ok(Duration::from_secs(86_400)));
        for text in ["500ms", "0s", "0d", "31d", "d", "1.5d", "99999999999d"] {
            assert!(days(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_commit_or_a_date_says_up_to_where() {
        assert_eq!(before("42"), Ok(Before::Seq(Seq(42))));
        let day = Before::Time(Timestamp(1_769_817_600_000));
        for text in ["2026-01-31", "2026-01-31T00:00:00Z", "2026-01-31T01:00:00+01:00"] {
            assert_eq!(before(text), Ok(day), "{text}");
        }
        for text in ["", "-1", "yesterday", "2026-13-01", "31.1.2026"] {
            assert!(before(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_is_from_none_to_all() {
        for (text, part) in [("0", 0.0), ("0.01", 0.01), ("1", 1.0)] {
            assert_eq!(ratio(text), Ok(part), "{text}");
        }
        for text in ["", "-0.1", "1.1", "NaN", "inf", "1%"] {
            assert!(ratio(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (text, size) in [("4096", 4096), ("64KiB", 65_536), ("1MiB", 1 << 20), ("7B", 7)] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "KiB", "-1", "64kb", "1.5MiB", "99999999999999999999"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(movie_bytes("17MiB").is_err());
        assert!(head_bytes("0").is_err());
    }
}
