//! The images that others publish. On Debian 12, where CI can pull none, they are made from its
//! packages and the machine's own Rust, under the public names, so that `Dockerfile` and
//! `compose.yaml` stay as they are; elsewhere they are pulled.
//!
//! Owns what is in them. Never part of what is shipped.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::process::Command;

use anyhow::Result;

use super::engine::Engine;
use crate::{shell, tools};

/// What `docker build` starts from: the toolchain of this machine, and cargo's own configuration,
/// which may say how the registry is reached from here.
const RUST: Tree = Tree {
    image: "rust:1-bookworm",
    packages: "gcc,libc6-dev,make,ca-certificates",
    fill: r#"
        home=${RUSTUP_HOME:-$HOME/.rustup} cargo=${CARGO_HOME:-$HOME/.cargo}
        mkdir -p "$1/usr/local/rustup/toolchains" "$1/usr/local/cargo"
        cp -a "$home/settings.toml" "$1/usr/local/rustup/"
        cp -a "$(rustc --print sysroot)" "$1/usr/local/rustup/toolchains/"
        rm -rf "$1"/usr/local/rustup/toolchains/*/share
        cp -a "$cargo/bin" "$1/usr/local/cargo/"
        ! [ -f "$cargo/config.toml" ] || cp "$cargo/config.toml" "$1/usr/local/cargo/"
    "#,
    directives: &[
        "ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo",
    ],
};

/// What stands around the replicas, in one tree.
const SERVERS: Tree = Tree {
    image: "movies-api-stand-in",
    packages: "haproxy,prometheus,python3,ca-certificates",
    fill: r#"
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
            --no-warn-conflicts --target "$1/usr/local/lib/python3.11/dist-packages" --python-version 3.11 \
            --only-binary :all: 'moto[s3]==5.2.5' flask flask-cors
    "#,
    directives: &[],
};

/// The servers' public names, each with what starts it there.
const NAMES: &[(&str, &str)] = &[
    ("motoserver/moto", r#"ENTRYPOINT ["python3", "-m", "moto.server", "-H", "0.0.0.0"]"#),
    (
        "haproxy:2.6",
        "USER haproxy\n\
         CMD [\"haproxy\", \"-W\", \"-db\", \"-f\", \"/usr/local/etc/haproxy/haproxy.cfg\"]",
    ),
    (
        "prom/prometheus:v2.42.0",
        "RUN mkdir /prometheus && chown nobody /prometheus\nUSER nobody\n\
         ENTRYPOINT [\"prometheus\", \"--config.file=/etc/prometheus/prometheus.yml\", \
         \"--storage.tsdb.path=/prometheus\"]",
    ),
];

/// A file system of Debian 12 and something more, as one image.
struct Tree {
    image: &'static str,
    packages: &'static str,
    /// Bash, run when the packages are there; `$1` is the root of the tree.
    fill: &'static str,
    directives: &'static [&'static str],
}

/// What the Dockerfile names.
pub(crate) fn for_building(engine: &Engine) -> Result<()> {
    if debian_12() { RUST.make(engine) } else { pull(engine, RUST.image) }
}

/// What compose.yaml names.
pub(crate) fn for_the_trial(engine: &Engine) -> Result<()> {
    if !debian_12() {
        return NAMES.iter().try_for_each(|(image, _)| pull(engine, image));
    }
    SERVERS.make(engine)?;
    NAMES.iter().try_for_each(|(image, directives)| name(engine, image, directives))
}

/// One more image of the same tree.
pub(crate) fn name(engine: &Engine, image: &str, directives: &str) -> Result<()> {
    let folder = shell::empty_scratch("docker-stand-in")?;
    std::fs::write(folder.join("Dockerfile"), format!("FROM {}\n{directives}\n", SERVERS.image))?;
    let place = folder.to_string_lossy();
    shell::run_command(&mut engine.docker(&["build", "--quiet", "--tag", image, &place]))
}

fn debian_12() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "VERSION_CODENAME=bookworm")
}

fn pull(engine: &Engine, image: &str) -> Result<()> {
    shell::run_command(&mut engine.docker(&["pull", "--quiet", image]))
}

impl Tree {
    /// Makes the image, unless it is there and of this recipe.
    fn make(&self, engine: &Engine) -> Result<()> {
        let recipe = self.recipe()?;
        let label = r#"{{index .Config.Labels "recipe"}}"#;
        if engine.inspect(self.image, label).is_some_and(|made| made == recipe) {
            println!("{} stands in already", self.image);
            return Ok(());
        }
        tools::debian(&[("mmdebstrap", "mmdebstrap")])?;
        println!("making a stand-in for {}", self.image);
        let folder = shell::empty_scratch("docker-stand-in")?;
        let fill = folder.join("fill");
        // The authorities of this machine, behind which its registries may be.
        let authorities = "cp -L /etc/ssl/certs/ca-certificates.crt \"$1/etc/ssl/certs/\"";
        std::fs::write(&fill, format!("set -eu\n{authorities}\n{}", self.fill))?;
        let tree = folder.join("tree.tar");
        shell::run_command(
            Command::new("mmdebstrap")
                .args(["--quiet", "--variant=apt", &format!("--include={}", self.packages)])
                .arg(format!("--customize-hook=bash {} \"$1\"", fill.display()))
                .arg("bookworm")
                .arg(&tree),
        )?;
        let mut import = engine.docker(&["import", "--change", &format!("LABEL recipe={recipe}")]);
        import.args(self.directives.iter().flat_map(|directive| ["--change", directive]));
        shell::run_command(import.arg(&tree).arg(self.image))?;
        std::fs::remove_file(&tree)?;
        Ok(())
    }

    /// Changes when anything does that it is made of, but for updates of packages.
    fn recipe(&self) -> Result<String> {
        let rust = shell::output_of(Command::new("rustc").arg("--version"))?;
        let mut hasher = DefaultHasher::new();
        (rust, self.packages, self.fill, self.directives).hash(&mut hasher);
        Ok(format!("{:016x}", hasher.finish()))
    }
}
