//! What this process takes, as Linux tells it in `/proc`.

use std::fs;

/// Linux gives times in hundredths of a second to every program.
const TICKS_A_SECOND: f64 = 100.0;

/// What this process takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) open_files: usize,
}

/// What this process takes now; none where the system does not tell.
pub(super) fn usage() -> Option<Usage> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold spaces and brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map_while(|field| field.parse::<u64>().ok());
    let ticks = fields.next()? + fields.next()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.split_whitespace().next()?.parse().ok()?;
    Some(Usage {
        cpu_seconds: ticks as f64 / TICKS_A_SECOND,
        resident_bytes: kibibytes * 1024,
        open_files: fs::read_dir("/proc/self/fd").ok()?.count(),
    })
}
