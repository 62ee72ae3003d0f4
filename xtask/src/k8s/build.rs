//! Kubernetes' programs, built from Debian's source once.

use std::path::PathBuf;

use anyhow::Result;

use crate::{shell, tools};

/// Those of one node.
const PROGRAMS: &[&str] =
    &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];
/// Go's cache and the sources are thrown away: gigabytes.
const SCRIPT: &str = r#"
    apt-get $apart source --quiet --download-only kubernetes
    dpkg-source --no-check --extract *.dsc src
    export CGO_ENABLED=0 GOCACHE=$PWD/go
    make --directory src WHAT="cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kubelet cmd/kube-proxy"
    mkdir bin
    mv src/_output/local/go/bin/kube* bin/
    rm -r src go lists cache
"#;

/// The folder with the programs.
pub(super) fn programs() -> Result<PathBuf> {
    let folder = shell::scratch("kubernetes")?;
    let bin = folder.join("bin");
    if PROGRAMS.iter().any(|program| !bin.join(program).is_file()) {
        tools::debian(&[
            ("go", "golang-go"),
            ("dpkg-source", "dpkg-dev"),
            ("rsync", "rsync"),
            ("make", "make"),
        ])?;
        println!("building Kubernetes, which takes a quarter of an hour and three gigabytes");
        let script = tools::apt_apart("deb-src", "bookworm") + SCRIPT;
        shell::script(&script, &shell::empty_scratch("kubernetes")?)?;
    }
    tools::debian(&[("etcd", "etcd-server"), ("conntrack", "conntrack")])?;
    Ok(bin)
}
