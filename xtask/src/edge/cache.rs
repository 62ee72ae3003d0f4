//! Varnish by the shipped file: revalidated it is always current, with a TTL it spares the service
//! nearly every read and forgets what is purged.
//!
//! The purges are made here, by the tags that the service gives: it does not call caches itself.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::background::{Server, free_address, movies_api};
use crate::loopback::{self, Answer};
use crate::{ci, shell};

const ROUNDS: usize = 100;
const CATALOGUE: usize = 3_000;
const HOT: usize = 1_000;
const REQUESTS: usize = 10_000;
/// Every twentieth request is a write.
const WRITE_EVERY: usize = 20;
const HITS_PERCENT_MIN: usize = 90;

pub(crate) fn run(folder: &Path) -> Result<()> {
    revalidated(&Cached::start(folder, "revalidated", &[])?)?;
    let ttl = |ttl: &str| {
        [("MOVIES_CDN_TTL", ttl.to_owned()), ("MOVIES_CDN_STALE_IF_ERROR", "1h".to_owned())]
    };
    let kept = Cached::start(folder, "kept", &ttl("10m"))?;
    with_a_ttl(&kept)?;
    drop(kept);
    without_the_service(Cached::start(folder, "alone", &ttl("1s"))?)
}

/// A replica and the cache before it.
struct Cached {
    origin: SocketAddr,
    cache: SocketAddr,
    service: Server,
    _varnish: Server,
}

impl Cached {
    fn start(folder: &Path, name: &str, options: &[(&str, String)]) -> Result<Self> {
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        let variables: Vec<_> =
            options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let log = folder.join("server.log");
        let (service, origin) = movies_api(&ci::release_binary()?, "memory://", &variables, log)?;
        let shipped = fs::read_to_string(shell::root().join("deploy/cdn/varnish.vcl"))?;
        let port = ".port = \"5000\";";
        ensure!(shipped.matches(port).count() == 1, "varnish.vcl has {port:?} not once");
        let file = folder.join("varnish.vcl");
        fs::write(&file, shipped.replace(port, &format!(".port = \"{}\";", origin.port())))?;
        let cache = free_address()?;
        let mut varnish = Command::new("/usr/sbin/varnishd");
        varnish.args(["-F", "-s", "malloc,128m", "-a", &cache.to_string(), "-n"]);
        varnish.arg(folder.join("varnish")).arg("-f").arg(&file);
        let mut varnish = Server::start("varnish", &varnish, folder.join("varnish.log"))?;
        varnish.accepting(cache)?;
        Ok(Self { origin, cache, service, _varnish: varnish })
    }

    fn get(&self, target: &str) -> Result<Answer> {
        loopback::exchange(self.cache, "GET", target, &[], b"")
    }

    fn put(&self, movie: usize, number: usize) -> Result<()> {
        let body = format!("{{\"number\":{number}}}");
        loopback::request(self.cache, "PUT", &target(movie), body.as_bytes()).map(drop)
    }

    /// As a hook would, by what the service says of the movie and of lists.
    fn purge(&self, movie: usize) -> Result<()> {
        let tags = |target: &str| -> Result<String> {
            let answer = loopback::request_with(self.origin, "GET", target, &[], b"")?;
            let tags = answer.header("surrogate-key").context("no tags")?;
            // The first is its own, the second every movie's.
            Ok(tags.split(' ').next().unwrap_or_default().to_owned())
        };
        let tags = format!("{} {}", tags(&target(movie))?, tags("/api/movies/query?name=none")?);
        loopback::request_with(self.cache, "PURGE", "/", &[("xkey-purge", &tags)], b"").map(drop)
    }
}

fn target(movie: usize) -> String {
    format!("/api/movies/Movie%20{movie}/2000")
}

fn holds(answer: &Answer, number: usize) -> bool {
    String::from_utf8_lossy(&answer.body).contains(&format!("\"number\":{number}}}"))
}

fn is_hit(answer: &Answer) -> bool {
    answer.header("x-cache") == Some("hit")
}

fn revalidated(cached: &Cached) -> Result<()> {
    for number in 0..ROUNDS {
        cached.put(1, number)?;
        for target in [target(1).as_str(), "/api/movies", "/api/movies/query?year=2000"] {
            ensure!(holds(&cached.get(target)?, number), "{target} is stale after write {number}");
        }
    }
    println!("  varnish, revalidated: {} reads after writes, all current", 3 * ROUNDS);
    Ok(())
}

fn with_a_ttl(cached: &Cached) -> Result<()> {
    let mut now = vec![0; CATALOGUE];
    for movie in 0..CATALOGUE {
        cached.put(movie, 0)?;
    }
    for movie in 0..HOT {
        cached.get(&target(movie))?;
    }
    let (mut reads, mut hits, mut dice) = (0_usize, 0_usize, 1_usize);
    for number in 1..=REQUESTS {
        // Knuth's generator: the same requests each time.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = dice >> 33;
        if number.is_multiple_of(WRITE_EVERY) {
            let movie = draw % CATALOGUE;
            cached.put(movie, number)?;
            cached.purge(movie)?;
            *now.get_mut(movie).context("outside")? = number;
        } else {
            let movie = draw % HOT;
            let answer = cached.get(&target(movie))?;
            let expected = *now.get(movie).context("outside")?;
            ensure!(holds(&answer, expected), "{} is stale", target(movie));
            reads += 1;
            hits += usize::from(is_hit(&answer));
        }
    }
    println!(
        "  varnish, with a TTL: {hits} of {reads} reads over {HOT} hot movies were hits, none was stale"
    );
    ensure!(hits * 100 >= reads * HITS_PERCENT_MIN, "fewer hits than {HITS_PERCENT_MIN} %");

    let signed = [("Authorization", "Bearer x")];
    let answer = loopback::exchange(cached.cache, "GET", &target(1), &signed, b"")?;
    ensure!(!is_hit(&answer), "a signed request got what is everybody's");
    ensure!(answer.header("cache-control") == Some("private, no-cache"), "it may be shared");
    println!("  varnish, with a TTL: signed requests pass it by");
    Ok(())
}

fn without_the_service(cached: Cached) -> Result<()> {
    cached.put(1, 7)?;
    cached.get(&target(1))?;
    let Cached { service, cache, _varnish, .. } = cached;
    service.kill()?;
    let get = |movie| loopback::exchange(cache, "GET", &target(movie), &[], b"");
    // Its time as fresh is a second: from some round on it can only be stale.
    for _ in 0..30 {
        let answer = get(1)?;
        ensure!(answer.status == 200 && holds(&answer, 7), "nothing stale: {}", answer.status);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let unknown = get(2)?;
    ensure!(unknown.status == 503, "what it never had: {}", unknown.status);
    println!("  varnish, without the service: the old answer goes on, what it never had is 503");
    Ok(())
}
