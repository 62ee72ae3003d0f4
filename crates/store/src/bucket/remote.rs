//! Clients of `s3://`, `gs://` and `az://`, by the providers' usual variables.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::connector::{self, Connector, ServerClock};
use super::credentials;

const CONNECT_SECONDS_MAX: u64 = 5;
const MIB: u64 = 1024 * 1024;

/// The most bytes that one PUT may carry: 5 GB as S3 counts them (User Guide, "Uploading objects"),
/// 5,000 MiB on Azure ("Put Blob", remarks); GCS takes its largest object, 5 TiB.
pub(super) fn put_bytes_max(scheme: &str) -> u64 {
    match scheme {
        "s3" => 5 * 1024 * MIB,
        "az" => 5_000 * MIB,
        _ => u64::MAX,
    }
}

/// How clients behave. No time-out: it would be the same for every size; ours are in `pace`.
fn options() -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(true)
        .with_timeout_disabled()
        .with_connect_timeout(std::time::Duration::from_secs(CONNECT_SECONDS_MAX))
}

pub(super) fn open(
    scheme: &str,
    container: &str,
    clock: &Arc<ServerClock>,
) -> Result<Arc<dyn ObjectStore>, String> {
    // The client library must not send a create again by itself: only its caller knows what a
    // lost answer means.
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let options = options();
    connector::install_crypto();
    let connector = Connector::new(Arc::clone(clock));
    let opened: object_store::Result<Arc<dyn ObjectStore>> = match scheme {
        "s3" => {
            let variables = std::env::vars_os().filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.into_string().ok()?))
            });
            let builder = from_variables(variables)?.with_bucket_name(container);
            let builder = credentials::install(builder.with_allow_http(true))?;
            builder
                .with_retry(retry)
                .with_client_options(options)
                .with_http_connector(connector)
                .build()
                .map(|store| Arc::new(store) as _)
        }
        "gs" => GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(container)
            .with_retry(retry)
            .with_client_options(options)
            .with_http_connector(connector)
            .build()
            .map(|store| Arc::new(store) as _),
        "az" => MicrosoftAzureBuilder::from_env()
            .with_container_name(container)
            .with_allow_http(true)
            .with_retry(retry)
            .with_client_options(options)
            .with_http_connector(connector)
            .build()
            .map(|store| Arc::new(store) as _),
        other => {
            return Err(format!(
                "{other}:// is unknown; use s3://, gs://, az://, file:///, memory:// or a folder"
            ));
        }
    };
    opened.map_err(|error| error.to_string())
}

/// What AWS's variables say. An empty one says nothing, as other AWS tools take it; but an empty
/// endpoint would mean AWS itself, which somebody who writes one does not want.
fn from_variables(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<AmazonS3Builder, String> {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in variables.filter(|(name, _)| name.starts_with("AWS_")) {
        let Ok(key) = name.to_ascii_lowercase().parse() else { continue };
        if !value.is_empty() {
            builder = builder.with_config(key, value);
        } else if matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint) {
            return Err(format!("{name} is empty; unset it or name the endpoint"));
        }
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use object_store::ClientConfigKey;

    use super::*;

    #[test]
    fn the_client_cuts_no_transfer_by_itself() {
        assert_eq!(options().get_config_value(&ClientConfigKey::Timeout), None);
    }

    #[test]
    fn an_empty_variable_says_nothing_but_an_empty_endpoint_is_a_mistake() {
        let read = |name: &str, value: &str| {
            from_variables([(name.to_owned(), value.to_owned())].into_iter())
        };
        let key = AmazonS3ConfigKey::AccessKeyId;
        let empty = read("AWS_ACCESS_KEY_ID", "").unwrap();
        assert_eq!(empty.get_config_value(&key), None);
        let set = read("AWS_ACCESS_KEY_ID", "AKID").unwrap();
        assert_eq!(set.get_config_value(&key).as_deref(), Some("AKID"));
        let told = read("AWS_ENDPOINT_URL", "").unwrap_err();
        assert!(told.contains("AWS_ENDPOINT_URL is empty"), "{told}");
    }
}
