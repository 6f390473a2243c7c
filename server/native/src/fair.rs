//! Who is heard first where more has come than is taken at once: from each connection as much as from any other. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Takes `most` off a queue that has more: of each owner's, oldest first, as many as of any other's, and what one leaves
/// unused is the others'. The order of what is taken, and of what stays, is that in which it came. What has no owner
/// goes when nothing else is left.
pub fn split<T>(queue: &mut VecDeque<T>, most: usize, whose: impl Fn(&T) -> Option<u64>) -> VecDeque<T> {
    let mut waiting: HashMap<u64, usize> = HashMap::new();
    for owner in queue.iter().filter_map(&whose) {
        *waiting.entry(owner).or_default() += 1;
    }
    let mut spare = most.saturating_sub(waiting.values().sum());
    let (level, mut more) = level(waiting.values().copied().collect(), most);
    let mut taken = VecDeque::with_capacity(most);
    let mut rest = VecDeque::with_capacity(queue.len().saturating_sub(most));
    let mut had: HashMap<u64, usize> = HashMap::with_capacity(waiting.len());
    for one in queue.drain(..) {
        let is_taken = if let Some(owner) = whose(&one) {
            let had = had.entry(owner).or_default();
            *had += 1;
            let is_more = *had == level + 1 && more > 0;
            more -= usize::from(is_more);
            *had <= level || is_more
        } else {
            let is_room = spare > 0;
            spare -= usize::from(is_room);
            is_room
        };
        if is_taken {
            taken.push_back(one);
        } else {
            rest.push_back(one);
        }
    }
    *queue = rest;
    taken
}

/// Up to how many each owner gets, and how many owners get one more, so that it is `most` together.
fn level(mut counts: Vec<usize>, most: usize) -> (usize, usize) {
    counts.sort_unstable();
    let (mut left, mut owners) = (most, counts.len());
    for count in counts {
        if count * owners > left {
            return (left / owners, left % owners);
        }
        left -= count;
        owners -= 1;
    }
    (usize::MAX - 1, 0)
}

/// How quickly what waits is taken, as long as there is always something left to take.
///
/// Known only then, from the quickest of the last times: whoever takes may stop for a moment, and that tells nothing of
/// what comes after it.
#[derive(Default)]
pub struct Pace {
    last: Option<(Instant, usize)>,
    seen: VecDeque<Duration>,
}

/// Times of one, of which the least counts.
const SEEN: usize = 4;
/// So many are evidence.
const ENOUGH: usize = 2;

impl Pace {
    /// So many calls are taken now, and there are more of them or not; returns what one takes, zero where that is not known.
    pub fn taken(&mut self, now: Instant, calls: usize, more: bool) -> Duration {
        if let Some((then, before)) = self.last {
            self.seen
                .push_back(now.saturating_duration_since(then) / u32::try_from(before).unwrap_or(u32::MAX));
            if self.seen.len() > SEEN {
                self.seen.pop_front();
            }
        }
        self.last = (more && calls > 0).then_some((now, calls));
        if self.last.is_none() {
            self.seen.clear();
        }
        if self.seen.len() < ENOUGH {
            return Duration::ZERO;
        }
        self.seen.iter().min().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner(one: &(u64, usize)) -> Option<u64> {
        (one.0 > 0).then_some(one.0)
    }

    #[test]
    fn a_flood_does_not_stand_before_the_others() {
        let mut queue: VecDeque<_> = (0..100).map(|at| (1, at)).collect();
        queue.extend([(2, 0), (3, 0), (2, 1)]);
        let taken = split(&mut queue, 10, owner);
        assert_eq!(
            taken
                .iter()
                .filter(|one| one.0 == 1)
                .map(|one| one.1)
                .collect::<Vec<_>>(),
            vec![0, 1, 2, 3, 4, 5, 6]
        );
        assert_eq!(taken.iter().filter(|one| one.0 == 2).count(), 2);
        assert_eq!(taken.iter().filter(|one| one.0 == 3).count(), 1);
        assert_eq!(queue.front(), Some(&(1, 7)));
    }

    #[test]
    fn what_has_no_owner_goes_last() {
        let mut queue = VecDeque::from([(1, 0), (0, 0), (1, 1), (1, 2)]);
        assert_eq!(split(&mut queue, 2, owner), [(1, 0), (1, 1)]);
        assert_eq!(queue, [(0, 0), (1, 2)]);
        let mut queue = VecDeque::from([(0, 0), (1, 0), (0, 1), (0, 2)]);
        assert_eq!(split(&mut queue, 3, owner), [(0, 0), (1, 0), (0, 1)]);
        assert_eq!(queue, [(0, 2)]);
    }

    #[test]
    fn the_pace_is_that_of_busy_times_and_not_that_of_a_pause() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let at = |ms: u64| began + Duration::from_millis(ms);
        assert_eq!(pace.taken(at(0), 100, true), Duration::ZERO);
        assert_eq!(pace.taken(at(500), 100, true), Duration::ZERO, "once is no evidence");
        assert_eq!(pace.taken(at(510), 100, true), Duration::from_micros(100));
        assert_eq!(pace.taken(at(530), 100, true), Duration::from_micros(100));
        assert_eq!(pace.taken(at(540), 5, false), Duration::ZERO, "nothing is left");
        assert_eq!(
            pace.taken(at(900), 100, true),
            Duration::ZERO,
            "between there was nothing to take"
        );
    }

    proptest! {
        #[test]
        fn each_gets_as_many_as_any_other_and_nothing_is_lost(
            owners in prop::collection::vec(1u64..6, 0..200),
            most in 1usize..100,
        ) {
            let all: Vec<_> = owners.iter().copied().enumerate().map(|(at, owner)| (owner, at)).collect();
            let mut queue: VecDeque<_> = all.iter().copied().collect();
            let taken = split(&mut queue, most, owner);
            prop_assert_eq!(taken.len(), most.min(all.len()));
            let mut both: Vec<_> = taken.iter().chain(&queue).copied().collect();
            both.sort_unstable_by_key(|one| one.1);
            prop_assert_eq!(both, all);
            let count = |of: &VecDeque<(u64, usize)>, owner| of.iter().filter(|one| one.0 == owner).count();
            for (one, two) in (1..6).flat_map(|one| (1..6).map(move |two| (one, two))) {
                // Who has something left got no less than anybody, but for one.
                prop_assert!(count(&queue, one) == 0 || count(&taken, one) + 1 >= count(&taken, two));
            }
            for of in [&taken, &queue] {
                prop_assert!(of.iter().zip(of.iter().skip(1)).all(|(one, next)| one.1 < next.1));
            }
        }
    }
}
