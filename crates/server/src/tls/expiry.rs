//! When a certificate ends, and that it is told before.
//!
//! Owns the one date that is read of a certificate. What else stands in it is rustls's.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tracing::{error, warn};

/// From then on it is told: those who renew certificates by themselves do so earlier.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// When the certificate in use ends. Cheap to clone; all clones tell the same.
#[derive(Clone, Debug)]
pub struct Expiry(Arc<AtomicI64>);

/// How a certificate stands to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    EndsSoon,
    Ended,
}

impl Expiry {
    pub(super) fn new(ends: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(ends.as_second())))
    }

    pub(super) fn set(&self, ends: Timestamp) {
        self.0.store(ends.as_second(), Ordering::Relaxed);
    }

    /// In seconds since 1970.
    #[must_use]
    pub fn as_second(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Says so where it has ended, or soon will have.
    pub(super) fn tell(&self, cert: impl fmt::Display) {
        let ends = Timestamp::from_second(self.as_second()).unwrap_or_default();
        match Standing::of(ends, Timestamp::now()) {
            Standing::Good => {}
            Standing::EndsSoon => {
                warn!(%cert, %ends, "the certificate ends soon; put a new one in its place");
            }
            Standing::Ended => {
                error!(%cert, %ends, "the certificate has ended, and clients refuse it; put a new one in its place");
            }
        }
    }
}

impl Standing {
    fn of(ends: Timestamp, now: Timestamp) -> Self {
        if ends <= now {
            Self::Ended
        } else if ends.duration_since(now) < SOON {
            Self::EndsSoon
        } else {
            Self::Good
        }
    }
}

/// When a certificate in DER ends: its `notAfter` (RFC 5280, section 4.1). None where it is no
/// certificate.
pub(super) fn not_after(der: &[u8]) -> Option<Timestamp> {
    /// The context-specific tag of a version, which may be left out.
    const VERSION: u8 = 0xA0;
    const UTC_TIME: u8 = 0x17;
    let (_, certificate, _) = element(der)?;
    let (_, mut fields, _) = element(certificate)?;
    if let (VERSION, _, rest) = element(fields)? {
        fields = rest;
    }
    // Serial number, signature, issuer.
    for _ in 0..3 {
        (_, _, fields) = element(fields)?;
    }
    let (_, validity, _) = element(fields)?;
    let (_, _, after_not_before) = element(validity)?;
    let (tag, time, _) = element(after_not_before)?;
    let time = str::from_utf8(time).ok()?;
    // Two digits of a year are one from 1950 to 2049 (section 4.1.2.5.1).
    let century = match tag {
        UTC_TIME if time < "5" => "20",
        UTC_TIME => "19",
        _ => "",
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", format!("{century}{time}")).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// The first element of DER (X.690): its tag, what is in it, and what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = der else { return None };
    let (length, rest) = if *length < 0x80 {
        (usize::from(*length), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(*length & 0x7F))?;
        let length = bytes.iter().try_fold(0_usize, |length, byte| {
            length.checked_mul(256)?.checked_add(usize::from(*byte))
        })?;
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn certificate(year: i32) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 2, 3);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_when_it_ends_in_this_century_and_in_others() {
        for year in [1999, 2026, 2049, 2050, 4096] {
            let ends: Timestamp = format!("{year}-02-03T00:00:00Z").parse().unwrap();
            assert_eq!(not_after(&certificate(year)), Some(ends), "{year}");
        }
    }

    #[test]
    fn it_is_told_two_weeks_before() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        for (ends, standing) in [
            ("2026-12-12T12:00:00Z", Standing::Good),
            ("2026-12-12T11:59:59Z", Standing::EndsSoon),
            ("2026-11-28T12:00:01Z", Standing::EndsSoon),
            ("2026-11-28T12:00:00Z", Standing::Ended),
        ] {
            assert_eq!(Standing::of(ends.parse().unwrap(), now), standing, "{ends}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_no_certificate_panics(at in 0..300_usize, byte: u8, cut in 0..300_usize) {
            static WHOLE: std::sync::LazyLock<Vec<u8>> =
                std::sync::LazyLock::new(|| certificate(2030));
            let mut der = WHOLE.clone();
            der[at] = byte;
            der.truncate(cut);
            let _ = not_after(&der);
        }
    }
}
