//! States that downloads hold while writes go on: a budget for the old pages that only they keep
//! in memory. Never waits, and never looks into a page.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;

use crate::state::State;

/// The pinned states of one collection.
///
/// What they hold is bounded from above without looking at a page: a page that some pinned state
/// has and the current one has not was replaced between two pinned states that follow each other
/// (or the last and the current one), and is held by the earlier one of them. So each such gap
/// holds at most the bytes that were retired in it, and at most the earlier state's size.
#[derive(Debug)]
pub(crate) struct Pins {
    bytes_max: u64,
    pinned: Mutex<Pinned>,
}

#[derive(Debug, Default)]
struct Pinned {
    next: u64,
    /// By the bytes that had been retired at each state, which orders them by age.
    slots: BTreeMap<Place, Slot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    retired_bytes: u64,
    number: u64,
}

#[derive(Debug)]
struct Slot {
    wire_bytes: u64,
    state: Arc<ArcSwapOption<State>>,
}

impl Pins {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, pinned: Mutex::default() }
    }

    pub(crate) fn pin(self: &Arc<Self>, state: Arc<State>) -> Pin {
        let movies = state.movies();
        let (retired_bytes, wire_bytes) = (movies.retired_bytes(), movies.wire_bytes());
        let state = Arc::new(ArcSwapOption::new(Some(state)));
        let mut pinned = self.pinned();
        let place = Place { retired_bytes, number: pinned.next };
        pinned.next += 1;
        pinned.slots.insert(place, Slot { wire_bytes, state: Arc::clone(&state) });
        drop(pinned);
        Pin { pins: Arc::clone(self), place, state }
    }

    /// Takes the oldest states away until the rest holds no more than it may beside `current`.
    pub(crate) fn enforce(&self, current: &State) {
        let mut later = current.movies().retired_bytes();
        let mut pinned = self.pinned();
        let oldest = pinned.slots.keys().next().map(|place| place.retired_bytes);
        if oldest.is_none_or(|oldest| later.abs_diff(oldest) <= self.bytes_max) {
            return;
        }
        let mut held_bytes = 0;
        let mut first_kept = None;
        for (place, slot) in pinned.slots.iter().rev() {
            // A state that was pinned as its successor appeared counts as whole.
            let retired = later.checked_sub(place.retired_bytes).unwrap_or(u64::MAX);
            held_bytes += retired.min(slot.wire_bytes);
            if held_bytes > self.bytes_max {
                break;
            }
            first_kept = Some(*place);
            later = place.retired_bytes;
        }
        let kept = first_kept.map(|place| pinned.slots.split_off(&place)).unwrap_or_default();
        let cut = std::mem::replace(&mut pinned.slots, kept);
        drop(pinned);
        if cut.is_empty() {
            return;
        }
        for slot in cut.values() {
            slot.state.store(None);
        }
        tracing::warn!(
            downloads = cut.len(),
            bytes_max = self.bytes_max,
            "slow downloads were cut: old pages that only they held were over the limit"
        );
    }

    /// How many states are pinned, and the most bytes of old pages that they can hold beside
    /// `current`.
    pub(crate) fn held(&self, current: &State) -> (usize, u64) {
        let mut later = current.movies().retired_bytes();
        let pinned = self.pinned();
        let gaps = pinned.slots.iter().rev().map(|(place, slot)| {
            let retired = later.checked_sub(place.retired_bytes).unwrap_or(u64::MAX);
            later = place.retired_bytes;
            retired.min(slot.wire_bytes)
        });
        let bytes = gaps.sum();
        (pinned.slots.len(), bytes)
    }

    fn pinned(&self) -> MutexGuard<'_, Pinned> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A state that is held until this is dropped, or until it is [cut](Self::state).
pub struct Pin {
    pins: Arc<Pins>,
    place: Place,
    state: Arc<ArcSwapOption<State>>,
}

impl Pin {
    /// The state; `None` from when old pages went over their budget. Whoever is in the middle of
    /// it must end in an error, for what follows is gone. Do not keep it between two uses.
    #[must_use]
    pub fn state(&self) -> Option<Arc<State>> {
        self.state.load_full()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.pinned().slots.remove(&self.place);
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pin").field(&self.place).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::key::{LogId, MovieKey, Seq, Year};
    use crate::movie::{Movie, MovieLimits};
    use crate::page::Page;
    use crate::snapshot::Edits;
    use crate::snapshot::Snapshot;

    fn after(state: &State, numbers: impl IntoIterator<Item = u16>, text: &str) -> Arc<State> {
        let edits: Edits = numbers
            .into_iter()
            .map(|number| {
                let key = MovieKey::parse(&format!("{number:05}"), Year::new(2000).unwrap());
                let body = format!("{{\"a\":\"{}\"}}", text.repeat(1_000));
                let movie = Movie::parse(key.unwrap(), body.as_bytes(), MovieLimits::default());
                let movie = movie.unwrap();
                (movie.key().clone(), Some((movie, Seq(1))))
            })
            .collect();
        Arc::new(State { movies: state.movies.with(&edits, Seq(1)), ..state.clone() })
    }

    fn pages(state: &State) -> BTreeMap<*const Page, u64> {
        let pages = state.movies.pages();
        pages.map(|page| (Arc::as_ptr(page), page.wire().len() as u64)).collect()
    }

    /// The bytes of pages that only pinned states have.
    fn truly_held(pins: &[Pin], current: &State) -> u64 {
        let mut held: BTreeMap<_, _> =
            pins.iter().filter_map(Pin::state).flat_map(|state| pages(&state)).collect();
        for page in pages(current).keys() {
            held.remove(page);
        }
        held.values().sum()
    }

    #[test]
    fn the_oldest_are_cut_and_only_they() {
        let first = after(&State::empty(LogId::ZERO), 0..600, "x");
        let pins = Arc::new(Pins::new(500_000));
        let (old, old_too) = (pins.pin(Arc::clone(&first)), pins.pin(Arc::clone(&first)));
        let second = after(&first, 0..300, "y");
        pins.enforce(&second);
        assert!(old.state().is_some());
        let young = pins.pin(Arc::clone(&second));
        let third = after(&second, 100..400, "z");
        pins.enforce(&third);
        assert!(old.state().is_none() && old_too.state().is_none());
        assert!(young.state().is_some());
        // Dropped by all but us: their memory is free.
        assert_eq!(Arc::strong_count(&first), 1);
        drop((old, old_too, young));
        assert!(pins.pinned().slots.is_empty());
    }

    #[test]
    fn a_dropped_collection_counts_as_written() {
        let first = after(&State::empty(LogId::ZERO), 0..600, "x");
        let pins = Arc::new(Pins::new(500_000));
        let pin = pins.pin(Arc::clone(&first));
        let movies = Snapshot::default().replacing(&first.movies);
        pins.enforce(&State { movies, ..State::clone(&first) });
        assert!(pin.state().is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_held_never_exceeds_the_budget(
            writes in vec((vec(0_u16..600, 1..20), any::<bool>(), "[a-z]"), 1..40),
            bytes_max in 0_u64..1_000_000,
        ) {
            let mut current = after(&State::empty(LogId::ZERO), 0..600, "x");
            let all = Arc::new(Pins::new(bytes_max));
            let mut pins = Vec::new();
            for (numbers, is_pinned, text) in writes {
                if is_pinned {
                    pins.push(all.pin(Arc::clone(&current)));
                }
                current = after(&current, numbers, &text);
                all.enforce(&current);
                prop_assert!(truly_held(&pins, &current) <= bytes_max);
                // The cut ones are the oldest.
                let cut: Vec<bool> = pins.iter().map(|pin| pin.state().is_none()).collect();
                prop_assert!(cut.is_sorted_by(|a, b| a >= b), "{:?}", cut);
            }
        }
    }
}
