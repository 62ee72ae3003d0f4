//! What our own calls of others share: the pause after one that failed, headers that no log shows,
//! and what went wrong in words. Never makes a call.

use std::time::Duration;

use anyhow::bail;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

/// The pause after a failure; it doubles up to the other.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The longest pause that somebody may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// The pause after so many failures before this one: longer each time, and never the same on two
/// replicas. One that was asked for is kept to.
pub(crate) fn pause(failures: u32, asked: Option<Duration>) -> Duration {
    jittered(failures, asked, dice())
}

fn jittered(failures: u32, asked: Option<Duration>, dice: u8) -> Duration {
    let whole = PAUSE_MIN.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX);
    let jittered = |whole: Duration| whole / 2 + whole * u32::from(dice) / 2 / u32::from(u8::MAX);
    asked.map_or_else(|| jittered(whole), |asked| asked + jittered(PAUSE_MIN))
}

/// Where there are no random numbers, the longest pause.
fn dice() -> u8 {
    crate::auth::random().map_or(u8::MAX, |[dice]: [u8; 1]| dice)
}

/// The pause that an answer asks for (RFC 9110, section 10.2.3): seconds or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let pause = text.parse().ok().map(Duration::from_secs).or_else(|| {
        let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
    });
    pause.map(|pause| pause.min(RETRY_AFTER_MAX))
}

/// Why there is no answer; without the URL, in which something secret may stand.
pub(crate) fn why(error: reqwest::Error) -> String {
    crate::auth::causes(&error.without_url())
}

/// A header that no log shows.
///
/// # Errors
/// Where no header can be so.
pub(crate) fn hidden(text: &str) -> anyhow::Result<HeaderValue> {
    let Ok(mut value) = HeaderValue::try_from(text) else {
        bail!("the token holds what no header can");
    };
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pause_is_jittered_and_what_was_asked_for_is_its_least() {
        assert_eq!(jittered(0, None, 0), SECOND / 2);
        assert_eq!(jittered(0, None, 255), SECOND);
        assert_eq!(jittered(40, None, 255), 60 * SECOND);
        assert_eq!(jittered(40, Some(7 * SECOND), 0), 7 * SECOND + SECOND / 2);
    }

    #[test]
    fn what_is_asked_for_is_seconds_or_a_date_and_has_an_end() {
        let now = "2015-10-21T07:28:00Z".parse().unwrap();
        let pause = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]), now).map(|p| p.as_secs())
        };
        assert_eq!(pause("7"), Some(7));
        assert_eq!(pause("Wed, 21 Oct 2015 07:28:30 GMT"), Some(30));
        assert_eq!(pause("Wed, 21 Oct 2015 07:00:00 GMT"), Some(0));
        assert_eq!(pause("86400"), Some(300));
        for odd in ["", "soon", "-1"] {
            assert_eq!(pause(odd), None, "{odd}");
        }
    }
}
