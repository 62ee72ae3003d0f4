//! Whom a request comes from where gateways stand between: `Forwarded` (RFC 7239) and the older
//! `X-Forwarded-For`, `-Proto` and `-Host`.
//!
//! Believes what proxies of the operator's have written, from the nearest outwards, and nothing
//! that stands behind the first hop which is none of them: anybody can send these headers. Never
//! refuses a request for what it finds in them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use http::header::FORWARDED;
use http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::listener::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The most proxies of the operator's that one request comes through.
const HOPS_MAX: usize = 16;

/// The networks whose proxies are believed; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Parses networks such as `10.0.0.0/8` and single addresses.
    ///
    /// # Errors
    /// The first text that is neither.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, NoNetwork> {
        let network = |text: &str| {
            let one = |text: &str| text.parse().map(|address: IpAddr| IpNet::from(address));
            text.parse()
                .or_else(|_no_network| one(text))
                .map_err(|_no_address| NoNetwork(text.to_owned()))
        };
        texts
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(network)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn have(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// What is known of whoever has sent this request; nothing where no proxy is believed.
    pub(crate) fn origin(&self, request: &Request) -> Option<Origin> {
        let Peer(peer) = request.extensions().get::<Peer>().filter(|_| !self.is_empty())?;
        Some(self.origin_behind(peer.to_canonical(), request.headers()))
    }

    fn origin_behind(&self, peer: IpAddr, headers: &HeaderMap) -> Origin {
        let nothing_told = Origin { client: peer, is_https: None, host: None };
        let told = [FORWARDED, X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST];
        let is_text = |name| headers.get_all(name).iter().all(|line| line.to_str().is_ok());
        // Where one line cannot be read, those before it may not be what they seem.
        if !self.have(peer) || !told.iter().all(is_text) {
            return nothing_told;
        }
        let older = headers.contains_key(X_FORWARDED_FOR).then(|| self.by_older(peer, headers));
        let standard = match headers.contains_key(FORWARDED) {
            false => None,
            true => match self.by_standard(peer, headers) {
                None => return nothing_told,
                told => told,
            },
        };
        match (standard, older) {
            // A proxy that writes one kind may let the other through as a client has sent it.
            (Some(standard), Some(older)) if standard.client != older.client => nothing_told,
            (Some(standard), Some(older)) => Origin {
                client: standard.client,
                is_https: standard.is_https.filter(|_| standard.is_https == older.is_https),
                host: standard.host.filter(|host| older.host.as_ref() == Some(host)),
            },
            (Some(origin), None) | (None, Some(origin)) => origin,
            (None, None) => {
                Origin { is_https: proto(last(headers, &X_FORWARDED_PROTO)), ..nothing_told }
            }
        }
    }

    /// None where it is not well-formed: where one entry ends cannot be told then.
    fn by_standard(&self, peer: IpAddr, headers: &HeaderMap) -> Option<Origin> {
        let lines = headers.get_all(FORWARDED).iter().filter_map(|line| line.to_str().ok());
        let hops: Vec<Vec<&str>> = lines.map(|line| unquoted(line, ',')).collect::<Option<_>>()?;
        let mut origin = Origin { client: peer, is_https: None, host: None };
        for hop in hops.concat().into_iter().rev().take(HOPS_MAX) {
            if !self.have(origin.client) {
                break;
            }
            let pairs = unquoted(hop, ';')?;
            let member = |name: &str| {
                let mut pairs = pairs.iter().filter_map(|pair| pair.split_once('='));
                let found = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.trim().trim_matches('"'))
            };
            // `unknown`, or a name that hides it: what lies behind cannot be judged.
            let Some(client) = member("for").and_then(node) else { break };
            origin =
                Origin { client, is_https: proto(member("proto")), host: host(member("host")) };
        }
        Some(origin)
    }

    fn by_older(&self, peer: IpAddr, headers: &HeaderMap) -> Origin {
        let mut client = peer;
        let mut hops = 0;
        for hop in entries(headers, &X_FORWARDED_FOR).into_iter().rev().take(HOPS_MAX) {
            let Some(next) = node(hop).filter(|_| self.have(client)) else { break };
            client = next;
            hops += 1;
        }
        // Most proxies write these anew; where each adds to them, the entries go together.
        let beside = |name: &HeaderName| {
            let entries = entries(headers, name);
            let back = if entries.len() == 1 { 1 } else { hops.max(1) };
            entries.len().checked_sub(back).and_then(|at| entries.get(at)).copied()
        };
        Origin {
            client,
            is_https: proto(beside(&X_FORWARDED_PROTO)),
            host: host(beside(&X_FORWARDED_HOST)),
        }
    }
}

/// Something that is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoNetwork(String);

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        write!(f, "{text:?} is no network; write 10.0.0.0/8, fd00::/8 or one address")
    }
}

impl std::error::Error for NoNetwork {}

/// What is known of whoever has sent a request. Goes with it as an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    client: IpAddr,
    /// Whether it came to the outermost proxy over TLS.
    is_https: Option<bool>,
    /// By which name it came there.
    host: Option<String>,
}

impl Origin {
    pub(crate) fn is_https(&self) -> bool {
        self.is_https == Some(true)
    }

    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }
}

/// The address of whoever has sent a request, where it is known.
pub(crate) fn client(extensions: &Extensions) -> Option<IpAddr> {
    let told = extensions.get::<Origin>().map(|origin| origin.client);
    told.or_else(|| extensions.get::<Peer>().map(|Peer(address)| *address))
}

/// All entries of a list header, over all its lines, empty ones too: somebody wrote them.
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).collect()
}

fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    entries(headers, name).last().copied()
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse().ok().map(|socket: SocketAddr| socket.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = text.parse().ok().or_else(with_port).or_else(in_brackets)?;
    Some(address.to_canonical())
}

fn proto(text: Option<&str>) -> Option<bool> {
    match text?.to_ascii_lowercase().as_str() {
        "https" => Some(true),
        "http" => Some(false),
        _ => None,
    }
}

/// A name, or an address, with or without a port: what may stand in a URL of ours.
pub(crate) fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

fn host(text: Option<&str>) -> Option<String> {
    text.filter(|text| is_host(text)).map(str::to_owned)
}

/// The parts between separators that stand outside of quotes, in which a backslash takes the next
/// character's meaning away (RFC 9110, section 5.6.4); none where a quote is not closed.
fn unquoted(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(|c| {
        let is_plain = !std::mem::replace(&mut is_escaped, false);
        is_escaped = is_plain && is_quoted && c == '\\';
        is_quoted ^= is_plain && c == '"';
        c == separator && !is_quoted
    });
    let parts: Vec<&str> = parts.collect();
    (!is_quoted).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GATEWAY: &str = "10.0.0.1";

    fn origin(peer: &str, headers: &[(&str, &str)]) -> Origin {
        let trusted = TrustedProxies::parse(["10.0.0.0/8", "fd00::/8"]).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        trusted.origin_behind(peer.parse().unwrap(), &map)
    }

    fn check(peer: &str, headers: &[(&str, &str)], client: &str) {
        assert_eq!(origin(peer, headers).client.to_string(), client, "{peer} {headers:?}");
    }

    #[test]
    fn nobody_is_believed_who_is_no_proxy_of_ours() {
        let lies = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https")];
        let told = origin("192.0.2.9", &lies);
        assert_eq!(
            told,
            Origin { client: "192.0.2.9".parse().unwrap(), is_https: None, host: None }
        );
        check("192.0.2.9", &[("Forwarded", "for=192.0.2.1")], "192.0.2.9");
    }

    #[test]
    fn a_client_cannot_put_an_address_before_its_own() {
        check(GATEWAY, &[("X-Forwarded-For", "1.1.1.1, 192.0.2.1")], "192.0.2.1");
        check(GATEWAY, &[("X-Forwarded-For", "10.9.9.9, 192.0.2.1, 10.0.0.2")], "192.0.2.1");
        check(
            GATEWAY,
            &[("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "192.0.2.1")],
            "192.0.2.1",
        );
        check(GATEWAY, &[("Forwarded", "for=1.1.1.1, for=192.0.2.1;proto=https")], "192.0.2.1");
        let escaped = r#"for=1.1.1.1;x="\"", for=192.0.2.1;proto=https"#;
        check(GATEWAY, &[("Forwarded", escaped)], "192.0.2.1");
        let open = r#"for=1.1.1.1;x=", for=192.0.2.1;proto=https"#;
        check(GATEWAY, &[("Forwarded", open)], GATEWAY);
        check(GATEWAY, &[("X-Forwarded-For", "1.1.1.1, ")], GATEWAY);
        let mut map = HeaderMap::new();
        map.append("x-forwarded-for", "1.1.1.1".parse().unwrap());
        let odd = http::HeaderValue::from_bytes(b"\xff, 192.0.2.1").unwrap();
        map.append("x-forwarded-for", odd);
        let trusted = TrustedProxies::parse(["10.0.0.0/8"]).unwrap();
        let told = trusted.origin_behind(GATEWAY.parse().unwrap(), &map);
        assert_eq!(told.client.to_string(), GATEWAY);
    }

    #[test]
    fn the_outermost_proxy_of_ours_says_who_it_is() {
        check(GATEWAY, &[("X-Forwarded-For", "10.0.0.3, 10.0.0.2")], "10.0.0.3");
        check(GATEWAY, &[("X-Forwarded-For", "[2001:db8::1]:4711")], "2001:db8::1");
        check("fd00::1", &[("X-Forwarded-For", "::ffff:192.0.2.1")], "192.0.2.1");
        check(GATEWAY, &[("Forwarded", "For=\"[2001:db8::1]:4711\";by=\"a,b\"")], "2001:db8::1");
        let told = origin(
            GATEWAY,
            &[(
                "Forwarded",
                "for=192.0.2.1;proto=https;host=films.example, for=10.0.0.2;proto=http",
            )],
        );
        assert_eq!((told.is_https(), told.host()), (true, Some("films.example")));
        let told = origin(
            GATEWAY,
            &[
                ("X-Forwarded-For", "192.0.2.1"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "films.example"),
            ],
        );
        assert_eq!((told.is_https(), told.host()), (true, Some("films.example")));
    }

    #[test]
    fn what_cannot_be_read_ends_the_chain_at_whoever_wrote_it() {
        for odd in ["", "unknown", "_hidden", "999.0.0.1", "192.0.2.1.evil", "<script>"] {
            check(GATEWAY, &[("X-Forwarded-For", odd)], GATEWAY);
            check(GATEWAY, &[("Forwarded", &format!("for={odd}"))], GATEWAY);
        }
        check(GATEWAY, &[], GATEWAY);
        let told =
            origin(GATEWAY, &[("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Host", "a b")]);
        assert_eq!(told.host(), None);
    }

    #[test]
    fn two_kinds_that_contradict_each_other_count_for_nothing() {
        let both = [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=1.1.1.1")];
        check(GATEWAY, &both, GATEWAY);
        let both =
            [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1;host=evil.example")];
        assert_eq!(origin(GATEWAY, &both).host(), None);
        for fuller in ["for=192.0.2.1", "for=192.0.2.1;proto=https"] {
            let both = [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", fuller)];
            check(GATEWAY, &both, "192.0.2.1");
            assert!(!origin(GATEWAY, &both).is_https());
        }
    }

    #[test]
    fn a_network_is_a_prefix_or_one_address() {
        for fine in ["10.0.0.0/8", "127.0.0.1", "::1", "fd00::/8", "0.0.0.0/0"] {
            assert!(TrustedProxies::parse([fine]).is_ok(), "{fine}");
        }
        for wrong in ["10.0.0.0/33", "gateway", "10.0.0", "10.0.0.1:80", "*"] {
            assert_eq!(TrustedProxies::parse([wrong]), Err(NoNetwork(wrong.to_owned())), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics_or_names_somebody_whom_no_proxy_told(text in "[ -~]{0,80}") {
            let told = origin(GATEWAY, &[("Forwarded", &text)]);
            prop_assert!(told.client.to_string() == GATEWAY || text.contains('='));
            let told = origin("192.0.2.9", &[("X-Forwarded-For", &text), ("Forwarded", &text)]);
            prop_assert_eq!(told.client.to_string(), "192.0.2.9");
        }
    }
}
