//! A client: writes and reads a few movies that others write too, and believes what it is told.
//!
//! It records what it sees and checks at once what can be checked at once: an answer in time, and
//! an acknowledged commit that is in the bucket. The rest is [`crate::checker`]'s.

use std::sync::Arc;
use std::time::Duration;

use movies_store::commit::{Code, Group};
use movies_store::key::Seq;
use movies_store::{Collection, Error, Freshness, Judgement, State};
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha12Rng;
use tokio::time::{Instant, sleep, timeout};

use crate::bucket::Replica;
use crate::history::{Fate, Read, Seen, Told, Write};
use crate::model::Violation;
use crate::trace::Moment;
use crate::wish::{Known, Wishes, any_key};
use crate::world::World;

/// How much later than its deadline an answer may come.
const LATENESS_MAX: Duration = Duration::from_millis(100);
/// How often an unknown outcome is asked again with its key.
const REPETITIONS_MAX: usize = 3;

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    number: u8,
    world: Arc<World>,
    rng: ChaCha12Rng,
    home: Replica,
    wishes: Wishes,
}

/// What one attempt came to.
enum Attempt {
    Judged(Judgement),
    Nothing,
    Unknown,
}

/// A call of the store and what became of it.
enum Called<T> {
    Answered(T),
    /// The replica died, or the client went away.
    Lost,
}

impl Client {
    pub(crate) fn new(number: u8, world: &Arc<World>, mut rng: ChaCha12Rng) -> Self {
        let replicas: Vec<_> = world.replicas().collect();
        let home = *replicas.choose(&mut rng).expect("there is a replica");
        Self { number, world: Arc::clone(world), rng, home, wishes: Wishes::new(number) }
    }

    /// One that goes to this replica mostly.
    pub(crate) fn at(self, home: Replica) -> Self {
        Self { home, ..self }
    }

    /// Makes all its requests.
    pub(crate) async fn run(self) {
        let requests = self.world.settings.requests_a_client;
        self.request(requests).await;
    }

    /// Makes so many.
    pub(crate) async fn request(mut self, requests: u32) {
        for _ in 0..requests {
            if self.world.finding().is_some() {
                return;
            }
            let pause = self.rng.random_range(0..=self.world.settings.pause_ms_max);
            sleep(Duration::from_millis(pause)).await;
            if self.rng.random_ratio(2, 5) {
                self.read().await;
            } else {
                self.write().await;
            }
        }
    }

    /// Writes once and reads everything at a replica that has no more excuse.
    pub(crate) async fn settle(mut self, replica: Replica) {
        self.home = replica;
        let name = Some(self.wishes.next_name());
        let group = Group { by: name, key: None, ops: vec![self.wishes.put(&mut self.rng)] };
        let invoked = self.tell("settles", &group);
        let patience = Duration::from_secs(60);
        let attempt = self.attempt(replica, &group, patience, patience * 2).await;
        if !matches!(attempt, Attempt::Judged(_)) {
            let stuck = format!("{replica} does not take a write though all faults have ended");
            self.world.found(Violation(stuck));
        }
        self.record(group, invoked, &[attempt]);
        let reads = self.world.history().reads.len();
        self.read_at(replica, Freshness::Configured, true).await;
        if self.world.history().reads.len() == reads {
            let stuck = format!("{replica} does not answer a read though all faults have ended");
            self.world.found(Violation(stuck));
        }
    }

    async fn write(&mut self) {
        let group = self.wishes.group(&mut self.rng);
        let invoked = self.tell("writes", &group);
        let mut attempts = Vec::new();
        for _ in 0..=REPETITIONS_MAX {
            let replica = self.somewhere();
            let deadline = Duration::from_millis(self.rng.random_range(500..20_000));
            let patience = if self.rng.random_ratio(1, 12) {
                deadline.mul_f64(self.rng.random_range(0.0..0.3))
            } else {
                deadline * 2
            };
            let attempt = self.attempt(replica, &group, deadline, patience).await;
            let again = match &attempt {
                Attempt::Judged(_) => self.rng.random_ratio(1, 6),
                Attempt::Nothing | Attempt::Unknown => true,
            };
            attempts.push(attempt);
            if !again || group.key.is_none() || self.world.finding().is_some() {
                break;
            }
        }
        self.record(group, invoked, &attempts);
    }

    /// What the attempts of one write come to together.
    fn record(&self, group: Group, invoked: Moment, attempts: &[Attempt]) {
        let answers = attempts.iter().filter_map(|attempt| match attempt {
            Attempt::Judged(judgement) => Some(Told::from(judgement)),
            _ => None,
        });
        let answers: Vec<Told> = answers.collect();
        let nothing = attempts.iter().all(|attempt| matches!(attempt, Attempt::Nothing));
        let mut history = self.world.history();
        let answered = self.world.trace.event(format_args!("c{} knows", self.number));
        let fate = match answers.split_first() {
            None if nothing => Fate::Nothing,
            None => Fate::Unknown,
            Some((first, later)) => {
                let same = |again: &Told| {
                    // A key that is another request's is refused anew each time.
                    let refused = first.outcomes.iter().all(|out| out.code == Code::KeyReused);
                    again.outcomes == first.outcomes && (refused || again.seq == first.seq)
                };
                if let Some(other) = later.iter().find(|again| !same(again)) {
                    let two = format!("one write was answered {first:?}, then {other:?}");
                    self.world.found(Violation(two));
                }
                Fate::Judged { answered, told: first.clone() }
            }
        };
        history.writes.push(Write { group, invoked, fate });
    }

    async fn attempt(
        &mut self,
        replica: Replica,
        group: &Group,
        deadline: Duration,
        patience: Duration,
    ) -> Attempt {
        let sent = group.clone();
        let submit =
            |collection: Collection| async move { collection.submit(sent, deadline).await };
        let began = Instant::now();
        let called = self.call(replica, deadline, patience, submit).await;
        let took = began.elapsed();
        match called {
            Some(Called::Answered(Ok(judgement))) => {
                self.check_durable(&judgement, group);
                self.see(&judgement.state);
                self.tell_outcome(&judgement);
                Attempt::Judged(judgement)
            }
            Some(Called::Answered(Err(Error::OutcomeUnknown { .. }))) | Some(Called::Lost) => {
                self.world.trace.event(format_args!("c{} does not know", self.number));
                Attempt::Unknown
            }
            Some(Called::Answered(Err(error))) => {
                self.complain(replica, &error);
                self.world
                    .trace
                    .event(format_args!("c{} is refused: {error} {took:?}", self.number));
                Attempt::Nothing
            }
            None => Attempt::Nothing,
        }
    }

    /// Calls a replica; `None` where it is down. An answer later than `limit` is a finding.
    async fn call<T, F: Future<Output = T>>(
        &self,
        replica: Replica,
        limit: Duration,
        patience: Duration,
        call: impl FnOnce(Collection) -> F,
    ) -> Option<Called<T>> {
        let changed = self.world.changed(replica);
        let collection = self.world.serving(replica)?;
        let began = Instant::now();
        let called = tokio::select! {
            biased;
            () = changed => Called::Lost,
            answer = timeout(patience, call(collection)) => answer.map_or(Called::Lost, Called::Answered),
        };
        let took = began.elapsed();
        if took > limit + LATENESS_MAX {
            let late = format!("{replica} took {took:?} for what must be answered in {limit:?}");
            self.world.found(Violation(late));
        }
        Some(called)
    }

    async fn read(&mut self) {
        let replica = self.somewhere();
        let freshness = if self.rng.random_ratio(1, 8) {
            Freshness::AtMost(Duration::from_millis(self.rng.random_range(0..2_000)))
        } else {
            Freshness::Configured
        };
        let everything = self.rng.random_bool(0.5);
        self.read_at(replica, freshness, everything).await;
    }

    async fn read_at(&mut self, replica: Replica, freshness: Freshness, everything: bool) {
        let key = any_key(&mut self.rng);
        let invoked =
            self.world.trace.event(format_args!("c{} reads {replica} {key}", self.number));
        let limit = self.world.settings.options.read_deadline;
        let read = |collection: Collection| async move { collection.read(freshness).await };
        let reading = match self.call(replica, limit, limit * 2, read).await {
            Some(Called::Answered(Ok(reading))) => reading,
            Some(Called::Answered(Err(error))) => {
                self.complain(replica, &error);
                self.world.trace.event(format_args!("c{} reads nothing: {error}", self.number));
                return;
            }
            Some(Called::Lost) | None => return,
        };
        let bound = self.world.settings.options.max_staleness.unwrap_or_default();
        let bound = match freshness {
            Freshness::Configured => bound,
            Freshness::AtMost(age) => bound.min(age),
        };
        if reading.age > bound {
            let old =
                format!("{replica} answered {:?} old where {bound:?} is allowed", reading.age);
            self.world.found(Violation(old));
        }
        let current_at = self.world.trace.elapsed().saturating_sub(reading.age);
        let since = if reading.age.is_zero() {
            invoked
        } else {
            invoked.min(self.world.trace.last_before(current_at))
        };
        let seq = reading.state.seq();
        let seen = if everything { Seen::all(&reading.state) } else { Seen::movie(&reading, &key) };
        self.remember(&reading.state);
        let mut history = self.world.history();
        let answered =
            self.world.trace.event(format_args!("c{} sees {seq} {:?}", self.number, reading.age));
        history.reads.push(Read { since, answered, seq, seen });
    }

    /// Invariant 3: what is acknowledged is in the bucket, now.
    fn check_durable(&self, judgement: &Judgement, group: &Group) {
        let last = Seq(self.world.bucket.commit_count() as u64);
        let named = judgement.seq.unwrap_or(judgement.state.seq()).max(judgement.state.seq());
        if named > last {
            let early =
                format!("{:?} was acknowledged at {named} while the log ends at {last}", group.by);
            self.world.found(Violation(early));
        }
    }

    fn complain(&self, replica: Replica, error: &Error) {
        if error.is_final() {
            self.world.found(Violation(format!("{replica} has stopped: {error}")));
        }
    }

    /// Remembers a state; what it shows is checked like a read that may be as old as it likes.
    fn see(&mut self, state: &Arc<State>) {
        let answered =
            self.world.trace.event(format_args!("c{} has state {}", self.number, state.seq()));
        let read = Read { since: Moment(0), answered, seq: state.seq(), seen: Seen::all(state) };
        self.world.history().reads.push(read);
        self.remember(state);
    }

    fn remember(&mut self, state: &State) {
        let movies = Seen::movies(state).map(|(key, stored)| (key, stored.json)).collect();
        self.wishes.known = Known { tag: Some(state.tag()), movies };
    }

    fn tell(&self, verb: &str, group: &Group) -> Moment {
        let kinds: Vec<_> = group.ops.iter().map(|op| op.action.name()).collect();
        let key = group.key.as_ref().map(|(key, _)| key);
        self.world
            .trace
            .event(format_args!("c{} {verb} {:?} {key:?} {kinds:?}", self.number, group.by))
    }

    fn tell_outcome(&self, judgement: &Judgement) {
        let codes: Vec<_> = judgement.results.iter().map(|result| result.outcome.code).collect();
        let (seq, replayed) = (judgement.seq, judgement.replayed);
        self.world
            .trace
            .event(format_args!("c{} is told {seq:?} {codes:?} {replayed}", self.number));
    }

    /// Mostly the replica that it always asks.
    fn somewhere(&mut self) -> Replica {
        let all: Vec<_> = self.world.replicas().collect();
        let other = all.choose(&mut self.rng).copied();
        if self.rng.random_ratio(1, 4) { other.unwrap_or(self.home) } else { self.home }
    }
}
