//! Which requests are traced, and where their spans go.
#![expect(clippy::doc_markdown, reason = "these comments are the text of --help, not Markdown")]

use anyhow::{Context as _, bail};
use clap::Args;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use tracing::warn;
use url::Url;

use super::values::ratio;
use crate::calling::hidden;
use crate::telemetry::traces::{Collector, Tracing};

/// OpenTelemetry's own variables, as operators set them for every service.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SERVICE: &str = "OTEL_SERVICE_NAME";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
/// The one protocol that is spoken.
const SPOKEN: &str = "http/protobuf";
/// Where a collector takes traces.
const PATH: &str = "v1/traces";

/// Which requests are traced, and where their spans go.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Traces")]
pub struct TraceArgs {
    /// A collector of OpenTelemetry's, such as http://127.0.0.1:4318, that takes OTLP over HTTP;
    /// spans go to /v1/traces below it. Headers with a token stand in the variable
    /// OTEL_EXPORTER_OTLP_HEADERS; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES hold as well
    /// [default: $OTEL_EXPORTER_OTLP_ENDPOINT where that is set, else nothing is traced]
    #[arg(long, value_name = "URL", env = "MOVIES_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
    /// Which part of the requests is traced that come without a traceparent, from 0 to 1; with one
    /// they are traced where their caller does
    #[arg(long, value_name = "RATIO", env = "MOVIES_TRACE_SAMPLE", value_parser = ratio)]
    #[arg(default_value = "0.01")]
    trace_sample: f64,
}

impl TraceArgs {
    /// The task that sends spans, where it was asked for.
    ///
    /// # Errors
    /// What is wrong with an option or a variable.
    pub(super) fn tracing(&self, replica: &str, is_https: bool) -> anyhow::Result<Option<Tracing>> {
        // A variable without a value says nothing, as OpenTelemetry has it.
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let Some(collector) = self.collector(replica, variable)? else { return Ok(None) };
        Tracing::start(collector, self.trace_sample, is_https).map(Some)
    }

    fn collector(
        &self,
        replica: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Option<Collector>> {
        let named = self.otlp_endpoint.clone().filter(|url| !url.is_empty());
        let is_on = || {
            variable(DISABLED).is_none_or(|text| !text.eq_ignore_ascii_case("true"))
                && variable(EXPORTER).is_none_or(|text| text.trim() != "none")
        };
        let (url, place, path) = match named {
            Some(url) => (url, "--otlp-endpoint", PATH),
            None if !is_on() => return Ok(None),
            None => match (variable(TRACES_ENDPOINT), variable(ENDPOINT)) {
                // That one is used as it is (OTLP exporter, "Endpoint URLs for OTLP/HTTP").
                (Some(url), _) => (url, TRACES_ENDPOINT, ""),
                (None, Some(url)) => (url, ENDPOINT, PATH),
                (None, None) => return Ok(None),
            },
        };
        let named =
            [TRACES_PROTOCOL, PROTOCOL].into_iter().find_map(|it| Some((it, variable(it)?)));
        if let Some((variable, asked)) = named.filter(|(_, asked)| asked != SPOKEN) {
            warn!(
                variable,
                asked,
                spoken = SPOKEN,
                "a protocol is asked for that is not spoken here"
            );
            if place != "--otlp-endpoint" {
                // What listens there would not understand.
                warn!("nothing is traced; --otlp-endpoint names a collector that speaks {SPOKEN}");
                return Ok(None);
            }
        }
        let pairs = |name| pairs(&variable(name).unwrap_or_default()).context(name);
        let mut resource = vec![
            ("service.name".to_owned(), env!("CARGO_PKG_NAME").to_owned()),
            ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id".to_owned(), replica.to_owned()),
        ];
        let name = variable(SERVICE).map(|name| ("service.name".to_owned(), name));
        for (key, value) in pairs(ATTRIBUTES)?.into_iter().chain(name) {
            resource.retain(|(known, _)| *known != key);
            resource.push((key, value));
        }
        let url = endpoint(&url, path).with_context(|| place.to_owned())?;
        let named = if variable(TRACES_HEADERS).is_some() { TRACES_HEADERS } else { HEADERS };
        let headers = headers(pairs(named)?).context(named)?;
        Ok(Some(Collector { url, headers, resource }))
    }
}

/// What is wrong with it is said without it: something secret may stand in it.
fn endpoint(text: &str, path: &str) -> anyhow::Result<Url> {
    let mut url = Url::parse(text).context("no URL")?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        bail!("write http://HOST:4318 or https://HOST:4318");
    }
    let is_plain = url.username().is_empty() && url.password().is_none();
    if !is_plain || url.query().is_some() || url.fragment().is_some() {
        bail!("it holds a user, a password, a query or a fragment; a token comes by {HEADERS}");
    }
    if !path.is_empty() {
        let path = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(url)
}

/// `key1=value1,key2=value2`, percent-encoded, as OpenTelemetry's variables have lists.
fn pairs(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').context("write key1=value1,key2=value2")?;
        let value = percent_decode_str(value.trim()).decode_utf8().context("a value is no text")?;
        Ok((key.trim().to_owned(), value.into_owned()))
    };
    parts.map(pair).collect()
}

fn headers(pairs: Vec<(String, String)>) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::try_from(name).context("a name is none of a header's")?;
        headers.insert(name, hidden(&value)?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector(option: &str, variables: &[(&str, &str)]) -> anyhow::Result<Option<Collector>> {
        let option = Some(option.to_owned());
        let args = TraceArgs { otlp_endpoint: option, trace_sample: 0.01 };
        args.collector("replica-1", |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn url(option: &str, variables: &[(&str, &str)]) -> Option<String> {
        collector(option, variables).unwrap().map(|collector| collector.url.into())
    }

    #[test]
    fn the_option_goes_before_the_variable_and_without_both_nothing_is_traced() {
        let variables = [(ENDPOINT, "https://collector.example/otlp/")];
        assert_eq!(url("", &[]), None);
        assert_eq!(url("", &variables).unwrap(), "https://collector.example/otlp/v1/traces");
        let own = url("http://127.0.0.1:4318", &variables).unwrap();
        assert_eq!(own, "http://127.0.0.1:4318/v1/traces");
    }

    #[test]
    fn what_holds_for_traces_alone_goes_before_what_holds_for_all() {
        let variables = [
            (ENDPOINT, "https://all.example"),
            (HEADERS, "x-tenant=all"),
            (TRACES_ENDPOINT, "https://traces.example/in"),
            (TRACES_HEADERS, "x-tenant=films"),
        ];
        let collector = collector("", &variables).unwrap().unwrap();
        assert_eq!(collector.url.as_str(), "https://traces.example/in");
        assert_eq!(collector.headers["x-tenant"], "films");
    }

    #[test]
    fn a_collector_of_the_environment_is_left_alone_where_it_says_so() {
        let named = (ENDPOINT, "http://collector:4317");
        for off in [(DISABLED, "true"), (EXPORTER, "none"), (PROTOCOL, "grpc")] {
            assert_eq!(url("", &[named, off]), None, "{off:?}");
            assert!(url("http://collector:4318", &[named, off]).is_some(), "{off:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_what_may_be_secret() {
        for (option, headers) in [
            ("http://user:of-ours@collector/", ""),
            ("http://collector/?token=of-ours", ""),
            ("of-ours", ""),
            ("grpc://of-ours", ""),
            ("http://collector", "of-ours"),
            ("http://collector", "a name=of-ours"),
            ("http://collector", "authorization=of-ours%0A"),
        ] {
            let wrong = collector(option, &[(HEADERS, headers)]).unwrap_err();
            assert!(!format!("{wrong:#}").contains("of-ours"), "{wrong:#}");
        }
    }

    #[test]
    fn headers_are_a_list_and_never_printed() {
        let variables = [(HEADERS, "authorization=Bearer%20of-ours, x-tenant = films ,")];
        let collector = collector("http://collector", &variables).unwrap().unwrap();
        assert_eq!(collector.headers["authorization"], "Bearer of-ours");
        assert_eq!(collector.headers["x-tenant"], "films");
        assert!(!format!("{collector:?}").contains("of-ours"));
    }

    #[test]
    fn the_service_is_named_as_the_operator_says() {
        let attributes = (ATTRIBUTES, "deployment.environment.name=test,service.name=other");
        let variables = [attributes, (SERVICE, "films")];
        let resource = collector("http://collector", &variables).unwrap().unwrap().resource;
        let value = |key: &str| {
            let mut found = resource.iter().filter(|(known, _)| known == key);
            (found.next().map(|(_, value)| value.as_str()), found.count())
        };
        assert_eq!(value("service.name"), (Some("films"), 0));
        assert_eq!(value("service.instance.id"), (Some("replica-1"), 0));
        assert_eq!(value("deployment.environment.name"), (Some("test"), 0));
    }
}
