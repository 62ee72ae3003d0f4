//! What the server does wrong, and when: standing quirks, rules for single requests, and the
//! requests that are held back. It never touches an object: `serve` carries the verdicts out.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::sync::oneshot;

use super::actions::{Operation, Target};

/// Whether and when a request does its work, whatever is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Never.
    Never,
    /// Before the answer, as it should be.
    Now,
    /// This long after the answer.
    Late(Duration),
    /// When the test calls [`Faults::release`].
    Held,
}

/// What the client is told, whatever was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The true outcome. Only an effect [`Effect::Now`] has one; of any other it is a 500.
    Honest,
    /// 500 `InternalError`.
    InternalError,
    /// 503 `SlowDown`.
    SlowDown,
    /// 409 `ConditionalRequestConflict`, which S3 sends to conditional writes that met another.
    Conflict,
    /// 412 `PreconditionFailed`.
    PreconditionFailed,
    /// 403 `AccessDenied`.
    AccessDenied,
    /// 404 `NoSuchBucket`.
    NoSuchBucket,
    /// 404 with an HTML page: an ingress that has lost its backend, no word of S3.
    NotFoundPage,
    /// The connection is closed without an answer.
    Reset,
    /// The connection stays open and nothing ever comes.
    Silence,
}

/// One way to go wrong: an effect and an answer, chosen apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens to the objects.
    pub effect: Effect,
    /// What the client hears.
    pub answer: Answer,
}

impl Fault {
    /// No fault: for rules that only delay.
    pub const NONE: Self = Self::new(Effect::Now, Answer::Honest);
    /// 503 `SlowDown`; nothing is done.
    pub const SLOW_DOWN: Self = Self::new(Effect::Never, Answer::SlowDown);
    /// 409 `ConditionalRequestConflict`; nothing is done.
    pub const CONFLICT: Self = Self::new(Effect::Never, Answer::Conflict);
    /// 500; nothing is done.
    pub const ERROR_BEFORE_EFFECT: Self = Self::new(Effect::Never, Answer::InternalError);
    /// Done, then 500.
    pub const ERROR_AFTER_EFFECT: Self = Self::new(Effect::Now, Answer::InternalError);
    /// The connection is closed; nothing is done.
    pub const RESET_BEFORE_EFFECT: Self = Self::new(Effect::Never, Answer::Reset);
    /// Done, then the connection is closed.
    pub const RESET_AFTER_EFFECT: Self = Self::new(Effect::Now, Answer::Reset);
    /// Done, and never answered.
    pub const LOST_ANSWER: Self = Self::new(Effect::Now, Answer::Silence);
    /// Done, and answered as if another had been first.
    pub const FALSE_CONFLICT: Self = Self::new(Effect::Now, Answer::PreconditionFailed);
    /// 500 at once; done when the test calls [`Faults::release`].
    pub const HELD: Self = Self::new(Effect::Held, Answer::InternalError);
    /// 404 with an HTML page, whether the object exists or not.
    pub const FALSE_404_PAGE: Self = Self::new(Effect::Never, Answer::NotFoundPage);
    /// 404 `NoSuchBucket`, though the bucket exists.
    pub const FALSE_404_BUCKET: Self = Self::new(Effect::Never, Answer::NoSuchBucket);
    /// 403; nothing is done.
    pub const DENIED: Self = Self::new(Effect::Never, Answer::AccessDenied);

    /// This effect with this answer.
    pub const fn new(effect: Effect, answer: Answer) -> Self {
        Self { effect, answer }
    }

    /// 500 at once; done this much later.
    pub const fn late(after: Duration) -> Self {
        Self::new(Effect::Late(after), Answer::InternalError)
    }
}

/// Which requests meet a fault. Without a narrowing word it is every request, for good.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    delay: Duration,
    operation: Option<Operation>,
    key_part: String,
    only_conditional: Conditional,
    left: Option<usize>,
    probability: f64,
}

/// Which requests a rule looks at by their preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conditional {
    Only,
    Any,
}

impl Rule {
    /// Every request meets this fault.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            delay: Duration::ZERO,
            operation: None,
            key_part: String::new(),
            only_conditional: Conditional::Any,
            left: None,
            probability: 1.0,
        }
    }

    /// Only requests of this operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only requests whose key contains this.
    #[must_use]
    pub fn key(mut self, part: &str) -> Self {
        part.clone_into(&mut self.key_part);
        self
    }

    /// Only requests that carry `If-Match` or `If-None-Match`.
    #[must_use]
    pub fn conditional(mut self) -> Self {
        self.only_conditional = Conditional::Only;
        self
    }

    /// Only the next `count` requests that fit.
    #[must_use]
    pub fn next(mut self, count: usize) -> Self {
        self.left = Some(count);
        self
    }

    /// Only with this probability, drawn from the server's seed.
    #[must_use]
    pub fn chance(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// The request waits this long before anything else happens to it.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn fits(&self, target: &Target) -> bool {
        self.left != Some(0)
            && self.operation.is_none_or(|operation| operation == target.operation)
            && target.key.contains(&self.key_part)
            && (self.only_conditional == Conditional::Any || target.conditional)
    }
}

/// How a whole server is unlike S3, for as long as it lasts.
#[derive(Clone, Debug, Default)]
pub struct Quirks {
    /// `If-None-Match: *` on a PUT is not looked at: it overwrites in silence.
    pub ignore_conditions: bool,
    /// `If-Match` on a PUT is not looked at.
    pub ignore_if_match: bool,
    /// A quoted `If-Match` on a PUT is always refused, as by Ceph RGW 16.2.
    pub refuse_quoted_if_match: bool,
    /// The credentials lack `s3:ListBucket`: LIST is 403, and so is a GET of what is absent.
    pub no_list_permission: bool,
    /// Every write is 403.
    pub deny_put: bool,
    /// `Date` and `Last-Modified` are this many seconds ahead of the true time, or behind it.
    pub clock_offset_s: i64,
    /// Every request waits this long before it is looked at.
    pub latency: Duration,
}

/// The switches of a running server. A cheap handle: clones steer the same server.
#[derive(Clone)]
pub struct Faults {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    quirks: Quirks,
    rules: Vec<Rule>,
    held: Vec<Held>,
    rng: ChaCha12Rng,
}

/// A held request waits for this word, and says when it is done.
type Held = oneshot::Sender<mpsc::Sender<()>>;

/// What a request has to go through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) fault: Fault,
    pub(super) delay: Duration,
}

impl Faults {
    pub(super) fn new(quirks: Quirks, seed: u64) -> Self {
        let rng = ChaCha12Rng::seed_from_u64(seed);
        let inner = Inner { quirks, rules: Vec::new(), held: Vec::new(), rng };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Adds a rule. Of several that fit a request, the one added first decides.
    pub fn add(&self, rule: Rule) {
        self.lock().rules.push(rule);
    }

    /// Takes all rules away; quirks stay, and so do requests that are held.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// The quirks as they are now.
    pub fn quirks(&self) -> Quirks {
        self.lock().quirks.clone()
    }

    /// Changes the quirks for every request from now on.
    pub fn change(&self, change: impl FnOnce(&mut Quirks)) {
        change(&mut self.lock().quirks);
    }

    /// How many requests are held for [`Faults::release`].
    pub fn held(&self) -> usize {
        self.lock().held.len()
    }

    /// Lets the held requests take effect, in the order of their arrival, and returns how many
    /// there were when the last is done. It blocks the thread for that moment: the server has
    /// a thread of its own.
    pub fn release(&self) -> usize {
        let held = std::mem::take(&mut self.lock().held);
        let count = held.len();
        for request in held {
            let (done, finished) = mpsc::channel();
            if request.send(done).is_ok() {
                // An error says that the server stopped in between: nothing is left to wait for.
                finished.recv().unwrap_or(());
            }
        }
        count
    }

    /// Enters a request among the held ones; the receiver hears of the release.
    pub(super) fn hold(&self) -> oneshot::Receiver<mpsc::Sender<()>> {
        let (release, released) = oneshot::channel();
        self.lock().held.push(release);
        released
    }

    pub(super) fn judge(&self, target: &Target) -> Verdict {
        let mut inner = self.lock();
        let Inner { quirks, rules, rng, .. } = &mut *inner;
        for rule in rules {
            if rule.fits(target) && rng.random_bool(rule.probability) {
                rule.left = rule.left.map(|left| left - 1);
                return Verdict { fault: rule.fault, delay: quirks.latency + rule.delay };
            }
        }
        Verdict { fault: Fault::NONE, delay: quirks.latency }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("Faults")
            .field("quirks", &inner.quirks)
            .field("rules", &inner.rules)
            .field("held", &inner.held.len())
            .finish_non_exhaustive()
    }
}
