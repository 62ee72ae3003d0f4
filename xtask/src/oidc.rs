//! `oidc`: the real binary beside two unlike identity providers, a stand-in for AWS's token service
//! and a real browser.
//!
//! Owns the story that only others' servers can tell; what must be refused is tested in
//! `crates/server`, with a provider that lies. The providers' scripts are in `xtask/tools/oidc/`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::background::{Server, free_address, movies_api};
use crate::{ci, loopback, shell, tools};

/// What tokens for this service are for, at the first provider.
const AUDIENCE: &str = "https://movies.test";
/// glewlwyd names the scope where others name the service.
const GLEWLWYD_AUDIENCE: &str = "movies:write";
const SERVER_ID: &str = "movies.test";
const ROLE_ARN: &str = "arn:aws:iam::123456789012:role/film-press";
const ROBOT: &str = "client_id=robot&client_secret=the-secret-of-the-robot";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "oidc takes no arguments");
    let folder = shell::empty_scratch("oidc")?;
    tools::debian(&[("glewlwyd", "glewlwyd"), ("chromium", "chromium")])?;
    let npm = NpmProvider::start(&folder)?;
    let glewlwyd = Glewlwyd::start(&folder)?;
    let sts = Sts::start(&folder)?;
    let providers = folder.join("identity-providers.toml");
    fs::write(&providers, providers_file(&npm, &glewlwyd, &sts))?;
    let variables = [
        ("MOVIES_AUTH", "oidc,aws".to_owned()),
        ("MOVIES_IDENTITY_PROVIDERS", providers.to_string_lossy().into_owned()),
        ("MOVIES_CORS_ORIGINS", npm.issuer()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let data = folder.join("data");
    let log = folder.join("movies-api.log");
    let binary = ci::release_binary()?;
    let (server, address) = movies_api(&binary, &data.to_string_lossy(), &variables, log)?;
    let movies = Movies { address };
    fs::write(folder.join("movies-origin"), format!("http://{address}"))?;

    let told = tell(&movies, npm, glewlwyd, &sts, &folder);
    if told.is_err() {
        println!("{}", server.log_text()?);
    }
    server.stop()?;
    told
}

fn providers_file(npm: &NpmProvider, glewlwyd: &Glewlwyd, sts: &Sts) -> String {
    format!(
        "[[oidc]]\n\
         issuer = {:?}\n\
         audience = {AUDIENCE:?}\n\n\
         [[oidc]]\n\
         issuer = {:?}\n\
         audience = {GLEWLWYD_AUDIENCE:?}\n\
         roles = [{{ claim = \"client_id\", value = \"robot\", role = \"writer\" }}]\n\n\
         [aws]\n\
         server_id = {SERVER_ID:?}\n\
         sts_endpoint = \"http://{}\"\n\
         roles = [{{ arn = \"arn:aws:iam::123456789012:role/film-*\", role = \"writer\" }}]\n",
        npm.issuer(),
        glewlwyd.issuer(),
        sts.address,
    )
}

/// The whole story, in order.
fn tell(
    movies: &Movies,
    npm: NpmProvider,
    glewlwyd: Glewlwyd,
    sts: &Sts,
    folder: &Path,
) -> Result<()> {
    movies.put("without a token", None, 401)?;
    let metadata = movies.get("/.well-known/oauth-protected-resource")?;
    let servers = metadata.get("authorization_servers").context("no authorization servers")?;
    ensure!(*servers == json!([npm.issuer(), glewlwyd.issuer()]), "{metadata}");

    let of_npm = npm.token("movies:write")?;
    movies.put("a robot of oidc-provider (RS256)", Some(&of_npm), 201)?;
    movies.put("a robot that may only read", Some(&npm.token("movies:read")?), 403)?;
    let of_glewlwyd = glewlwyd.token()?;
    movies.put("a robot of glewlwyd (ES256)", Some(&of_glewlwyd), 200)?;

    npm.rotate()?;
    movies.put("after a rotation, with the new key", Some(&npm.token("movies:write")?), 200)?;
    movies.put("after a rotation, with the old key", Some(&of_npm), 200)?;
    glewlwyd.rotate()?;
    let rotated = glewlwyd.token()?;
    ensure!(head_of(&rotated) != head_of(&of_glewlwyd), "glewlwyd signs with the old key");
    movies.put("after a rotation of glewlwyd, with the new key", Some(&rotated), 200)?;
    movies.put("after a rotation of glewlwyd, with the old key", Some(&of_glewlwyd), 200)?;

    in_a_browser(&npm, folder)?;
    log_in_to_aws(movies, sts)?;

    // A token that was not seen before, so that only the kept keys can tell.
    let unseen = npm.token("movies:write")?;
    npm.server.stop()?;
    movies.put("while oidc-provider is down", Some(&unseen), 200)?;
    let unseen = glewlwyd.token()?;
    movies.put("of glewlwyd meanwhile", Some(&glewlwyd.token()?), 200)?;
    glewlwyd.server.stop()?;
    movies.put("while glewlwyd is down, too", Some(&unseen), 200)
}

/// The first part of a token, which names its key.
fn head_of(token: &str) -> &str {
    token.split('.').next().unwrap_or_default()
}

/// The code flow with PKCE; the page stores a movie and says what became of it.
fn in_a_browser(npm: &NpmProvider, folder: &Path) -> Result<()> {
    let picture = folder.join("browser.png");
    let page = format!("{}/page", npm.issuer());
    let mut browser = Command::new("node");
    browser.arg(script("browser.mjs")).args([&*page, &picture.to_string_lossy()]);
    browser.env("NODE_PATH", node_modules()?);
    let said = shell::output_of(&mut browser)?;
    println!("the browser says: {said}the picture is {}", picture.display());
    ensure!(said.starts_with("stored: 201; with the ID token: 401"), "the page stored nothing");
    Ok(())
}

/// boto3 signs with the credentials of a role; the token that it gets writes.
fn log_in_to_aws(movies: &Movies, sts: &Sts) -> Result<()> {
    let body = sts.presigned(SERVER_ID)?;
    let answer = movies.post("/login/aws", &body)?;
    ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
    let token = access_token(&answer.body)?;
    movies.put("a role of AWS", Some(&token), 200)?;
    let elsewhere = movies.post("/login/aws", &sts.presigned("another.test")?)?;
    println!("signed for another server: {}", elsewhere.status);
    ensure!(elsewhere.status == 401, "what was signed for another server counts here");
    Ok(())
}

/// The service.
struct Movies {
    address: SocketAddr,
}

impl Movies {
    /// Stores one movie and expects a status.
    fn put(&self, who: &str, token: Option<&str>, expected: u16) -> Result<()> {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        let body = json!({ "by": who }).to_string();
        let target = "/api/movies/Provider/2026";
        let answer = loopback::exchange(self.address, "PUT", target, &headers, body.as_bytes())?;
        println!("{who}: {}", answer.status);
        let said = String::from_utf8_lossy(&answer.body);
        ensure!(answer.status == expected, "{who}: {}, not {expected}: {said}", answer.status);
        Ok(())
    }

    fn get(&self, target: &str) -> Result<Value> {
        let body = loopback::request(self.address, "GET", target, b"")?;
        Ok(serde_json::from_slice(&body)?)
    }

    fn post(&self, target: &str, body: &str) -> Result<loopback::Answer> {
        let headers = [("Content-Type", "application/json")];
        loopback::exchange(self.address, "POST", target, &headers, body.as_bytes())
    }
}

/// npm's oidc-provider.
struct NpmProvider {
    server: Server,
    address: SocketAddr,
}

impl NpmProvider {
    fn start(folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let mut provider = Command::new("node");
        provider.arg(script("provider.mjs")).args([&address.port().to_string(), AUDIENCE]);
        provider.arg(folder.join("movies-origin")).env("NODE_PATH", node_modules()?);
        let mut server = Server::start("oidc-provider", &provider, folder.join("provider.log"))?;
        server.accepting(address)?;
        Ok(Self { server, address })
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    fn token(&self, scope: &str) -> Result<String> {
        client_credentials(self.address, "/token", scope)
    }

    /// Signs with a new key from now on.
    fn rotate(&self) -> Result<()> {
        loopback::request(self.address, "POST", "/rotate", b"").map(drop)
    }
}

/// Debian's glewlwyd.
struct Glewlwyd {
    address: SocketAddr,
    server: Server,
}

impl Glewlwyd {
    fn start(folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let port = address.port().to_string();
        Self::ask(&["prepare", &folder.to_string_lossy(), &port])?;
        let mut glewlwyd = Command::new("glewlwyd");
        glewlwyd.arg(format!("--config-file={}", folder.join("glewlwyd.conf").display()));
        let mut server = Server::start("glewlwyd", &glewlwyd, folder.join("glewlwyd.log"))?;
        server.accepting(address)?;
        Self::ask(&["set-up", &port])?;
        Ok(Self { address, server })
    }

    fn ask(arguments: &[&str]) -> Result<()> {
        let mut script_of_it = Command::new(tools::python("python")?);
        shell::run_command(script_of_it.arg(script("glewlwyd.py")).args(arguments))
    }

    fn issuer(&self) -> String {
        format!("http://{}/api/oidc", self.address)
    }

    /// Signs with a new key from now on.
    fn rotate(&self) -> Result<()> {
        Self::ask(&["rotate", &self.address.port().to_string()])
    }

    fn token(&self) -> Result<String> {
        client_credentials(self.address, "/api/oidc/token", "movies:write")
    }
}

/// moto's token service, with botocore before it that verifies.
struct Sts {
    address: SocketAddr,
    _server: Server,
}

impl Sts {
    fn start(folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let mut sts = Command::new(tools::python("python")?);
        sts.arg(script("sts.py")).arg(address.port().to_string());
        let mut server = Server::start("sts", &sts, folder.join("sts.log"))?;
        server.accepting(address)?;
        Ok(Self { address, _server: server })
    }

    /// What boto3 signs for a server of this name.
    fn presigned(&self, server_id: &str) -> Result<String> {
        let mut caller = Command::new(tools::python("python")?);
        caller.arg(script("aws_login.py")).arg(format!("http://{}", self.address));
        caller.args([server_id, ROLE_ARN]);
        caller.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]);
        shell::output_of(&mut caller)
    }
}

fn client_credentials(address: SocketAddr, target: &str, scope: &str) -> Result<String> {
    let form = format!("grant_type=client_credentials&scope={scope}&{ROBOT}");
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = loopback::exchange(address, "POST", target, &headers, form.as_bytes())?;
    let said = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200, "no token of {address}: {said}");
    access_token(&answer.body)
}

fn access_token(body: &[u8]) -> Result<String> {
    let body: Value = serde_json::from_slice(body)?;
    let token = body.get("access_token").and_then(Value::as_str);
    token.map(str::to_owned).context("an answer without an access token")
}

fn script(name: &str) -> PathBuf {
    shell::root().join("xtask/tools/oidc").join(name)
}

/// Where npm's packages are.
fn node_modules() -> Result<PathBuf> {
    // `.bin` lies among them.
    let bin = tools::node("playwright-core")?;
    let modules = bin.parent().and_then(Path::parent);
    modules.map(Path::to_owned).context("npm has no folder of packages")
}
