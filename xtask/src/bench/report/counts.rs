//! The table of what operations cost the bucket.

use std::fmt::Write as _;

use anyhow::Result;

use crate::bench::counts::{Count, Counts};

pub(super) fn table(page: &mut String, Counts { counts, idle_a_minute }: &Counts) -> Result<()> {
    page.push_str(
        "### What the bucket is asked, on moto, 3,200 movies, checkpoints and publication included\n\n\
         | what | so many | requests that write | that read | operations a request | floor | bytes stored an operation |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
    );
    for Count { what, operations, requests, bytes, floor } in counts {
        let operations_a_request = *operations as f64 / requests.all() as f64;
        writeln!(
            page,
            "| {what} | {operations} | {} | {} | {operations_a_request:.2} | {floor} | {:.0} |",
            requests.writes,
            requests.reads,
            *bytes as f64 / *operations as f64
        )?;
    }
    write!(page, "\nA replica that nobody asks makes {idle_a_minute:.0} requests a minute.\n\n")?;
    Ok(())
}
