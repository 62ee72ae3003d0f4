//! From the options to who may do what; and the files that are read again when they change.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use movies_store::{Accord, Bucket, Store};
use ring::hmac;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{error, info, warn};

use super::jwk::Algorithm;
use super::keys::{Keys, write_new};
use super::others::Others;
use super::providers::Providers;
use super::users::Users;
use super::watched::Watched;
use super::{Actor, Auth, Policy, Secret};
use crate::config::{ActorName, AuthArgs, Kinds};

/// What our tokens say where no public URL is known.
const ISSUER: &str = "movies-api";
/// The variables that hold keys themselves: orchestrators hand secrets over so.
const TOKEN_KEY: &str = "MOVIES_TOKEN_KEY";
const ACTOR_KEY: &str = "MOVIES_ACTOR_KEY";
const ACTOR_KEY_BYTES_MIN: usize = 32;
/// How soon a changed file is noticed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How soon it is noticed that other replicas sign with a key that this one has not.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Reads what the options name, and keeps to it as it changes.
///
/// # Errors
/// What cannot be read, or is missing.
pub fn start(args: &AuthArgs, kinds: Kinds, bucket: &Bucket) -> anyhow::Result<Started> {
    if kinds.is_none() {
        return Ok(Started { auth: Auth::none(), key_file: None, providers: None });
    }
    let users = match &args.users {
        Some(path) if kinds.users => Some(Users::open(path).context("--users")?),
        _ => None,
    };
    let mut key_file = None;
    let gives_tokens = kinds.users || kinds.aws;
    let keys = gives_tokens.then(|| token_keys(args, bucket, &mut key_file)).transpose()?;
    let issuer = args.public_url.clone().unwrap_or_else(|| ISSUER.to_owned());
    let policy = Policy {
        issuer: issuer.clone(),
        lifetime: args.token_lifetime,
        public_read: args.public_read,
        actor: match args.actor {
            ActorName::Id => Actor::Id,
            ActorName::Pseudonym => Actor::Pseudonym(actor_key(args, bucket)?),
        },
    };
    let (mut providers, mut others) = (None, Others::default());
    if let Some(path) = &args.identity_providers {
        let file = ProvidersFile { file: Watched::new(path), kinds, ours: issuer };
        others = Others::start(file.read(path)?).context(NO_CLIENT)?;
        providers = Some(file);
    }
    Ok(Started { auth: Auth::new(policy, keys, users, others), key_file, providers })
}

const NO_CLIENT: &str = "cannot make an HTTP client";

/// The file of identity providers, and what it must agree with.
#[derive(Debug)]
struct ProvidersFile {
    file: Watched,
    kinds: Kinds,
    /// What our own tokens name as their issuer.
    ours: String,
}

impl ProvidersFile {
    fn read(&self, path: &Path) -> anyhow::Result<Providers> {
        read_providers(path, self.kinds, &self.ours)
    }

    /// Puts to work what it says now, where that is something else; what cannot be put to work is
    /// tried again, as what cannot be read is.
    fn refresh(&mut self, auth: &Auth) {
        let Self { file, kinds, ours } = self;
        file.read_once_it_stands("providers", |path| {
            auth.set_providers(read_providers(path, *kinds, ours)?).context(NO_CLIENT)
        });
    }
}

fn read_providers(path: &Path, kinds: Kinds, ours: &str) -> anyhow::Result<Providers> {
    let providers = Providers::read(path, kinds)?;
    // Tokens with that name are held to our own keys.
    if providers.oidc.iter().any(|one| one.issuer.id == ours) {
        bail!("{}: the issuer {ours} is this very service, by --public-url", path.display());
    }
    Ok(providers)
}

/// What was read, and what is looked at from now on.
#[derive(Debug)]
pub struct Started {
    /// Who may do what.
    pub auth: Auth,
    key_file: Option<Watched>,
    providers: Option<ProvidersFile>,
}

impl Started {
    /// Reads files again that have changed, and compares keys with those of other replicas on the
    /// store, for as long as the process lives. Neither waits for the other: the store may be slow.
    pub async fn keep_fresh(mut self, store: Store) {
        if !self.auth.is_on() {
            return;
        }
        let (auth, changed) = (self.auth.clone(), Notify::new());
        let comparing = async {
            loop {
                compare_keys(&auth, &store).await;
                // An error says that the time is over.
                drop(timeout(COMPARE_INTERVAL, changed.notified()).await);
            }
        };
        let looking = async {
            let mut ticks = interval(LOOK_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                self.auth.refresh_users();
                if let Some(providers) = &mut self.providers {
                    providers.refresh(&self.auth);
                }
                if self.refresh_keys() {
                    changed.notify_one();
                }
            }
        };
        tokio::join!(comparing, looking);
    }

    /// Tells whether there are other keys now.
    fn refresh_keys(&mut self) -> bool {
        let Some(file) = &mut self.key_file else { return false };
        let gone = |path: &Path| format!("there is no {} any more", path.display());
        let read = |path: &Path| Keys::load(path)?.with_context(|| gone(path));
        let Some(keys) = file.read_once_it_stands("keys", read) else { return false };
        info!(keys = ?keys.ids(), "tokens are signed by the first of these");
        self.auth.set_keys(keys);
        true
    }
}

/// A replica whose keys are not its peers' gives tokens that they refuse, and refuses theirs: only
/// some requests fail, which is hard to see from outside.
async fn compare_keys(auth: &Auth, store: &Store) {
    let Some(keys) = auth.keys() else { return };
    let ids: Vec<String> = keys.ids().into_iter().map(str::to_owned).collect();
    match store.accord(&ids).await {
        Ok(Accord::Holds) => {}
        Ok(Accord::Broken { object, names }) => error!(
            ours = ?ids,
            theirs = ?names,
            "the token keys of this replica are not those of its peers: tokens of one are refused \
             by the other; give all replicas the same --token-key-file, or, if the keys were \
             changed on purpose, delete {object}"
        ),
        Ok(Accord::Behind { object, name }) => error!(
            ours = ?ids,
            theirs = name,
            "another replica signs with a token key that this one lacks, and its tokens are refused \
             here; give all replicas the same --token-key-file, a new key first as a second one, or, \
             if that replica is gone for good, delete {object}"
        ),
        Err(error) => warn!("cannot compare the token keys with those of other replicas: {error}"),
    }
}

/// The keys of our tokens: given, or beside the folder.
fn token_keys(
    args: &AuthArgs,
    bucket: &Bucket,
    watched: &mut Option<Watched>,
) -> anyhow::Result<Keys> {
    if let Some(text) = variable(TOKEN_KEY, args.token_key_file.as_deref())? {
        return Keys::parse(text.reveal()).context(TOKEN_KEY);
    }
    let algorithm = Algorithm::from(args.token_algorithm);
    if let Some(path) = &args.token_key_file {
        *watched = Some(Watched::new(path));
        let keys = Keys::load(path).context("--token-key-file")?;
        return keys.with_context(|| format!("--token-key-file: there is no {}", path.display()));
    }
    match beside(bucket, "token-key") {
        Some(path) => {
            if !path.exists() {
                let keys = Keys::load_or_make(&path, algorithm)?;
                info!(keys = ?keys.ids(), "made {}", path.display());
            }
            // Watched before it is read: what is written in between is seen as a change.
            *watched = Some(Watched::new(&path));
            let keys = Keys::load(&path)?;
            keys.with_context(|| format!("{} came and went", path.display()))
        }
        None if is_shared(bucket) => bail!(
            "all replicas on {} must sign with one key, so it must be given: --token-key-file FILE, or the key in {TOKEN_KEY}; `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes one",
            bucket.url()
        ),
        // What is in memory is gone with the process, and so may its key be.
        None => Ok(Keys::make(algorithm)?.0),
    }
}

/// The key of pseudonyms: given, or beside the folder. It never changes, else one person would be
/// two.
fn actor_key(args: &AuthArgs, bucket: &Bucket) -> anyhow::Result<hmac::Key> {
    let parse = |text: &Secret| {
        let text = text.reveal().trim();
        if text.len() < ACTOR_KEY_BYTES_MIN {
            bail!("the key of pseudonyms has fewer than {ACTOR_KEY_BYTES_MIN} characters");
        }
        Ok(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()))
    };
    let read = |path: &Path| {
        let text = fs::read_to_string(path).map(Secret::new);
        parse(&text.with_context(|| format!("cannot read {}", path.display()))?)
            .with_context(|| path.display().to_string())
    };
    if let Some(text) = variable(ACTOR_KEY, args.actor_key_file.as_deref())? {
        return parse(&text).context(ACTOR_KEY);
    }
    if let Some(path) = &args.actor_key_file {
        return read(path).context("--actor-key-file");
    }
    match beside(bucket, "actor-key") {
        Some(path) => {
            if !path.exists() {
                let (_, text) = Keys::make(Algorithm::Hs256)?;
                // Where another replica was quicker, its key is read.
                drop(write_new(&path, text.reveal()));
            }
            read(&path)
        }
        None if is_shared(bucket) => bail!(
            "--actor pseudonym on {} needs a key that all replicas have: --actor-key-file FILE, or the key in {ACTOR_KEY}; `openssl rand -base64 32` makes one",
            bucket.url()
        ),
        None => parse(&Keys::make(Algorithm::Hs256)?.1),
    }
}

/// Whether replicas elsewhere may be on it: neither a folder nor the memory of this process.
fn is_shared(bucket: &Bucket) -> bool {
    !bucket.is_folder() && bucket.url() != "memory://"
}

/// A file beside the folder of the data: not in it, where whoever reads the data would read it.
fn beside(bucket: &Bucket, what: &str) -> Option<PathBuf> {
    if !bucket.is_folder() {
        return None;
    }
    let folder = Path::new(bucket.url());
    let name = folder.file_name()?.to_string_lossy();
    let parent = folder.parent()?;
    // Where it cannot be made, writing the key says why.
    drop(fs::create_dir_all(parent));
    Some(parent.join(format!("{name}.{what}")))
}

/// The secret in a variable; none where it is not set.
pub(crate) fn variable(name: &str, file: Option<&Path>) -> anyhow::Result<Option<Secret>> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(_) if file.is_some() => bail!("{name} and a file are both given; give one of them"),
        Ok(text) => Ok(Some(Secret::new(text))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{name} is no text"),
    }
}
