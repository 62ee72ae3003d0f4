//! What is run: a seed, and how much of what it draws. Those that failed once are run first, for good.

use std::fmt;

use clap::ValueEnum;
use movies_store::CheckpointOptions;

use crate::faults::Faults;
use crate::peers::Ways;
use crate::settings::Settings;

/// Something that a seed draws and that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Replicas know of one another.
    Forwarding,
    /// Messages between them are lost, late or doubled.
    PeerFaults,
    /// Somebody edits the published file.
    Editor,
    /// A peer commits copies of batches.
    Copies,
    /// Replicas are cut off, stalled and killed, and their clocks jump.
    Blows,
    /// There is a file before there is a log.
    File,
    /// Reads may be old.
    Staleness,
    /// Checkpoints come often.
    Checkpoints,
    /// One replica is stalled for a week.
    Week,
    /// Connections break before the bucket has seen the request.
    Broken,
    /// The bucket asks to slow down.
    SlowDown,
    /// Answers are lost.
    LostAnswer,
    /// Requests take effect late.
    LateEffect,
    /// A client library repeats a create by itself.
    FalseConflict,
    /// S3 refuses a create in passing.
    IdleConflict,
    /// An ingress answers 404.
    FalseAbsence,
    /// Requests hang.
    Hang,
}

impl Part {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 17] = [
        Self::Forwarding,
        Self::PeerFaults,
        Self::Editor,
        Self::Copies,
        Self::Blows,
        Self::File,
        Self::Staleness,
        Self::Checkpoints,
        Self::Week,
        Self::Broken,
        Self::SlowDown,
        Self::LostAnswer,
        Self::LateEffect,
        Self::FalseConflict,
        Self::IdleConflict,
        Self::FalseAbsence,
        Self::Hang,
    ];

    /// Takes it out of what was drawn.
    fn leave_out(self, settings: &mut Settings) {
        let Settings { faults, options, .. } = settings;
        let Faults {
            broken,
            slow_down,
            lost_answer,
            late_effect,
            false_conflict,
            idle_conflict,
            false_absence,
            hang,
        } = faults;
        match self {
            Self::Forwarding => settings.ways = None,
            Self::PeerFaults => settings.ways = settings.ways.map(Ways::sound),
            Self::Editor => settings.editor = None,
            Self::Copies => settings.peer = None,
            Self::Blows => settings.blows = None,
            Self::File => settings.file = None,
            Self::Staleness => options.max_staleness = None,
            Self::Checkpoints => options.checkpoints = CheckpointOptions::default(),
            Self::Week => settings.week = false,
            Self::Broken => *broken = 0,
            Self::SlowDown => *slow_down = 0,
            Self::LostAnswer => *lost_answer = 0,
            Self::LateEffect => *late_effect = 0,
            Self::FalseConflict => *false_conflict = 0,
            Self::IdleConflict => *idle_conflict = 0,
            Self::FalseAbsence => *false_absence = 0,
            Self::Hang => *hang = 0,
        }
    }
}

/// A set of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Parts(u32);

impl Parts {
    /// None.
    pub const NONE: Self = Self(0);

    /// These, and one more.
    #[must_use]
    pub const fn and(self, part: Part) -> Self {
        Self(self.0 | 1 << part as u32)
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn has(self, part: Part) -> bool {
        self.0 & 1 << part as u32 != 0
    }

    fn all(self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(move |part| self.has(*part))
    }
}

impl FromIterator<Part> for Parts {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        parts.into_iter().fold(Self::NONE, Self::and)
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.all()).finish()
    }
}

/// One run, but for the bugs of the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Everything follows from it.
    pub seed: u64,
    /// About how many requests the clients make.
    pub requests: u32,
    /// What is left out of what the seed draws.
    pub without: Parts,
}

impl Case {
    /// All that a seed draws.
    #[must_use]
    pub const fn drawn(seed: u64, requests: u32) -> Self {
        Self { seed, requests, without: Parts::NONE }
    }

    /// From before replicas knew of one another.
    const fn alone(seed: u64) -> Self {
        Self { seed, requests: 200, without: Parts::NONE.and(Part::Forwarding) }
    }

    pub(crate) fn leave_out(self, settings: &mut Settings) {
        self.without.all().for_each(|part| part.leave_out(settings));
    }
}

/// As `cargo xtask sim` takes it.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--seed {} --ops {}", self.seed, self.requests)?;
        let names: Vec<String> = self
            .without
            .all()
            .filter_map(|part| Some(part.to_possible_value()?.get_name().to_owned()))
            .collect();
        if names.is_empty() { Ok(()) } else { write!(f, " --without {}", names.join(",")) }
    }
}

/// In a comment what each found.
pub const FAILED_ONCE: &[Case] = &[
    // A submit took its deadline and a read's on top.
    Case::alone(143),
    // A collection that had just been opened took its state for as young as its opening.
    Case::alone(162),
    Case::alone(217),
    // A fault in the self-test made the published file be overwritten without a condition.
    Case::alone(165),
    // An edition whose op was lost was taken for a stranger's when its checkpoint had gone.
    Case::alone(243),
    // A passing conflict was taken for another's checkpoint, and what was published from it for a
    // stranger's.
    Case::alone(142),
    // An edit from before the collection was dropped brought back what was deleted then; in the
    // second, with one movie that was written alike before and after.
    Case::alone(493),
    Case::alone(910),
    // What editor and API had both deleted spoke for the wrong version, and an older text of a movie
    // came back.
    Case::drawn(1_000, 2_000),
    // An editor went back to a text that was copied and never taken over: the rule was too strict.
    Case::drawn(627, 2_100),
];
