//! A client over HTTP: one request at a time, mostly of one replica, believing what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use movies_store::commit::{Action, Code, Group, Op};
use movies_store::key::{MovieKey, Seq, Tag, Version};
use movies_store::movie::Movie;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::RngExt;
use rand_chacha::ChaCha12Rng;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use super::caller::{Ask, Caller, Failed, Heard};
use super::trial::{Ack, Trial};
use super::witness::{Answer, Asked, Known, Looked, Shown};
use crate::checker::same_request;
use crate::trace::Moment;
use crate::wish::{self, Wishes, any_key};

/// How long a patient client waits: beyond the replicas' own `--request-timeout`.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often an unknown outcome is asked again with its key.
const REPETITIONS_MAX: usize = 3;
/// How soon a client that found nobody, or was turned away, comes again at most.
const PAUSE_MS_MAX: u64 = 100;
/// How long a replica may take to serve when all faults have ended.
const SETTLE_MAX: Duration = Duration::from_secs(20);
const LIST: &str = "/api/movies";
const COLLECTION: &str = "/api/collections/movies.json";

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Anything, now and then at another replica.
    Anything,
    /// PUTs at one replica only.
    PutsAtHome,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    trial: Arc<Trial>,
    rng: ChaCha12Rng,
    home: usize,
    /// Whether it asks other replicas too. Not all may: whoever waits for a replica that is paused
    /// asks no other meanwhile, and in a few seconds all who roam would wait.
    roams: bool,
    callers: Vec<Caller>,
    wishes: Wishes,
    /// What each idempotency key was used for.
    used: BTreeMap<Arc<str>, Vec<Group>>,
}

/// What one attempt of a write came to.
enum Attempt {
    Judged(Moment, Answer),
    Nothing,
    Unknown,
}

impl Client {
    pub(super) fn new(number: u8, trial: &Arc<Trial>, rng: ChaCha12Rng) -> Self {
        let callers: Vec<Caller> = trial.callers().collect();
        let home = usize::from(number) % callers.len().max(1);
        let roams = (usize::from(number) / callers.len().max(1)).is_multiple_of(2);
        let trial = Arc::clone(trial);
        Self {
            trial,
            rng,
            home,
            roams,
            callers,
            wishes: Wishes::new(number),
            used: BTreeMap::new(),
        }
    }

    /// Makes requests until it is over; the last may take longer.
    pub(super) async fn run(&mut self, habit: Habit, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            match habit {
                Habit::PutsAtHome => {
                    let name = self.wishes.next_name();
                    let op = self.wishes.put(&mut self.rng);
                    self.write(Group { by: Some(name), key: None, ops: vec![op] }, habit).await;
                }
                Habit::Anything if self.rng.random_ratio(2, 5) => {
                    let at = self.somewhere(habit);
                    self.read(at).await;
                }
                Habit::Anything => {
                    let group = self.group();
                    self.write(group, habit).await;
                }
            }
        }
    }

    /// Writes once and reads everything at a replica that has no more excuse.
    pub(super) async fn settle(&mut self, replica: usize) {
        let began = Instant::now();
        self.home = replica;
        let (mut has_written, mut has_read) = (false, false);
        while !(has_written && has_read) {
            if began.elapsed() > SETTLE_MAX {
                let what = if has_written { "read" } else { "write" };
                let stuck =
                    format!("r{} does not take a {what} though all faults have ended", replica + 1);
                return self.trial.found(stuck);
            }
            if !has_written {
                let name = self.wishes.next_name();
                let ops = vec![self.wishes.put(&mut self.rng)];
                let group = Group { by: Some(name), key: None, ops };
                has_written = self.write(group, Habit::PutsAtHome).await;
            }
            if has_written {
                has_read = self.read_list(replica).await;
            }
        }
    }

    /// A request of one op, which is all that HTTP takes so far.
    fn group(&mut self) -> Group {
        let name = self.wishes.next_name();
        let mut op = self.wishes.op(&mut self.rng);
        // An empty header is none (the seed ignores it).
        let said =
            |tags: &mut Option<Vec<Tag>>| *tags = tags.take().filter(|tags| !tags.is_empty());
        said(&mut op.if_match);
        said(&mut op.if_none_match);
        if op.action.key().is_none() {
            return Group { by: Some(name), key: None, ops: vec![op] };
        }
        let mut group = self.wishes.signed(Arc::clone(&name), vec![op], &mut self.rng);
        let Some((key, print)) = group.key.clone() else { return group };
        let before = self.used.entry(key).or_default();
        if before.iter().any(|other| same_request(other, &group)) {
            // It would be that very write once more.
            group.key = Some((name, print));
        } else {
            before.push(group.clone());
        }
        group
    }

    fn somewhere(&mut self, habit: Habit) -> usize {
        if habit == Habit::Anything && self.roams && self.rng.random_ratio(1, 4) {
            return self.rng.random_range(0..self.callers.len());
        }
        self.home
    }

    /// Whether it was judged in the end. The names in `group` are ours: the log has them in full.
    async fn write(&mut self, group: Group, habit: Habit) -> bool {
        let name = group.by.clone().unwrap_or_default();
        let ask = group.ops.first().map(|op| ask_of(op, &group));
        let Some(ask) = ask else { return false };
        let group = Group { by: Some(self.trial.names.actor(&name)), ..group };
        let invoked = self.trial.moment();
        let mut attempts = Vec::new();
        for _ in 0..=REPETITIONS_MAX {
            let at = self.somewhere(habit);
            let is_impatient = habit == Habit::Anything && self.rng.random_ratio(1, 20);
            let share = if is_impatient { self.rng.random_range(0.0..0.1) } else { 1.0 };
            let attempt = self.attempt(at, &name, &ask, PATIENCE.mul_f64(share)).await;
            let again = match &attempt {
                Attempt::Judged(..) => self.rng.random_ratio(1, 6),
                Attempt::Nothing | Attempt::Unknown => true,
            };
            let is_over = !again || group.key.is_none();
            attempts.push(attempt);
            if is_over {
                break;
            }
        }
        let known = self.sum(&group, &attempts);
        let is_judged = matches!(known, Known::Judged(..));
        self.trial.observed().writes.push(Asked { group, invoked, known });
        is_judged
    }

    /// What the attempts of one write come to together.
    fn sum(&self, group: &Group, attempts: &[Attempt]) -> Known {
        let mut answers = attempts.iter().filter_map(|attempt| match attempt {
            Attempt::Judged(at, answer) => Some((*at, answer)),
            _ => None,
        });
        let Some((at, first)) = answers.next() else {
            let nothing = attempts.iter().all(|attempt| matches!(attempt, Attempt::Nothing));
            return if nothing { Known::Nothing } else { Known::Unknown };
        };
        for (_, later) in answers {
            if !later.repeats(first) {
                let two = format!("{:?} was answered {first:?}, then {later:?}", group.by);
                self.trial.found(two);
            }
        }
        Known::Judged(at, first.clone())
    }

    async fn attempt(&mut self, at: usize, name: &str, ask: &Ask, patience: Duration) -> Attempt {
        let sent = Instant::now();
        let heard = match self.ask(at, name, ask, patience).await {
            Ok(heard) => heard,
            Err(Failed::Unsent) => return Attempt::Nothing,
            Err(Failed::Unanswered) => return Attempt::Unknown,
        };
        let moment = self.trial.moment();
        match heard.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                self.pause().await;
                return Attempt::Nothing;
            }
            StatusCode::GATEWAY_TIMEOUT => return Attempt::Unknown,
            // Of a collection that is not there it is not said which state that is.
            StatusCode::NOT_FOUND if ask.target == COLLECTION => return Attempt::Unknown,
            _ => {}
        }
        let Some(answer) = judged(ask, &heard) else {
            self.trial.found(format!("r{} answered {ask:?} with {heard:?}", at + 1));
            return Attempt::Unknown;
        };
        let is_refusal = answer.code.is_refusal();
        self.trial.acks().push(Ack { replica: at, sent, answered: Instant::now(), is_refusal });
        Attempt::Judged(moment, answer)
    }

    async fn ask(
        &mut self,
        at: usize,
        name: &str,
        ask: &Ask,
        patience: Duration,
    ) -> Result<Heard, Failed> {
        let Some(caller) = self.callers.get_mut(at) else { return Err(Failed::Unsent) };
        let answer = caller.ask(name, ask, patience).await;
        if matches!(answer, Err(Failed::Unsent)) {
            self.pause().await;
        }
        answer
    }

    async fn pause(&mut self) {
        sleep(Duration::from_millis(self.rng.random_range(1..PAUSE_MS_MAX))).await;
    }

    async fn read(&mut self, at: usize) {
        if self.rng.random_bool(0.5) {
            self.read_list(at).await;
        } else {
            let key = any_key(&mut self.rng);
            self.read_movie(at, key).await;
        }
    }

    async fn read_movie(&mut self, at: usize, key: MovieKey) {
        let Some((heard, invoked)) = self.get(at, Ask::get(href(&key))).await else { return };
        let shown = match heard.status {
            StatusCode::OK => Some(heard.body.strip_suffix(b"\n").unwrap_or(&heard.body)),
            _ => None,
        };
        let shown = shown.map(Bytes::copy_from_slice);
        self.saw(at, &heard, invoked, Shown::Movie(key, shown));
    }

    /// Whether it was answered.
    async fn read_list(&mut self, at: usize) -> bool {
        let mut ask = Ask::get(LIST);
        let known = self.wishes.known.tag.clone().filter(|_| self.rng.random_ratio(1, 4));
        ask.headers.extend(known.map(|tag| ("if-none-match", format!("\"{tag}\""))));
        let Some((heard, invoked)) = self.get(at, ask).await else { return false };
        if heard.status == StatusCode::OK {
            let Some(movies) = movies_of(&heard.body) else {
                let body = String::from_utf8_lossy(&heard.body).into_owned();
                self.trial.found(format!("r{} listed what are no movies: {body}", at + 1));
                return true;
            };
            self.wishes.known = wish::Known { tag: tag_of(&heard), movies };
        }
        if heard.status == StatusCode::NOT_FOUND {
            self.trial.found(format!("r{} lost the default collection: {heard:?}", at + 1));
            return true;
        }
        // "Not modified" shows what is known.
        let movies = self.wishes.known.movies.clone();
        self.saw(at, &heard, invoked, Shown::All(movies));
        true
    }

    /// An answer that shows something, and when it was asked for.
    async fn get(&mut self, at: usize, ask: Ask) -> Option<(Heard, Moment)> {
        let invoked = self.trial.moment();
        let heard = self.ask(at, "reader", &ask, PATIENCE).await.ok()?;
        match heard.status {
            StatusCode::OK | StatusCode::NOT_MODIFIED | StatusCode::NOT_FOUND => {
                Some((heard, invoked))
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                self.pause().await;
                None
            }
            _ => {
                self.trial.found(format!("r{} answered {ask:?} with {heard:?}", at + 1));
                None
            }
        }
    }

    fn saw(&self, at: usize, heard: &Heard, invoked: Moment, shown: Shown) {
        let answered = self.trial.moment();
        let Some(version) = version_of(heard) else {
            return self.trial.found(format!("r{} showed no version: {heard:?}", at + 1));
        };
        self.trial.observed().reads.push(Looked { invoked, answered, version, shown });
    }
}

/// The request of a group's one op.
fn ask_of(op: &Op, group: &Group) -> Ask {
    let mut ask = match &op.action {
        Action::Put(movie) => {
            let body = movie.json().clone();
            Ask { body, ..Ask::of(Method::PUT, href(movie.key())) }
        }
        Action::Delete(key) => Ask::of(Method::DELETE, href(key)),
        Action::Drop => Ask::of(Method::DELETE, COLLECTION),
        _ => Ask::of(Method::PUT, COLLECTION),
    };
    let list = |tags: &[Tag]| {
        let quoted = tags.iter().map(|tag| match tag {
            Tag::Any => "*".to_owned(),
            tag => format!("\"{tag}\""),
        });
        quoted.collect::<Vec<_>>().join(", ")
    };
    ask.headers.extend(op.if_match.as_deref().map(|tags| ("if-match", list(tags))));
    ask.headers.extend(op.if_none_match.as_deref().map(|tags| ("if-none-match", list(tags))));
    ask.headers.extend(group.key.as_ref().map(|(key, _)| ("idempotency-key", key.to_string())));
    ask
}

fn href(key: &MovieKey) -> String {
    let name = utf8_percent_encode(key.name(), NON_ALPHANUMERIC);
    format!("{LIST}/{name}/{}", key.year().get())
}

/// What an answer to a write says, if it is one that a judged write can get.
fn judged(ask: &Ask, heard: &Heard) -> Option<Answer> {
    let by_name = |name: &str| {
        let codes = [Code::Created, Code::Replaced, Code::Unchanged, Code::Deleted];
        codes.into_iter().find(|code| code.as_str() == name)
    };
    let code = match (heard.status.as_u16(), heard.header("movies-outcome")) {
        (200 | 201 | 204, Some(name)) => by_name(name)?,
        (201, None) => Code::Created,
        (204, None) if ask.method == Method::DELETE => Code::Deleted,
        (204, None) => Code::Unchanged,
        (404, _) => Code::Missing,
        (409, _) => Code::Mismatch,
        (412, _) => Code::Exists,
        (422, _) => Code::KeyReused,
        _ => return None,
    };
    let replayed = heard.header("movies-replayed").is_some();
    Some(Answer { code, etag: tag_of(heard), version: version_of(heard)?, replayed })
}

fn version_of(heard: &Heard) -> Option<Version> {
    Some(Version(Seq(heard.header("movies-version")?.parse().ok()?)))
}

fn tag_of(heard: &Heard) -> Option<Tag> {
    let etag = heard.header("etag")?.trim_start_matches("W/");
    Some(Tag::parse(etag.trim_matches('"')))
}

fn movies_of(list: &[u8]) -> Option<BTreeMap<MovieKey, Bytes>> {
    let movies: Vec<&RawValue> = serde_json::from_slice(list).ok()?;
    let movies = movies.iter().map(|movie| {
        let movie = Movie::from_log(Bytes::copy_from_slice(movie.get().as_bytes())).ok()?;
        Some((movie.key().clone(), movie.json().clone()))
    });
    movies.collect()
}
