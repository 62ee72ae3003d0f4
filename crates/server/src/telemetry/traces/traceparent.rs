//! What a caller says of its trace: the header `traceparent` of W3C Trace Context, level 1. One that
//! is not as section 3.2 has it counts for nothing, and is not repeated.

use http::{HeaderMap, HeaderName, HeaderValue};
use movies_store::spans::{SpanContext, SpanId, TraceId};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The bytes of version 00; a later one may go on behind a dash.
const LENGTH: usize = 55;

/// A caller's span, and whether it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traceparent {
    pub(crate) context: SpanContext,
    pub(crate) is_sampled: bool,
}

impl Traceparent {
    /// For a call in a span that is kept.
    pub(crate) fn kept(context: SpanContext) -> Self {
        Self { context, is_sampled: true }
    }

    /// As a header has it.
    pub(crate) fn header(self) -> HeaderValue {
        let (trace, span) = (digits(self.context.trace), u64::from_be_bytes(self.context.span.0));
        let text = format!("00-{trace}-{span:016x}-{:02x}", u8::from(self.is_sampled));
        HeaderValue::try_from(text).expect("digits and dashes")
    }

    /// That of a request; none where there are two, of which nobody knows which counts.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() { None } else { Self::parse(value) }
    }

    /// `00-<32 digits>-<16 digits>-<2 digits>`, hexadecimal and lowercase.
    pub(crate) fn parse(value: &HeaderValue) -> Option<Self> {
        let (known, more) = value.as_bytes().split_at_checked(LENGTH)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let [version] = hexadecimal(parts.next()?)?;
        let context = SpanContext {
            trace: TraceId(hexadecimal(parts.next()?)?),
            span: SpanId(hexadecimal(parts.next()?)?),
        };
        let [flags]: [u8; 1] = hexadecimal(parts.next()?)?;
        let is_as_long = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.first().is_none_or(|byte| *byte == b'-'),
        };
        let is_named = context.trace.0 != [0; 16] && context.span.0 != [0; 8];
        let is_sampled = flags & 1 == 1;
        (is_as_long && is_named).then_some(Self { context, is_sampled })
    }
}

/// Of as many digits as there are places for.
fn hexadecimal<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// As it stands in headers, logs and URLs.
pub(crate) fn digits(trace: TraceId) -> String {
    format!("{:032x}", u128::from_be_bytes(trace.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn parse(text: &str) -> Option<Traceparent> {
        Traceparent::parse(&HeaderValue::try_from(text).ok()?)
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        let read = parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        assert_eq!(digits(read.context.trace), TRACE);
        assert_eq!(read.context.span, SpanId([0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]));
        assert!(read.is_sampled);
        assert!(!parse(&format!("00-{TRACE}-{SPAN}-00")).unwrap().is_sampled);
        assert!(!parse(&format!("00-{TRACE}-{SPAN}-02")).unwrap().is_sampled, "only the last bit");
    }

    #[test]
    fn a_later_version_may_say_more() {
        assert!(parse(&format!("01-{TRACE}-{SPAN}-01")).is_some());
        assert!(parse(&format!("cc-{TRACE}-{SPAN}-01-what-the-future-has")).is_some());
        assert!(parse(&format!("cc-{TRACE}-{SPAN}-01.what-the-future-has")).is_none());
    }

    #[test]
    fn what_is_not_as_the_specification_has_it_counts_for_nothing() {
        for wrong in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-0{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}{SPAN}--01"),
            format!("00_{TRACE}_{SPAN}_01"),
            format!(" 00-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn of_two_neither_counts() {
        let value = |span: &str| HeaderValue::try_from(format!("00-{TRACE}-{span}-01")).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(Traceparent::of(&headers), None);
        headers.append(TRACEPARENT, value(SPAN));
        assert!(Traceparent::of(&headers).is_some());
        headers.append(TRACEPARENT, value("00f067aa0ba902b8"));
        assert_eq!(Traceparent::of(&headers), None);
    }

    proptest! {
        #[test]
        fn whatever_is_well_formed_is_read_and_nothing_else(
            version in 0..=255_u8, trace: u128, span: u64, flags: u8,
        ) {
            let read = parse(&format!("{version:02x}-{trace:032x}-{span:016x}-{flags:02x}"));
            let context =
                SpanContext { trace: TraceId(trace.to_be_bytes()), span: SpanId(span.to_be_bytes()) };
            let is_sound = version != 255 && trace != 0 && span != 0;
            let expected = Traceparent { context, is_sampled: flags % 2 == 1 };
            prop_assert_eq!(read, is_sound.then_some(expected));
            if is_sound {
                prop_assert_eq!(Traceparent::parse(&Traceparent::kept(context).header()), Some(Traceparent { is_sampled: true, ..expected }));
            }
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                Traceparent::parse(&value);
            }
        }

        #[test]
        fn one_byte_that_is_no_digit_spoils_it(place in 0..55_usize, byte in b'g'..=b'z') {
            let mut text = format!("00-{TRACE}-{SPAN}-01").into_bytes();
            text[place] = byte;
            prop_assert_eq!(Traceparent::parse(&HeaderValue::from_bytes(&text).unwrap()), None);
        }
    }
}
