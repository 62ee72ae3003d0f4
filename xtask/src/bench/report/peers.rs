//! The tables of the slower peers: json-server, the seed's design and `sqlite-utils`.

use std::fmt::Write as _;

use anyhow::Result;

use super::{median, per_second};
use crate::bench::import::Imports;
use crate::bench::peers::Peers;

pub(super) fn table(page: &mut String, peers: &[Peers]) -> Result<()> {
    page.push_str(
        "### Against json-server on a file and the seed's design on moto, 3,200 movies\n\n\
         | what | connections | movies-api on a folder, 1/s | json-server, 1/s | ratio | the seed's design, 1/s | ratio |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
    );
    for Peers { what, connections, ours, json_server, seed } in peers {
        let [ours, json_server, seed] = [ours, json_server, seed].map(|rounds| per_second(rounds));
        writeln!(
            page,
            "| {what} | {connections} | {ours:.0} | {json_server:.1} | {:.0} | {seed:.1} | {:.0} |",
            ours / json_server,
            ours / seed
        )?;
    }
    Ok(())
}

pub(in crate::bench) fn imports(page: &mut String, imports: &Imports) -> Result<()> {
    let [ours, theirs] =
        [&imports.ours, &imports.sqlite_utils].map(|rounds| median(rounds.iter().copied()));
    write!(
        page,
        "\n### Import of {} rows of NDJSON, on a folder, against `sqlite-utils insert`\n\n\
         | movies-api, s | sqlite-utils, s | times faster | floor |\n|--:|--:|--:|--:|\n\
         | {ours:.2} | {theirs:.2} | {:.1} | ≥ 10 |\n\n",
        imports.rows,
        theirs / ours,
    )?;
    Ok(())
}
