//! A real S3 server inside the test process: the protocol and its signatures by `s3s`, over
//! objects of our own in memory, with faults to order. It never writes to a disk, and never
//! listens beyond loopback.
//!
//! # Why not `s3s-fs`
//!
//! It looks whether an object is there, and then writes it: two writers that race with
//! `If-None-Match: *` can both be told that they were first. A server on which that can happen
//! proves nothing about a log whose only synchronisation is that answer. Here a condition is
//! judged and the object stored under one lock (`objects`), after the last byte of the body
//! has arrived, so of any number of writers exactly one wins; `tests/s3.rs` holds it to that.
//!
//! # Use
//!
//! ```
//! use movies_sim::s3::{Fault, Operation, Rule, S3Options, S3Server};
//!
//! let server = S3Server::start(S3Options::default());
//! // The first create of a commit is stored and never answered.
//! server.faults().add(
//!     Rule::new(Fault::LOST_ANSWER).on(Operation::PutObject).key("/commit/").next(1),
//! );
//! // Hand `server.env()` to the process under test, then ask what it did.
//! assert_eq!(server.count(Operation::PutObject), 0);
//! ```
//!
//! The server has a thread and a runtime of its own: it answers also while the test's thread is
//! blocked, and its delays are in true time. It stops when it is dropped.

mod access;
mod actions;
mod faults;
mod objects;
mod ops;
mod serve;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use s3s::service::S3ServiceBuilder;
use tokio::sync::oneshot;

pub use access::RoleCredentials;
use access::{Credentials, FULL, Keys, Permissions, READ_ONLY, Roles};
use actions::Actions;
pub use actions::{Action, Operation, Outcome};
pub use faults::{Answer, Effect, Fault, Faults, Quirks, Rule};
use objects::{Attributes, Condition, Object, Objects};
use ops::Operations;
use serve::Serving;

/// How a server starts.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// The bucket that [`S3Server::env`] names. It exists from the start.
    pub bucket: String,
    /// More buckets that exist from the start.
    pub more_buckets: Vec<String>,
    /// How the server is unlike S3; it can be changed while it runs.
    pub quirks: Quirks,
    /// Where the rules' chances come from.
    pub seed: u64,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            bucket: "movies".to_owned(),
            more_buckets: Vec::new(),
            quirks: Quirks::default(),
            seed: 0,
        }
    }
}

/// A running server. Dropping it closes every connection and frees the port.
pub struct S3Server {
    address: SocketAddr,
    bucket: String,
    objects: Arc<Objects>,
    faults: Faults,
    actions: Arc<Actions>,
    roles: Roles,
    /// Dropped to stop the thread.
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Starts a server on a free port of loopback; it answers when this returns.
    ///
    /// # Panics
    /// Where the system refuses a port or a thread, or an option names a bucket twice: there is
    /// no test without the server.
    pub fn start(options: S3Options) -> Self {
        let objects = Arc::new(Objects::default());
        for bucket in options.more_buckets.iter().chain([&options.bucket]) {
            objects.create_bucket(bucket).expect("each bucket is named once");
        }
        let faults = Faults::new(options.quirks, options.seed);
        let actions = Arc::new(Actions::default());

        let roles = Roles::default();
        let operations = Operations { objects: Arc::clone(&objects), faults: faults.clone() };
        let mut builder = S3ServiceBuilder::new(operations);
        builder.set_auth(Keys { roles: roles.clone() });
        builder.set_access(Permissions { faults: faults.clone(), roles: roles.clone() });
        let serving = Serving {
            service: builder.build(),
            faults: faults.clone(),
            actions: Arc::clone(&actions),
        };

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a port");
        let address = listener.local_addr().expect("a bound listener has an address");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("s3".to_owned())
            .spawn(move || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime of one thread")
                    .block_on(serve::accept(listener, serving, stopped));
            })
            .expect("a thread for the server");
        Self {
            address,
            bucket: options.bucket,
            objects,
            faults,
            actions,
            roles,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens, as `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The name of the first bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The switches. The handle outlives the server without keeping it.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// The variables that lead a process to this server's first bucket, allowed everything.
    pub fn env(&self) -> Vec<(String, String)> {
        self.env_of(FULL)
    }

    /// The same with credentials that may read and list, and nothing else.
    pub fn read_only_env(&self) -> Vec<(String, String)> {
        self.env_of(READ_ONLY)
    }

    /// The variables that lead there, without credentials.
    pub fn anonymous_env(&self) -> Vec<(String, String)> {
        let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        self.env().into_iter().filter(|(name, _)| !keys.contains(&name.as_str())).collect()
    }

    /// Makes credentials of a role that may do everything, as STS would; good until they are
    /// withdrawn.
    pub fn issue(&self, access_key: &str) -> RoleCredentials {
        self.roles.issue(access_key)
    }

    /// Ends credentials of a role.
    pub fn withdraw(&self, access_key: &str) {
        self.roles.withdraw(access_key);
    }

    /// Keys and bodies of the first bucket as they are now.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.objects.all(&self.bucket)
    }

    /// The body of one object of the first bucket.
    pub fn object(&self, key: &str) -> Option<Bytes> {
        let object = self.objects.get(&self.bucket, key).expect("the first bucket exists");
        object.map(|object| object.body)
    }

    /// Stores an object in the first bucket behind the protocol's back: no fault, no record.
    pub fn put_raw(&self, key: &str, body: impl Into<Bytes>) {
        let now = ops::now(&self.faults.quirks());
        let object = Object::new(body.into(), Attributes::default(), now);
        self.objects
            .put(&self.bucket, key, object, &Condition::Always)
            .expect("the first bucket exists and nothing is asked of the key");
    }

    /// Removes an object of the first bucket behind the protocol's back.
    pub fn remove_raw(&self, key: &str) {
        self.objects.delete(&self.bucket, key).expect("the first bucket exists");
    }

    /// What was asked so far, in the order of the answers.
    pub fn actions(&self) -> Vec<Action> {
        self.actions.all()
    }

    /// How many requests of this operation there were, whatever was answered.
    pub fn count(&self, operation: Operation) -> usize {
        self.actions.all().iter().filter(|action| action.operation == operation).count()
    }

    /// Forgets what was asked so far; objects, quirks and rules stay.
    pub fn reset_actions(&self) {
        self.actions.reset();
    }

    fn env_of(&self, credentials: Credentials) -> Vec<(String, String)> {
        let endpoint = self.endpoint();
        [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", credentials.access_key),
            ("AWS_SECRET_ACCESS_KEY", credentials.secret_key),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ALLOW_HTTP", "true"),
            ("S3_BUCKET_NAME", &self.bucket),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server's thread has been printed; the test sees dead connections.
            thread.join().unwrap_or(());
        }
    }
}

impl fmt::Debug for S3Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Server")
            .field("endpoint", &self.endpoint())
            .field("bucket", &self.bucket)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
