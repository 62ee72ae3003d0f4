//! `movies-api health`: whether a replica is ready, for whoever can only start a program: an image
//! without a shell has no `curl`. Knows nothing of the replica but its answer.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::config::HealthArgs;

/// A replica decides within a second; who looks after containers waits three.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// Asks once.
///
/// # Errors
/// That nobody answers, or what was answered instead of 2xx.
pub async fn run(args: &HealthArgs) -> anyhow::Result<ExitCode> {
    let url = args.url();
    // A proxy of the environment is for the bucket, not for this machine.
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_TIME_MAX).build()?;
    let answer = client.get(&url).send().await.with_context(|| format!("cannot ask {url}"))?;
    let status = answer.status();
    let body = answer.text().await.with_context(|| format!("{url} answers {status}, cut off"))?;
    if !status.is_success() {
        bail!("{url} answers {status}: {}", body.trim_end());
    }
    writeln!(io::stdout(), "{}", body.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
