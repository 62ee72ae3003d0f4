//! The options of `health`: whom to ask.

use clap::Args;

/// Where a replica says whether it is ready.
const READY_PATH: &str = "/readyz";

/// Whom to ask.
#[derive(Clone, Debug, Args)]
pub struct HealthArgs {
    /// What is asked: any answer of 200 to 299 is well [default: /readyz of the replica that the
    /// variables MOVIES_ADMIN_LISTEN, MOVIES_LISTEN and MOVIES_TLS_CERT of this process describe]
    #[arg(value_name = "URL", env = "MOVIES_HEALTH_URL")]
    url: Option<String>,
    /// Where that replica has its health listener
    #[arg(long, value_name = "ADDRESS", env = "MOVIES_ADMIN_LISTEN")]
    admin_listen: Option<String>,
    /// Where that replica listens
    #[arg(long, value_name = "ADDRESS", env = "MOVIES_LISTEN", default_value = "127.0.0.1:5000")]
    listen: String,
    /// Its certificate: with it, and without a health listener, it is asked over HTTPS, by the
    /// address, which the certificate must then name: --admin-listen needs none
    #[arg(long, value_name = "FILE", env = "MOVIES_TLS_CERT")]
    tls_cert: Option<String>,
}

impl HealthArgs {
    /// The URL to ask.
    #[must_use]
    pub fn url(&self) -> String {
        // Variables that are set to nothing mean the same as none.
        let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        if let Some(url) = given(&self.url) {
            return url;
        }
        if let Some(address) = given(&self.admin_listen) {
            return format!("http://{}{READY_PATH}", reachable(&address));
        }
        let scheme = if given(&self.tls_cert).is_some() { "https" } else { "http" };
        format!("{scheme}://{}{READY_PATH}", reachable(&self.listen))
    }
}

/// The address to connect to where something listens on `address`: the unspecified one is every
/// address of this machine, so loopback is one of them.
fn reachable(address: &str) -> String {
    match address.rsplit_once(':') {
        Some(("0.0.0.0" | "", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(url: &str, admin_listen: Option<&str>, listen: &str, tls_cert: Option<&str>) {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let args = HealthArgs {
            url: None,
            admin_listen: owned(admin_listen),
            listen: listen.to_owned(),
            tls_cert: owned(tls_cert),
        };
        assert_eq!(args.url(), url);
        let given = HealthArgs { url: Some("http://films/livez".to_owned()), ..args };
        assert_eq!(given.url(), "http://films/livez");
    }

    #[test]
    fn the_health_listener_is_asked_where_there_is_one() {
        asks("http://127.0.0.1:9090/readyz", Some("0.0.0.0:9090"), "0.0.0.0:443", Some("tls.crt"));
        asks("http://[::1]:9090/readyz", Some("[::]:9090"), "0.0.0.0:5000", None);
    }

    #[test]
    fn else_the_listener_of_the_api_is() {
        asks("http://127.0.0.1:5000/readyz", None, "0.0.0.0:5000", None);
        asks("http://10.0.0.7:80/readyz", Some(""), "10.0.0.7:80", Some(""));
        asks("https://127.0.0.1:443/readyz", None, "0.0.0.0:443", Some("tls.crt"));
    }
}
