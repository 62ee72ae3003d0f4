//! Reads and writes at a steady rate, every one on a connection of its own, and what became of them.
//!
//! Owns the difference between what was not connected, which anybody may send again, and what was
//! sent and not answered well. Bounded in time, whatever happens.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::loopback;

/// Each has one request in flight at most.
pub(super) const CLIENTS: u32 = 20;
/// Of each client: together 200 a second.
const PERIOD: Duration = Duration::from_millis(100);
const LASTS_MAX: Duration = Duration::from_secs(240);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const ATTEMPTS_MAX: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Clients that go on until they are stopped.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    begun: Instant,
    clients: Vec<JoinHandle<Figures>>,
}

/// What became of the requests.
#[derive(Default)]
pub(super) struct Figures {
    requests: u64,
    /// Connections that did not come about and were tried again.
    refused: u64,
    slowest: Duration,
    pub(super) failures: Vec<String>,
}

impl Load {
    pub(super) fn start(address: SocketAddr, authorization: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|client| {
            let (over, authorization) = (Arc::clone(&over), authorization.to_owned());
            std::thread::spawn(move || run(client, address, &authorization, &over))
        });
        Self { clients: clients.collect(), over, begun: Instant::now() }
    }

    pub(super) fn stop(self) -> Result<Figures> {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Figures::default();
        for client in self.clients {
            let figures = client.join().ok().context("a client panicked")?;
            all.requests += figures.requests;
            all.refused += figures.refused;
            all.slowest = all.slowest.max(figures.slowest);
            all.failures.extend(figures.failures);
        }
        println!(
            "{} requests in {:.1} s: {} failed, {} connections tried again, the slowest took {} ms",
            all.requests,
            self.begun.elapsed().as_secs_f64(),
            all.failures.len(),
            all.refused,
            all.slowest.as_millis()
        );
        for failure in &all.failures {
            println!("  {failure}");
        }
        Ok(all)
    }
}

fn run(client: u32, address: SocketAddr, authorization: &str, over: &AtomicBool) -> Figures {
    let mut figures = Figures::default();
    let begun = Instant::now();
    let mut due = begun + PERIOD * client / CLIENTS;
    while !over.load(Ordering::Relaxed) && begun.elapsed() < LASTS_MAX {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += PERIOD;
        let asked = Instant::now();
        if let Err(error) = ask(client, address, authorization, &mut figures) {
            figures.failures.push(format!("{error:#}"));
        }
        figures.slowest = figures.slowest.max(asked.elapsed());
    }
    figures
}

/// Every third request writes, every sixth reads everything.
fn ask(client: u32, address: SocketAddr, authorization: &str, figures: &mut Figures) -> Result<()> {
    let number = figures.requests;
    figures.requests += 1;
    let movie = format!("/api/movies/Load%20{client}/{}", 1990 + number % 30);
    let body = format!("{{\"number\":{number}}}");
    let (method, target, body) = match number % 6 {
        0 | 3 => ("PUT", movie.as_str(), body.as_str()),
        5 => ("GET", "/api/movies", ""),
        _ => ("GET", "/api/movies/query?name=Load%200", ""),
    };
    let headers = [("Authorization", authorization), ("Content-Type", "application/json")];
    let stream = connect(address, figures)?;
    let answer = loopback::exchange_on(stream, method, target, &headers, body.as_bytes())?;
    let status = answer.status;
    ensure!((200..300).contains(&status), "{method} {target} is answered {status}");
    Ok(())
}

/// A connection that is refused has carried nothing: the next one may lead to another replica.
fn connect(address: SocketAddr, figures: &mut Figures) -> Result<TcpStream> {
    let mut attempts = 1;
    loop {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(stream) => return Ok(stream),
            Err(error) if attempts == ATTEMPTS_MAX => {
                return Err(error).context("no connection, again and again");
            }
            Err(_) => figures.refused += 1,
        }
        attempts += 1;
        std::thread::sleep(PAUSE);
    }
}
