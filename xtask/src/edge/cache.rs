//! Varnish by the shipped file: revalidated it is always current, with a TTL it spares the service
//! nearly every read, and forgets what the service purges by itself after each write.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::traffic::{self, HOT};
use crate::background::{Server, free_address, movies_api};
use crate::loopback::{self, Answer};
use crate::{ci, shell};

const ROUNDS: usize = 100;
/// Writes whose way to the readers is timed one by one.
const WATCHED: usize = 20;
/// A purge is visible this soon after its commit.
const VISIBLE_MAX: Duration = Duration::from_secs(2);
const HITS_PERCENT_MIN: usize = 90;
/// The token of purges, and the file where the shipped configuration has it.
const TOKEN: &str = "of-the-edge-and-of-nobody-else";
const TOKEN_FILE: &str = "/etc/varnish/purge-token";
/// Nothing that is waited for takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(folder: &Path) -> Result<()> {
    revalidated(&Cached::start(folder, "revalidated", None)?)?;
    let kept = Cached::start(folder, "kept", Some("10m"))?;
    only_who_knows_the_token_purges(&kept)?;
    with_a_ttl(&kept)?;
    never_shares_what_is_signed(&kept)?;
    drop(kept);
    without_the_service(Cached::start(folder, "alone", Some("1s"))?)
}

/// A replica and the cache before it, which the replica purges.
pub(super) struct Cached {
    origin: SocketAddr,
    cache: SocketAddr,
    service: Server,
    _varnish: Server,
}

impl Cached {
    fn start(folder: &Path, name: &str, ttl: Option<&str>) -> Result<Self> {
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        let cache = free_address()?;
        let variables = ttl.map(|ttl| {
            [
                ("MOVIES_CDN_TTL", ttl.to_owned()),
                ("MOVIES_CDN_STALE_IF_ERROR", "1h".to_owned()),
                ("MOVIES_PURGE", format!("hook:http://{cache}/")),
                ("MOVIES_PURGE_HEADER", "xkey-purge".to_owned()),
                ("MOVIES_PURGE_TOKEN", TOKEN.to_owned()),
            ]
        });
        let variables: Vec<_> =
            variables.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect();
        let log = folder.join("server.log");
        let (service, origin) = movies_api(&ci::release_binary()?, "memory://", &variables, log)?;
        let token = folder.join("purge-token");
        fs::write(&token, TOKEN.to_owned() + "\n")?;
        let shipped = fs::read_to_string(shell::root().join("deploy/cdn/varnish.vcl"))?;
        let port = ".port = \"5000\";";
        ensure!(shipped.matches(port).count() == 1, "varnish.vcl has {port:?} not once");
        ensure!(shipped.contains(TOKEN_FILE), "varnish.vcl does not read {TOKEN_FILE}");
        let configured = shipped
            .replace(port, &format!(".port = \"{}\";", origin.port()))
            .replace(TOKEN_FILE, &token.to_string_lossy());
        let file = folder.join("varnish.vcl");
        fs::write(&file, configured)?;
        let mut varnish = Command::new("/usr/sbin/varnishd");
        varnish.args(["-F", "-s", "malloc,128m", "-a", &cache.to_string(), "-n"]);
        varnish.arg(folder.join("varnish")).arg("-f").arg(&file);
        let mut varnish = Server::start("varnish", &varnish, folder.join("varnish.log"))?;
        varnish.accepting(cache)?;
        Ok(Self { origin, cache, service, _varnish: varnish })
    }

    pub(super) fn get(&self, target: &str) -> Result<Answer> {
        loopback::exchange(self.cache, "GET", target, &[], b"")
    }

    fn get_signed(&self, target: &str, token: &str) -> Result<Answer> {
        let signed = [("Authorization", token)];
        loopback::exchange(self.cache, "GET", target, &signed, b"")
    }

    pub(super) fn put(&self, movie: usize, number: usize) -> Result<()> {
        let body = format!("{{\"number\":{number}}}");
        loopback::request(self.cache, "PUT", &target(movie), body.as_bytes()).map(drop)
    }

    /// The number of a metric of the service without labels.
    fn metric(&self, name: &str) -> Result<f64> {
        let text = loopback::request(self.origin, "GET", "/metrics", b"")?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.with_context(|| format!("no {name}"))?.trim().parse()?)
    }

    /// Waits until nothing waits to be purged, the second time neither.
    fn settle(&self) -> Result<()> {
        let begun = Instant::now();
        while self.metric("movies_purge_tags_waiting ")? > 0.0 {
            ensure!(begun.elapsed() < PATIENCE, "purges do not end");
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

pub(super) fn target(movie: usize) -> String {
    format!("/api/movies/Movie%20{movie}/2000")
}

/// The number that was written.
pub(super) fn number(answer: &Answer) -> Result<usize> {
    ensure!(answer.status == 200, "a read is answered {}", answer.status);
    let body = String::from_utf8_lossy(&answer.body);
    let number = body.rsplit_once("\"number\":").and_then(|(_, rest)| rest.split('}').next());
    number.and_then(|number| number.parse().ok()).with_context(|| format!("no number in {body}"))
}

pub(super) fn is_hit(answer: &Answer) -> bool {
    answer.header("x-cache") == Some("hit")
}

fn revalidated(cached: &Cached) -> Result<()> {
    for round in 0..ROUNDS {
        cached.put(1, round)?;
        for target in [target(1).as_str(), "/api/movies", "/api/movies/query?year=2000"] {
            let is_current = number(&cached.get(target)?)? == round;
            ensure!(is_current, "{target} is stale after write {round}");
        }
    }
    println!("  varnish, revalidated: {} reads after writes, all current", 3 * ROUNDS);
    Ok(())
}

fn only_who_knows_the_token_purges(cached: &Cached) -> Result<()> {
    for token in ["", "Bearer", "Bearer ", "Bearer wrong", &format!("bearer {TOKEN}"), TOKEN] {
        let headers = [("xkey-purge", "c-0"), ("Authorization", token)];
        let refused = loopback::exchange(cached.cache, "PURGE", "/", &headers, b"")?;
        ensure!(refused.status == 403, "a purge by {token:?} is answered {}", refused.status);
    }
    let right = format!("Bearer {TOKEN}");
    let headers = [("xkey-purge", "c-0"), ("Authorization", right.as_str())];
    loopback::request_with(cached.cache, "PURGE", "/", &headers, b"")?;
    println!("  varnish, purges: from this very machine only by the token");
    Ok(())
}

fn with_a_ttl(cached: &Cached) -> Result<()> {
    traffic::fill(cached)?;
    cached.settle()?;
    for movie in 0..HOT {
        cached.get(&target(movie))?;
    }
    let found = traffic::mixed(cached)?;
    println!("  varnish, with a TTL: {found}");
    ensure!(found.hits * 100 >= found.reads * HITS_PERCENT_MIN, "fewer hits than wanted");
    ensure!(found.stalest <= VISIBLE_MAX, "a read was stale for too long");

    let worst = (0..WATCHED).try_fold(Duration::ZERO, |worst, round| {
        anyhow::Ok(worst.max(until_visible(cached, 1_000_000 + round)?))
    })?;
    println!("  varnish, with a TTL: a write is seen after {worst:.2?} at the latest of {WATCHED}");
    ensure!(worst <= VISIBLE_MAX, "a write was seen too late");

    cached.settle()?;
    let stale = found.stale_now(cached)?;
    println!("  varnish, with a TTL: once purges have settled, {stale} of the catalogue are stale");
    ensure!(stale == 0, "purges were lost");
    let (failed, tags) = (
        cached.metric("movies_purge_calls_total{outcome=\"failed\"} ")?,
        cached.metric("movies_purge_tags_total ")?,
    );
    println!("  varnish, with a TTL: {tags} tags were purged, {failed} calls failed");
    Ok(())
}

/// From the answer to a write to the first read through the cache that has it, of a movie that the
/// cache has.
fn until_visible(cached: &Cached, written: usize) -> Result<Duration> {
    let movie = traffic::UNTOUCHED;
    cached.get(&target(movie))?;
    cached.put(movie, written)?;
    let committed = Instant::now();
    while number(&cached.get(&target(movie))?)? != written {
        ensure!(committed.elapsed() < PATIENCE, "a write is never seen");
        sleep(Duration::from_millis(2));
    }
    Ok(committed.elapsed())
}

fn never_shares_what_is_signed(cached: &Cached) -> Result<()> {
    let movie = traffic::UNREAD;
    for token in ["Bearer x", "Bearer y", "Bearer x"] {
        let answer = cached.get_signed(&target(movie), token)?;
        ensure!(!is_hit(&answer), "a signed request got what the cache keeps");
        ensure!(answer.header("cache-control") == Some("private, no-cache"), "it may be shared");
    }
    ensure!(!is_hit(&cached.get(&target(movie))?), "the answer to a signed request was kept");
    ensure!(is_hit(&cached.get(&target(movie))?), "the answer to everybody was not kept");
    let signed = cached.get_signed(&target(movie), "Bearer x")?;
    ensure!(!is_hit(&signed), "a signed request got what is everybody's");
    println!("  varnish, with a TTL: signed requests pass it by, and leave nothing in it");
    Ok(())
}

fn without_the_service(cached: Cached) -> Result<()> {
    cached.put(1, 7)?;
    cached.settle()?;
    cached.get(&target(1))?;
    let Cached { service, cache, _varnish, .. } = cached;
    service.kill()?;
    let get = |movie| loopback::exchange(cache, "GET", &target(movie), &[], b"");
    // Its time as fresh is a second: from some round on it can only be stale.
    for _ in 0..30 {
        ensure!(number(&get(1)?)? == 7, "nothing stale is served");
        sleep(Duration::from_millis(100));
    }
    let unknown = get(2)?;
    ensure!(unknown.status == 503, "what it never had: {}", unknown.status);
    println!("  varnish, without the service: the old answer goes on, what it never had is 503");
    Ok(())
}
