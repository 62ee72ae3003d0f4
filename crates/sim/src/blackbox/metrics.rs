//! The few figures that a replica tells of itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::caller::{Ask, Caller, Names};

const PATIENCE: Duration = Duration::from_secs(5);

/// Creates it sent, batches of its own that found their place, races it lost, and batches that others
/// wrote for it.
pub(super) async fn scrape(admin: SocketAddr, names: &Arc<Names>) -> Result<[u64; 4]> {
    let mut caller = Caller::new(admin, names);
    let heard = caller.ask("operator", &Ask::get("/metrics"), PATIENCE).await;
    let heard = heard.map_err(|failed| anyhow!("no metrics: {failed:?}"))?;
    let text = String::from_utf8_lossy(&heard.body);
    let creates = sum(&text, |series| {
        series.starts_with("movies_bucket_requests_total{") && series.contains("\"create\"")
    });
    let commits = sum(&text, |series| series.starts_with("movies_commit_ops_count"));
    let lost = sum(&text, |series| series.starts_with("movies_commit_races_lost_total"));
    let forwarded = sum(&text, |series| series.starts_with("movies_batches_forwarded_total"));
    Ok([creates, commits, lost, forwarded])
}

/// Of all series whose line begins so.
fn sum(text: &str, is_meant: impl Fn(&str) -> bool) -> u64 {
    let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    lines.filter(|(series, _)| is_meant(series)).filter_map(|(_, n)| n.parse::<u64>().ok()).sum()
}
