//! What differs from seed to seed: how many replicas and clients there are, how far off, how
//! unlucky, and how small their queues are.

use std::time::Duration;

use movies_store::{CheckpointOptions, Options};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use crate::bucket::Replica;
use crate::faults::{Distance, Faults};
use crate::peers::Ways;

/// One seed's world.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One distance a replica.
    pub distances: Vec<Distance>,
    /// How many clients there are.
    pub clients: u8,
    /// How many requests each makes.
    pub requests_a_client: u32,
    /// A client's longest pause between two requests, in milliseconds.
    pub pause_ms_max: u64,
    /// What goes wrong with requests.
    pub faults: Faults,
    /// The longest quiet time between two blows (a cut, a stall, a crash, a jump of a clock);
    /// `None`: no blows.
    pub blows: Option<Duration>,
    /// The longest time between two commits of the peer that copies batches; `None`: no peer.
    pub peer: Option<Duration>,
    /// The longest time between two edits of the published file; `None`: nobody edits it.
    pub editor: Option<Duration>,
    /// The ways between replicas; `None`: they do not know of one another.
    pub ways: Option<Ways>,
    /// Whether one replica is stalled for a week, while old commits are pruned.
    pub week: bool,
    /// What the published file holds before the log is born.
    pub file: Option<&'static str>,
    /// Of the store.
    pub options: Options,
}

impl Settings {
    /// Draws a world.
    pub fn draw(rng: &mut impl Rng, requests: u32) -> Self {
        let mut pick = |from: &[u64]| from.choose(rng).copied().unwrap_or_default();
        let poll = Duration::from_millis(pick(&[200, 1_000, 5_000]));
        let queue_groups_max = pick(&[1, 2, 10_000]);
        let batch_ops_max = pick(&[1, 2, 10_000]);
        let staleness = pick(&[0, 0, 0, 500, 3_000]);
        let read_deadline = Duration::from_millis(pick(&[2_000, 10_000]));
        let replicas = pick(&[1, 2, 3, 3]);
        let way = pick(&[2, 20, 100]);
        let clients = pick(&[2, 3, 5, 8]);
        let pause_ms_max = pick(&[0, 50, 1_000, 5_000]);
        let blows = pick(&[0, 3_000, 10_000, 30_000]);
        let peer = pick(&[0, 200, 1_000, 5_000]);
        let checkpoints = CheckpointOptions {
            commit_bytes: pick(&[300, 4_000, 4_000_000]),
            commits: pick(&[1, 5, 20_000]),
            quiet: Duration::from_millis(pick(&[10, 1_000])),
            quiet_period: Duration::from_millis(pick(&[0, 10_000])),
            patience: Duration::from_millis(pick(&[100, 5_000])),
            file_bytes: pick(&[1, 200, 8_000_000]),
            grace: Duration::from_millis(pick(&[1_000, 86_400_000])),
        };
        let publish = pick(&[0, 1, 5_000]);
        let file = [None, Some("[{}]"), Some(A_FILE)].choose(rng).copied().flatten();
        let some = |ms| (ms > 0).then(|| Duration::from_millis(ms));
        let narrow = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let clients = u8::try_from(clients).unwrap_or(u8::MAX);
        let mut settings = Self {
            distances: (0..replicas)
                .map(|_| Distance { way_ms: rng.random_range(way / 2..=way * 2), tail: 10 })
                .collect(),
            clients,
            requests_a_client: requests.div_ceil(clients.into()),
            pause_ms_max,
            faults: Faults::draw(rng),
            blows: some(blows),
            peer: some(peer),
            editor: None,
            ways: None,
            week: false,
            file,
            options: Options {
                max_staleness: some(staleness),
                poll,
                queue_groups_max: narrow(queue_groups_max),
                batch_ops_max: narrow(batch_ops_max),
                read_deadline,
                checkpoints,
                publish: some(publish),
                ..Options::default()
            },
        };
        let mut pick = |from: &[u64]| from.choose(rng).copied().unwrap_or_default();
        settings.options.adopt = some(pick(&[0, 500, 5_000]));
        // Where nobody adopts, an edit stays in the way of publication.
        settings.editor =
            some(pick(&[0, 2_000, 20_000])).filter(|_| settings.options.adopt.is_some());
        settings
    }

    /// A week is drawn as well, now and then, where there is somebody to prune meanwhile.
    pub fn draw_week(&mut self, rng: &mut impl Rng) {
        self.week = rng.random_ratio(1, 40) && self.distances.len() > 1;
        if self.week {
            // A week of polls is long enough so.
            (self.options.poll, self.options.max_staleness) = (Duration::from_secs(60), None);
            self.options.checkpoints.commits = 5;
            // Where commits are pruned nobody can tell what an old edit was made from.
            (self.options.adopt, self.editor) = (None, None);
        }
    }

    /// The replicas.
    pub fn replicas(&self) -> impl Iterator<Item = (Replica, Distance)> + '_ {
        (1..).zip(&self.distances).map(|(number, distance)| (Replica(number), *distance))
    }
}

/// Two of the movies that clients write as well, and one that they never touch.
const A_FILE: &str = r#"[
{"name":"Alien","year":1979,"director":"Ridley Scott"},
{"name":"Metropolis","year":1927},
{"name":"Solaris","year":1972}
]"#;
