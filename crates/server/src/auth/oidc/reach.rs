//! Which addresses a provider's document may send us to.
//!
//! Owns the guard against request forgery: an issuer is named by the operator and may lie anywhere,
//! but what its document names must not lead deeper into the network than the issuer itself lies.
//! Never makes a request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;
use url::{Host, Url};

/// How deep in the network an address lies. The order is what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Anyone's.
    Public,
    /// The operator's network: RFC 1918, RFC 4193, RFC 6598.
    Private,
    /// This machine.
    Loopback,
    /// Nothing that a document may name: link-local (metadata services live there), multicast,
    /// unspecified, reserved.
    Forbidden,
}

impl Reach {
    /// Where an address lies.
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, c, _] = ip.octets();
        if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_private() || (a == 100 && b & 0xC0 == 64) {
            Self::Private
        } else if a == 0
            || a >= 224
            || ip.is_link_local()
            || ip.is_documentation()
            || (a == 192 && b == 0 && c == 0)
            || (a == 198 && b & 0xFE == 18)
        {
            Self::Forbidden
        } else {
            Self::Public
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        /// AWS's metadata service has an address among the private ones.
        const EC2_METADATA: [u16; 2] = [0xFD00, 0x0EC2];
        /// RFC 4380: an IPv4 address stands in it, disguised.
        const TEREDO: [u16; 2] = [0x2001, 0];
        let [a, b, c, d, e, f, g, h] = ip.segments();
        // Addresses that carry an IPv4 one: mapped (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056).
        let carried = match (a, b) {
            (0, 0) if [c, d, e] == [0; 3] && f == 0xFFFF => Some((g, h)),
            (0x64, 0xFF9B) if [c, d, e, f] == [0; 4] => Some((g, h)),
            (0x2002, _) => Some((b, c)),
            _ => None,
        };
        if let Some((high, low)) = carried {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            return Self::of_v4(Ipv4Addr::new(a, b, c, d));
        }
        if ip.is_loopback() {
            Self::Loopback
        } else if [a, b] == EC2_METADATA || [a, b] == TEREDO {
            Self::Forbidden
        } else if ip.is_unique_local() {
            Self::Private
        } else if a & 0xE000 == 0x2000 {
            Self::Public
        } else {
            Self::Forbidden
        }
    }

    fn from_depth(depth: u8) -> Self {
        [Self::Public, Self::Private, Self::Loopback]
            .into_iter()
            .find(|reach| *reach as u8 == depth)
            .unwrap_or(Self::Public)
    }
}

/// Whether a URL of an issuer, of a document or of AWS may be asked at all: `https`, or `http` to
/// this very machine; no user in it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_url(url: &Url) -> Result<(), String> {
    // First, so that no message shows them.
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!(
            "{} holds a user, a password or a fragment",
            url.origin().ascii_serialization()
        ));
    }
    let Some(host) = url.host() else { return Err(format!("{url} has no host")) };
    let is_loopback = match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback) {
        return Err(format!("{url} is not https, which only loopback may do without"));
    }
    Ok(())
}

/// The names that one issuer's client may resolve, and to what.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// The issuer's host: the operator named it, so it may lie anywhere.
    home: Arc<str>,
    /// The [`Reach`] at which the home was found last, the shallowest of its addresses: an issuer must
    /// not open what lies deeper by one more address of its own.
    depth: Arc<AtomicU8>,
    /// Whether the issuer itself is asked without TLS.
    is_plain: bool,
}

impl Guard {
    /// A guard for the issuer at this address.
    pub(super) fn of(issuer: &Url) -> Self {
        let guard = Self {
            home: issuer.host_str().unwrap_or_default().into(),
            depth: Arc::new(AtomicU8::new(Reach::Public as u8)),
            is_plain: issuer.scheme() == "http",
        };
        if let Some(ip) = literal(issuer) {
            guard.saw_home([ip]);
        }
        guard
    }

    /// Whether a document may send us there, as far as the URL itself tells.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn check(&self, url: &Url) -> Result<(), String> {
        check_url(url)?;
        if url.scheme() == "http" && !self.is_plain {
            return Err(format!("{url} is not https, as the issuer is"));
        }
        match literal(url) {
            Some(ip) if !self.is_home(url.host_str()) && !self.permits(ip) => {
                Err(format!("{url} lies deeper in the network than the issuer does"))
            }
            _ => Ok(()),
        }
    }

    fn is_home(&self, host: Option<&str>) -> bool {
        host == Some(&*self.home)
    }

    pub(super) fn saw_home(&self, found: impl IntoIterator<Item = IpAddr>) {
        let reaches = found.into_iter().map(Reach::of).filter(|reach| *reach != Reach::Forbidden);
        if let Some(shallowest) = reaches.min() {
            self.depth.store(shallowest as u8, Ordering::Relaxed);
        }
    }

    fn permits(&self, ip: IpAddr) -> bool {
        Reach::of(ip) <= Reach::from_depth(self.depth.load(Ordering::Relaxed))
    }

    /// Of what a name resolved to, that which may be connected to.
    fn sift(&self, name: &str, mut found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, String> {
        if self.is_home(Some(name)) {
            self.saw_home(found.iter().map(SocketAddr::ip));
        } else {
            found.retain(|address| self.permits(address.ip()));
        }
        if found.is_empty() {
            return Err(format!("{name} has no address that the issuer may send us to"));
        }
        Ok(found)
    }
}

/// The check stands where names become addresses, so that a name that changes its mind between two
/// look-ups (DNS rebinding) is judged by the address that is connected to.
impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?.collect();
            let addresses: Addrs = Box::new(guard.sift(name.as_str(), found)?.into_iter());
            Ok(addresses)
        })
    }
}

/// The address of a URL whose host is one.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn at(ip: &str) -> Vec<SocketAddr> {
        vec![SocketAddr::new(ip.parse().unwrap(), 0)]
    }

    #[test]
    fn every_address_has_its_depth() {
        for (reach, addresses) in [
            (Reach::Public, "1.1.1.1 172.32.0.1 100.128.0.1 2606:4700::1111 ::ffff:1.1.1.1"),
            (Reach::Private, "10.0.0.1 172.16.0.1 192.168.1.1 100.64.0.1 fd12::1 ::ffff:10.0.0.1"),
            (Reach::Loopback, "127.0.0.1 127.9.9.9 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1"),
            (
                Reach::Forbidden,
                "169.254.169.254 0.0.0.0 224.0.0.1 255.255.255.255 198.18.0.1 192.0.2.1 fe80::1 \
                 fd00:ec2::254 2001::1 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1 :: ff02::1",
            ),
        ] {
            for address in addresses.split_whitespace() {
                assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
            }
        }
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for fine in [
            "https://id.example/realm",
            "http://127.0.0.1:1/",
            "http://[::1]/",
            "http://localhost/",
        ] {
            assert_eq!(check_url(&url(fine)), Ok(()), "{fine}");
        }
        for wrong in [
            "http://id.example/",
            "http://10.0.0.1/",
            "http://127.0.0.1.example/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "https://user@id.example/",
            "https://user:word@id.example/",
            "https://id.example/#part",
        ] {
            assert!(check_url(&url(wrong)).is_err(), "{wrong}");
        }
        for secret in ["https://user:hunter2@id.example/", "http://user:hunter2@id.example/"] {
            let error = check_url(&url(secret)).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_document_may_not_name_an_address_deeper_than_its_issuer() {
        let public = Guard::of(&url("https://9.9.9.9/"));
        let private = Guard::of(&url("https://10.0.0.1/"));
        let local = Guard::of(&url("http://127.0.0.1/"));
        for (keys, of_public, of_private, of_local) in [
            ("https://9.9.9.9:8443/keys", true, true, true),
            ("https://1.1.1.1/keys", true, true, true),
            ("https://10.0.0.1/keys", false, true, true),
            ("https://192.168.0.7/keys", false, true, true),
            ("http://127.0.0.1:8080/keys", false, false, true),
            ("https://169.254.169.254/latest", false, false, false),
            ("https://[fe80::1]/keys", false, false, false),
            ("https://[::ffff:a9fe:a9fe]/keys", false, false, false),
        ] {
            let keys = url(keys);
            assert_eq!(public.check(&keys).is_ok(), of_public, "{keys}");
            assert_eq!(private.check(&keys).is_ok(), of_private, "{keys}");
            assert_eq!(local.check(&keys).is_ok(), of_local, "{keys}");
        }
    }

    #[test]
    fn a_name_is_judged_by_what_it_resolves_to() {
        let guard = Guard::of(&url("https://id.example/"));
        assert!(guard.sift("keys.example", at("169.254.169.254")).is_err());
        assert!(guard.sift("keys.example", at("10.0.0.1")).is_err());
        assert_eq!(guard.sift("keys.example", at("1.1.1.1")), Ok(at("1.1.1.1")));
        // The operator's own issuer may lie in the operator's network, and its keys with it.
        assert_eq!(guard.sift("id.example", at("10.0.0.1")), Ok(at("10.0.0.1")));
        assert_eq!(guard.sift("keys.example", at("10.0.0.2")), Ok(at("10.0.0.2")));
        assert!(guard.sift("keys.example", at("127.0.0.1")).is_err());
        assert!(guard.sift("keys.example", at("169.254.169.254")).is_err());
    }

    #[test]
    fn an_issuer_opens_nothing_deeper_by_one_more_address_of_its_own() {
        let guard = Guard::of(&url("https://id.example/"));
        let both = [at("1.1.1.1"), at("127.0.0.1")].concat();
        assert_eq!(guard.sift("id.example", both.clone()), Ok(both));
        assert!(guard.sift("keys.example", at("127.0.0.1")).is_err());
        // Nor by an address that it had once.
        guard.sift("id.example", at("10.0.0.1")).unwrap();
        guard.sift("id.example", at("1.1.1.1")).unwrap();
        assert!(guard.sift("keys.example", at("10.0.0.2")).is_err());
        // And nothing without TLS, but for an issuer that has none itself.
        assert!(guard.check(&url("http://localhost/keys")).is_err());
        let local = Guard::of(&url("http://localhost:1/"));
        assert_eq!(local.check(&url("http://localhost:2/keys")), Ok(()));
    }
}
