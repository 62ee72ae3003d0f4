//! Clients of `s3://`, `gs://` and `az://`, by the providers' usual variables.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::connector::{self, Connector, ServerClock};

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
            let mut builder = AmazonS3Builder::from_env();
            for key in [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::S3Endpoint] {
                // An empty variable means none, as other AWS tools take it.
                if builder.get_config_value(&key).is_some_and(|value| value.is_empty()) {
                    return Err("AWS_ENDPOINT_URL is empty; unset it or name the endpoint".into());
                }
            }
            builder = builder.with_bucket_name(container).with_allow_http(true);
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

#[cfg(test)]
mod tests {
    use object_store::ClientConfigKey;

    use super::*;

    #[test]
    fn the_client_cuts_no_transfer_by_itself() {
        assert_eq!(options().get_config_value(&ClientConfigKey::Timeout), None);
    }
}
