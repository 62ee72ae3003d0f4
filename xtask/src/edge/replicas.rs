//! Two real replicas on one bucket, with users and keys that gateways verify by.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::background::{Server, add_user, movies_api_on};
use crate::{ci, loopback, s3, shell, tools};

const USER: &str = "ann";
const PASSWORD: &str = "a password of the edge";

/// Two replicas and what is around them. They end with the value.
pub(crate) struct Replicas {
    folder: PathBuf,
    variables: Vec<(String, String)>,
    running: Vec<Option<Server>>,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Tokens by what is good or bad about them.
    pub(crate) tokens: Value,
    _moto: Server,
}

impl Replicas {
    /// Starts an S3 server and two replicas that take users' tokens, with more variables.
    pub(crate) fn start(folder: &Path, more: &[(&str, &str)]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let binary = ci::release_binary()?;
        let users = folder.join("users");
        add_user(&binary, &users, (USER, PASSWORD), "writer")?;
        let script = |arguments: &[&str]| {
            let mut script = Command::new(tools::python("python")?);
            shell::output_of(script.arg("xtask/tools/edge/tokens.py").args(arguments))
        };
        let place = folder.to_string_lossy();
        script(&["keys", &place])?;
        let (moto, s3_address) = s3::start_anywhere(folder.join("moto.log"))?;
        s3::create_bucket(s3_address, "movies")?;
        let mut variables = s3::variables(s3_address);
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        variables.extend([
            ("MOVIES_AUTH".to_owned(), "users".to_owned()),
            ("MOVIES_USERS".to_owned(), path(users)),
            ("MOVIES_TOKEN_KEY_FILE".to_owned(), path(folder.join("token-key.pem"))),
            ("MOVIES_TRUSTED_PROXIES".to_owned(), "127.0.0.0/8".to_owned()),
        ]);
        variables
            .extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut replicas = Self {
            folder: folder.to_owned(),
            variables,
            running: Vec::new(),
            addresses: Vec::new(),
            tokens: Value::Null,
            _moto: moto,
        };
        for number in 0..2 {
            let (server, address) = replicas.launch(&binary, number, "127.0.0.1:0")?;
            replicas.running.push(Some(server));
            replicas.addresses.push(address);
        }
        let login: Value = serde_json::from_slice(&log_in(replicas.address(0)?)?.body)?;
        let token = login.get("access_token").and_then(Value::as_str).context("no token")?;
        replicas.tokens = serde_json::from_str(&script(&["tokens", &place, token])?)?;
        Ok(replicas)
    }

    fn launch(&self, binary: &Path, number: usize, listen: &str) -> Result<(Server, SocketAddr)> {
        let mut variables = self.variables.clone();
        variables.push(("MOVIES_REPLICA".to_owned(), format!("edge-{number}")));
        let log = self.folder.join(format!("replica-{number}.log"));
        movies_api_on(listen, binary, "s3://movies", &variables, log)
    }

    /// Ends one as a power cut would.
    pub(crate) fn kill(&mut self, number: usize) -> Result<()> {
        let slot = self.running.get_mut(number).context("no such replica")?;
        slot.take().context("it is dead already")?.kill()
    }

    /// Starts one that was killed, where it was.
    pub(crate) fn revive(&mut self, number: usize) -> Result<()> {
        let address = *self.addresses.get(number).context("no such replica")?;
        let (server, _) = self.launch(&ci::release_binary()?, number, &address.to_string())?;
        *self.running.get_mut(number).context("no such replica")? = Some(server);
        Ok(())
    }

    /// The address of one, past every gateway.
    pub(crate) fn address(&self, number: usize) -> Result<SocketAddr> {
        self.addresses.get(number).copied().context("no such replica")
    }

    /// A token that counts.
    pub(crate) fn good(&self) -> Result<String> {
        let token = self.tokens.pointer("/good/es256").and_then(Value::as_str);
        token.map(|token| format!("Bearer {token}")).context("the script made no token")
    }

    /// What the replicas have said.
    pub(crate) fn logs(&self) -> String {
        let logs = self.running.iter().flatten().filter_map(|server| server.log_text().ok());
        logs.collect::<Vec<_>>().join("\n")
    }
}

/// The answer to a login.
pub(crate) fn log_in(address: SocketAddr) -> Result<loopback::Answer> {
    let body = json!({ "username": USER, "password": PASSWORD }).to_string();
    let headers = [("Content-Type", "application/json")];
    loopback::exchange(address, "POST", "/login", &headers, body.as_bytes())
}
