//! The threads that serve connections, each with a runtime of its own: a connection stays on one
//! thread and nobody else is woken for it.
//!
//! Measured against tokio's shared runtime in `docs/adr/0005-workers.md`. What the store runs beside
//! requests stays on the process's runtime.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tracing::debug;

/// The threads. They end when this is dropped, and what they still serve with them.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
    _running: watch::Sender<()>,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// Where the system has no thread or file left for them.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let (running, stopped) = watch::channel(());
        let workers = (0..count.get()).map(|number| Worker::start(number, stopped.clone()));
        Ok(Self { workers: workers.collect::<io::Result<_>>()?, _running: running })
    }

    /// Serves a connection on the thread that has the fewest.
    pub(crate) fn spawn<Served>(
        &self,
        stream: TcpStream,
        serve: impl FnOnce(TcpStream) -> Served + Send + 'static,
    ) where
        Served: Future<Output = ()> + Send + 'static,
    {
        let load = |worker: &&Worker| worker.connections.load(Ordering::Relaxed);
        let Some(worker) = self.workers.iter().min_by_key(load) else { return };
        let open = Open::new(&worker.connections);
        // The stream leaves the runtime that accepted it.
        let stream = stream.into_std();
        worker.runtime.spawn(async move {
            match stream.and_then(TcpStream::from_std) {
                Ok(stream) => serve(stream).await,
                Err(error) => debug!(%error, "a connection could not change its thread"),
            }
            drop(open);
        });
    }
}

impl Worker {
    fn start(number: usize, mut stopped: watch::Receiver<()>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let serve = move || {
            // An error says that the sender is gone, which is what is waited for.
            let _: Result<(), watch::error::RecvError> = runtime.block_on(stopped.changed());
            runtime.shutdown_background();
        };
        thread::Builder::new().name(format!("worker-{number}")).spawn(serve)?;
        Ok(Self { runtime: handle, connections: Arc::default() })
    }
}

/// Counts a connection as open until it is dropped, be it by a panic.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
