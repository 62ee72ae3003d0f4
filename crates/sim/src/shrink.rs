//! A case that breaks a rule, made smaller as long as it still breaks one: fewer things that go wrong
//! and fewer requests are easier to follow. (Zeller and Hildebrandt, "Simplifying and Isolating
//! Failure-Inducing Input", 2002, with one part at a time, since what a seed draws has few.)

use crate::seeds::{Case, Part};

/// Below so many requests nothing gets easier to follow.
const REQUESTS_MIN: u32 = 5;

/// The smallest case that was found; `breaks` tells whether one breaks a rule, any rule.
pub fn shrink(mut case: Case, breaks: impl Fn(Case) -> bool) -> Case {
    loop {
        let before = case;
        for part in Part::ALL {
            let without = Case { without: case.without.and(part), ..case };
            if without != case && breaks(without) {
                case = without;
            }
        }
        // Halves, then smaller steps.
        let mut step = case.requests / 2;
        while step > 0 {
            let fewer = Case { requests: case.requests - step, ..case };
            if fewer.requests >= REQUESTS_MIN && breaks(fewer) {
                case = fewer;
                step = step.min(case.requests / 2);
            } else {
                step /= 2;
            }
        }
        if case == before {
            return case;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::Parts;

    #[test]
    fn what_does_not_matter_is_left_out_and_what_does_stays() {
        let whole = Case::drawn(7, 1_000);
        let breaks = |case: Case| !case.without.has(Part::LostAnswer) && case.requests >= 37;
        let small = shrink(whole, breaks);
        assert_eq!((small.seed, small.requests), (7, 37));
        let left: Vec<Part> =
            Part::ALL.into_iter().filter(|part| !small.without.has(*part)).collect();
        assert_eq!(left, [Part::LostAnswer]);
    }

    #[test]
    fn what_breaks_only_as_a_whole_stays_whole() {
        let whole = Case::drawn(7, 50);
        let breaks = |case: Case| case.without == Parts::NONE && case.requests == 50;
        assert_eq!(shrink(whole, breaks), whole);
    }
}
