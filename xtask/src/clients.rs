//! `clients`: each program of `clients/` beside the real binary, as their users run them.
//!
//! Owns how they are started and what they must say. Never what they do: that is for their readers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::background::{Server, add_user, movies_api};
use crate::{ci, shell, tools};

/// The seed's user.
const USERNAME: &str = "testuser";
const PASSWORD: &str = "testpassword";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "clients takes no arguments");
    let folder = shell::empty_scratch("clients")?;
    let place = Place { binary: ci::release_binary()?, users: folder.join("users"), folder };
    add_user(&place.binary, &place.users, (USERNAME, PASSWORD), "writer")?;
    place.tell("curl", |_| Ok(script("bash", "curl/movies.sh")))?;
    place.tell("requests", |_| Ok(script(tools::python("python")?, "python/movies.py")))?;
    place.tell("newman", newman)?;
    place.tell("generated", |address| generated(&place.folder, address))?;
    shell::run_command(
        Command::new(tools::python("python")?)
            .args(["xtask/tools/parse_powershell.py", "clients/powershell/movies.ps1"]),
    )
}

/// Where the clients and their servers work.
struct Place {
    folder: PathBuf,
    binary: PathBuf,
    users: PathBuf,
}

impl Place {
    /// One client with a server of its own, so that none finds what another has left.
    fn tell(
        &self,
        name: &'static str,
        client: impl FnOnce(SocketAddr) -> Result<Command>,
    ) -> Result<()> {
        println!("\n-- {name}");
        let folder = self.folder.join(name);
        std::fs::create_dir(&folder)?;
        let (server, address) = self.serve(folder.join("server.log"))?;
        let told = client(address).and_then(|mut client| {
            client.current_dir(&folder).stdin(Stdio::null());
            client.env("MOVIES_URL", format!("http://{address}"));
            client.env("MOVIES_USERNAME", USERNAME).env("MOVIES_PASSWORD", PASSWORD);
            let status = client.status().with_context(|| format!("cannot start {name}"))?;
            ensure!(status.success(), "the client {name} failed: {status}");
            Ok(())
        });
        if told.is_err() {
            println!("{}", server.log_text()?);
        }
        server.stop()?;
        told
    }

    fn serve(&self, log: PathBuf) -> Result<(Server, SocketAddr)> {
        let users = self.users.to_string_lossy().into_owned();
        let variables = [("MOVIES_AUTH", "users".to_owned()), ("MOVIES_USERS", users)]
            .map(|(name, value)| (name.to_owned(), value));
        movies_api(&self.binary, "memory://", &variables, log)
    }
}

fn in_clients(path: &str) -> PathBuf {
    shell::root().join("clients").join(path)
}

fn script(program: impl AsRef<std::ffi::OsStr>, path: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(in_clients(path));
    command
}

fn newman(address: SocketAddr) -> Result<Command> {
    let mut newman = Command::new(tools::node("newman")?);
    newman.args(["run", "--color", "off"]);
    newman.arg(in_clients("postman/movies.postman_collection.json"));
    newman.arg("--environment").arg(in_clients("postman/movies.postman_environment.json"));
    newman.args(["--env-var", &format!("baseUrl=http://{address}")]);
    Ok(newman)
}

/// Makes a client of what the server says about itself, and uses it.
fn generated(folder: &Path, address: SocketAddr) -> Result<Command> {
    let package = folder.join("generated/package");
    let generator = tools::python("openapi-python-client")?;
    let bin = generator.parent().context("a program without a folder")?;
    // It formats what it made by ruff, which lies beside it.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&path));
    let mut generate = Command::new(&generator);
    generate.args(["generate", "--fail-on-warning", "--url"]);
    generate.arg(format!("http://{address}/openapi.json")).arg("--output-path").arg(&package);
    shell::run_command(generate.env("PATH", std::env::join_paths(path)?))?;
    let mut client = script(tools::python("python")?, "python/generated_round_trip.py");
    client.env("PYTHONPATH", package);
    Ok(client)
}
