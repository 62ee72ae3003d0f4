//! One gateway's story, whichever program it is.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::replicas::{Replicas, log_in};
use crate::loopback::{self, Answer};

/// Names that a careless gateway decodes, cuts or collapses, as they are sent and as they are meant.
const NAMES: &[(&str, &str)] = &[
    ("Face%2FOff", "Face/Off"),
    ("100%25", "100%"),
    ("a%2F..%2Fb", "a/../b"),
    ("..%2F..%2Fetc%2Fpasswd", "../../etc/passwd"),
    ("%2F%2Fdouble", "//double"),
    ("A+B%2BC", "A+B+C"),
    ("%E2%80%A6", "…"),
    ("What%3F%23", "What?#"),
];
/// Requests within which a limit of twenty a second must have shown.
const BURST_MAX: usize = 1_000;
/// Those who send at once while a replica is killed.
const SENDERS: usize = 4;
/// How long they go on after it.
const AFTERMATH: Duration = Duration::from_secs(3);
/// A pause between the requests of one: all together send about two hundred a second.
const PAUSE: Duration = Duration::from_millis(15);

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// Whether it checks tokens itself.
    pub(crate) checks_tokens: bool,
}

impl Gateway {
    fn send(
        &self,
        method: &str,
        target: &str,
        more: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let headers = [&[("Content-Type", "application/json")], more].concat();
        loopback::exchange(self.address, method, target, &headers, body)
            .with_context(|| format!("{} broke off", self.name))
    }

    fn expect(&self, what: &str, answer: &Answer, allowed: &[u16]) -> Result<()> {
        println!("  {}: {what}: {}", self.name, answer.status);
        let said = String::from_utf8_lossy(&answer.body);
        ensure!(
            allowed.contains(&answer.status),
            "{}: {what}: {} {said}",
            self.name,
            answer.status
        );
        Ok(())
    }

    /// No token, a good one, and one of each bad kind.
    pub(crate) fn tokens(&self, replicas: &Replicas) -> Result<()> {
        let target = "/api/movies/Token/2020";
        let put = |token: Option<&str>| {
            let bearer = token.map(|token| format!("Bearer {token}"));
            let headers: Vec<_> = bearer.iter().map(|b| ("Authorization", b.as_str())).collect();
            self.send("PUT", target, &headers, b"{}")
        };
        let none = put(None)?;
        self.expect("without a token", &none, &[401])?;
        ensure!(none.header("www-authenticate").is_some(), "a 401 without a challenge");
        for (kind, token) in object(&replicas.tokens, "good")? {
            self.expect(&format!("a good token ({kind})"), &put(token.as_str())?, &[200, 201])?;
        }
        for (kind, token) in object(&replicas.tokens, "bad")? {
            let answer = put(token.as_str())?;
            self.expect(&format!("a token that is {kind}"), &answer, &[401])?;
            let is_its_own = answer.header("server-timing").is_none();
            ensure!(is_its_own == self.checks_tokens, "{}: who has refused it?", self.name);
        }
        let login = log_in(self.address)?;
        self.expect("a login", &login, &[200])?;
        let login: Value = serde_json::from_slice(&login.body)?;
        let token = login.get("access_token").and_then(Value::as_str);
        self.expect("the token of that login", &put(token)?, &[200])
    }

    /// Every name arrives as it was sent.
    pub(crate) fn names(&self, replicas: &Replicas) -> Result<()> {
        let good = replicas.good()?;
        let headers = [("Authorization", good.as_str())];
        for (sent, meant) in NAMES {
            let target = format!("/api/movies/{sent}/1997");
            let put = self.send("PUT", &target, &headers, b"{}")?;
            ensure!(put.status < 300, "{}: PUT {target}: {}", self.name, put.status);
            // By the other way in, so that two wrongs cannot make a right.
            let direct = loopback::exchange(replicas.address(1)?, "GET", &target, &headers, b"")?;
            let movie: Value = serde_json::from_slice(&direct.body)?;
            let name = movie.get("name").and_then(Value::as_str);
            ensure!(name == Some(*meant), "{}: {sent} became {name:?}", self.name);
        }
        println!("  {}: {} encoded names arrived as they were sent", self.name, NAMES.len());
        Ok(())
    }

    /// An id goes through, an odd one is replaced, and nobody speaks for the gateway.
    pub(crate) fn ids_and_lies(&self, replicas: &Replicas) -> Result<()> {
        let good = replicas.good()?;
        let id = format!("edge-{}-1", self.name);
        let headers = [("Authorization", good.as_str()), ("X-Request-Id", id.as_str())];
        let answer = self.send("PUT", "/api/movies/Id/2020", &headers, b"{\"id\":1}")?;
        ensure!(answer.header("x-request-id") == Some(id.as_str()), "the id did not come back");
        ensure!(replicas.logs().contains(&id), "the id does not stand in a replica's log");
        let headers = [("Authorization", good.as_str()), ("X-Request-Id", "<script>")];
        let answer = self.send("GET", "/api/movies/Id/2020", &headers, b"")?;
        let given = answer.header("x-request-id").unwrap_or_default();
        ensure!(!given.is_empty() && !given.contains('<'), "an odd id came back: {given}");
        let lies = [
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Host", "evil.example"),
            ("Forwarded", "for=192.0.2.1;host=evil.example"),
        ];
        let told = self.send("GET", "/.well-known/oauth-protected-resource", &lies, b"")?;
        let told = String::from_utf8_lossy(&told.body).into_owned();
        ensure!(told.contains(&self.address.to_string()), "its name is not told: {told}");
        ensure!(!told.contains("evil.example"), "a client spoke for the gateway: {told}");
        println!("  {}: request ids go through, forwarding headers of clients do not", self.name);
        Ok(())
    }

    /// What is too large is refused, by whoever sees it first.
    pub(crate) fn oversized(&self, replicas: &Replicas) -> Result<()> {
        let good = replicas.good()?;
        let headers = [("Authorization", good.as_str())];
        let body = vec![b' '; 70_000];
        let answer = self.send("PUT", "/api/movies/Large/2020", &headers, &body)?;
        self.expect("a body of 70,000 bytes", &answer, &[413])?;
        let target = format!("/api/movies/query?name={}", "x".repeat(20_000));
        let answer = self.send("GET", &target, &headers, b"")?;
        self.expect("a URL of 20,000 bytes", &answer, &[400, 414])?;
        let long = "x".repeat(40_000);
        let headers = [("Authorization", good.as_str()), ("X-Long", long.as_str())];
        let answer = self.send("GET", "/api/movies/Token/2020", &headers, b"")?;
        self.expect("a header of 40,000 bytes", &answer, &[400, 431])
    }

    /// Too much is told so.
    pub(crate) fn too_many(&self, replicas: &Replicas) -> Result<()> {
        let good = replicas.good()?;
        let headers = [("Authorization", good.as_str())];
        let (sent, refused) = (AtomicUsize::new(0), Mutex::new(None));
        std::thread::scope(|scope| {
            for _ in 0..4 * SENDERS {
                scope.spawn(|| {
                    while sent.fetch_add(1, Ordering::Relaxed) < BURST_MAX
                        && refused.lock().is_ok_and(|refused| refused.is_none())
                    {
                        let answer = self.send("GET", "/api/movies/Token/2020", &headers, b"");
                        if let Ok(answer) = answer
                            && answer.status == 429
                            && let Ok(mut refused) = refused.lock()
                        {
                            *refused = Some(answer);
                        }
                    }
                });
            }
        });
        let refused = refused.into_inner().ok().flatten();
        let refused = refused.with_context(|| format!("{}: no 429 in a burst", self.name))?;
        ensure!(refused.header("retry-after").is_some(), "a 429 without Retry-After");
        println!("  {}: 429 within {} requests of a burst", self.name, sent.into_inner());
        Ok(())
    }

    /// A replica is killed under load: what fails is at most what it had in its hands.
    pub(crate) fn a_kill(&self, replicas: &mut Replicas) -> Result<()> {
        let good = replicas.good()?;
        let (done, failed, stop) =
            (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        let sender = |sender: usize| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let target = format!("/api/movies/Kill{sender}/2020");
                let key = format!("{}-{sender}-{number}", self.name);
                let headers = [("Authorization", good.as_str()), ("Idempotency-Key", key.as_str())];
                let body = format!("{{\"number\":{number}}}");
                let sent = match number % 5 {
                    0 => self.send("PUT", &target, &headers, body.as_bytes()),
                    _ => self.send("GET", "/api/movies/Token/2020", &headers, b""),
                };
                match sent {
                    Ok(answer) if answer.status < 300 => done.fetch_add(1, Ordering::Relaxed),
                    _ => failed.fetch_add(1, Ordering::Relaxed),
                };
                std::thread::sleep(PAUSE);
            }
        };
        let killed = std::thread::scope(|scope| {
            for number in 0..SENDERS {
                scope.spawn(move || sender(number));
            }
            let until = |count: usize| {
                let begun = Instant::now();
                while done.load(Ordering::Relaxed) < count && begun.elapsed() < 10 * AFTERMATH {
                    std::thread::sleep(PAUSE);
                }
            };
            until(200);
            let before = failed.load(Ordering::Relaxed);
            let killed = replicas.kill(0);
            std::thread::sleep(AFTERMATH);
            stop.store(true, Ordering::Relaxed);
            killed.map(|()| before)
        });
        let before = killed?;
        let (done, failed) = (done.into_inner(), failed.into_inner());
        println!(
            "  {}: kill -9 of a replica under load: {failed} of {} failed",
            self.name,
            done + failed
        );
        ensure!(before == 0, "{}: {before} failed while both lived", self.name);
        ensure!(failed <= SENDERS, "{}: {failed} failed, {SENDERS} were under way", self.name);
        replicas.revive(0)
    }
}

fn object<'a>(
    tokens: &'a Value,
    kind: &str,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)>> {
    Ok(tokens.get(kind).and_then(Value::as_object).context("the script made no tokens")?.iter())
}
