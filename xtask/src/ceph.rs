//! A Ceph cluster of one on loopback, with its S3 gateway: a real, replicated object store that is
//! not ours.
//!
//! One monitor, one OSD that keeps its objects in memory, one gateway; all that it writes is in a
//! scratch folder and gone with the next start. Debian's packages.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::background::{Server, free_address};
use crate::{shell, tools};

/// The user's keys; the gateway checks signatures.
const KEY: &str = "test";
/// The SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const PROGRAMS: &[(&str, &str)] = &[
    ("ceph-mon", "ceph-mon"),
    ("ceph-osd", "ceph-osd"),
    ("radosgw", "radosgw"),
    ("ceph", "ceph-common"),
    ("curl", "curl"),
];
/// Ports of an OSD, which takes several.
const OSD_PORTS: (u16, u16) = (16_800, 16_900);

/// A running cluster; dropped from the gateway down.
pub(crate) struct Ceph {
    gateway: Server,
    osd: Server,
    monitor: Server,
    /// Where the gateway listens.
    pub(crate) address: SocketAddr,
}

impl Ceph {
    /// Installs what is missing, starts all of it and waits until it serves.
    pub(crate) fn start() -> Result<Self> {
        tools::debian(PROGRAMS)?;
        let folder = shell::empty_scratch("ceph")?;
        for name in ["mon", "osd", "run", "rgw"] {
            fs::create_dir(folder.join(name))?;
        }
        let (monitor_at, address) = (free_address()?, free_address()?);
        let cluster = id()?;
        fs::write(folder.join("ceph.conf"), conf(&folder, &cluster, monitor_at, address))?;
        let at = |program: &str| {
            let mut command = Command::new(program);
            command.arg("-c").arg(folder.join("ceph.conf")).current_dir(&folder);
            command
        };
        let as_root = ["--setuser", "root", "--setgroup", "root"];
        let map = format!(
            "monmaptool --create --addv a '[v1:{monitor_at}]' --fsid {cluster} monmap
             ceph-mon -c ceph.conf --mkfs -i a --monmap monmap {root}",
            root = as_root.join(" ")
        );
        shell::script(&map, &folder)?;
        let log = |name: &str| folder.join(format!("{name}.out"));
        let mut command = at("ceph-mon");
        command.args(["-f", "-i", "a"]).args(as_root);
        let mut monitor = Server::start("ceph-mon", &command, log("mon"))?;
        monitor.accepting(monitor_at)?;
        let osd_id = id()?;
        let make = format!(
            "ceph -c ceph.conf osd new {osd_id}
             ceph-osd -c ceph.conf -i 0 --mkfs --osd-uuid {osd_id} {root}",
            root = as_root.join(" ")
        );
        shell::script(&make, &folder)?;
        let mut command = at("ceph-osd");
        command.args(["-f", "-i", "0"]).args(as_root);
        let osd = Server::start("ceph-osd", &command, log("osd"))?;
        shell::script(
            &format!(
                "radosgw-admin -c ceph.conf -n client.rgw user create --uid movies \
                 --display-name movies --access-key {KEY} --secret {KEY} > user.json"
            ),
            &folder,
        )?;
        let mut command = at("radosgw");
        command.args(["-f", "-n", "client.rgw"]).args(as_root);
        let mut gateway = Server::start("radosgw", &command, log("rgw"))?;
        gateway.accepting(address)?;
        println!("Ceph's gateway listens on http://{address}; its logs are in {folder:?}");
        Ok(Self { gateway, osd, monitor, address })
    }

    /// Creates a bucket, by a signed request.
    pub(crate) fn create_bucket(&self, bucket: &str) -> Result<()> {
        // Debian's curl leaves the digest of an empty body away, without which Ceph takes no
        // signature.
        shell::run_command(
            Command::new("curl")
                .args(["--silent", "--show-error", "--fail-with-body", "--request", "PUT"])
                .args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &format!("{KEY}:{KEY}")])
                .args(["--header", &format!("x-amz-content-sha256: {EMPTY_SHA256}")])
                .arg(format!("http://{}/{bucket}", self.address)),
        )
    }

    /// Ends it, from the gateway down.
    pub(crate) fn stop(self) -> Result<()> {
        self.gateway.stop()?;
        self.osd.stop()?;
        self.monitor.stop()
    }
}

/// What it is, for whoever reads the figures.
pub(crate) fn version() -> Result<String> {
    let text = shell::output_of(Command::new("ceph").arg("--version"))?;
    Ok(text.trim().to_owned())
}

fn conf(folder: &Path, cluster: &str, monitor: SocketAddr, gateway: SocketAddr) -> String {
    let folder = folder.display();
    let (low, high) = OSD_PORTS;
    format!(
        "[global]
fsid = {cluster}
mon initial members = a
mon host = v1:{monitor}
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
osd objectstore = memstore
ms bind msgr2 = false
ms bind port min = {low}
ms bind port max = {high}
mon data = {folder}/mon
osd data = {folder}/osd
run dir = {folder}/run
admin socket = {folder}/run/$name.sock
log file = {folder}/$name.log
pid file = {folder}/run/$name.pid
[client.rgw]
rgw data = {folder}/rgw
rgw frontends = beast endpoint={gateway} tcp_nodelay=1
"
    )
}

/// A new one, from the kernel.
fn id() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid").context("no source of ids")?;
    Ok(id.trim().to_owned())
}
