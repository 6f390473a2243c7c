//! Whether a silent peer is still there: when it is asked, and when it is given up.

use std::time::{Duration, Instant};

/// This process may have stood still, and what the peer has said meanwhile lie unread: a timer may be heard before that.
const LAST_LOOK: Duration = Duration::from_millis(10);

pub(super) struct Keepalive {
    every: Duration,
    patience: Duration,
    silent_since: Instant,
    asked: Option<Instant>,
    is_last_look: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing until then.
    Later(Instant),
    /// A ping, and a look whether it was answered then.
    Ping(Instant),
    GivenUp,
}

impl Keepalive {
    /// A peer that was heard `now` is asked after `every`, and has `patience` to say anything.
    pub(super) fn new(every: Duration, patience: Duration, now: Instant) -> Self {
        Keepalive {
            every,
            patience,
            silent_since: now,
            asked: None,
            is_last_look: false,
        }
    }

    pub(super) fn look(&mut self, now: Instant, was_heard: bool) -> Due {
        if was_heard {
            *self = Keepalive::new(self.every, self.patience, now);
        }
        match self.asked.map(|asked| asked + self.patience) {
            None if now < self.silent_since + self.every => Due::Later(self.silent_since + self.every),
            None => {
                self.asked = Some(now);
                Due::Ping(now + self.patience)
            }
            Some(until) if now < until => Due::Later(until),
            Some(_) if !self.is_last_look => {
                self.is_last_look = true;
                Due::Later(now + LAST_LOOK)
            }
            Some(_) => Due::GivenUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(60);
    const PATIENCE: Duration = Duration::from_secs(20);
    const LITTLE: Duration = Duration::from_millis(1);

    fn peer() -> (Keepalive, Instant) {
        let now = Instant::now();
        (Keepalive::new(EVERY, PATIENCE, now), now)
    }

    #[test]
    fn who_says_nothing_is_asked_and_given_up_after_a_last_look() {
        let (mut peer, begun) = peer();
        let due = begun + EVERY;
        assert_eq!(peer.look(due - LITTLE, false), Due::Later(due));
        assert_eq!(peer.look(due, false), Due::Ping(due + PATIENCE));
        assert_eq!(peer.look(due + LITTLE, false), Due::Later(due + PATIENCE));
        assert_eq!(peer.look(due + PATIENCE, false), Due::Later(due + PATIENCE + LAST_LOOK));
        assert_eq!(peer.look(due + PATIENCE + LAST_LOOK, false), Due::GivenUp);
    }

    #[test]
    fn who_answers_has_all_his_time_again_also_at_the_last_look() {
        for looks in 0..3 {
            let (mut peer, begun) = peer();
            let mut now = begun + EVERY;
            for _ in 0..looks {
                peer.look(now, false);
                now += PATIENCE;
            }
            assert_eq!(peer.look(now, true), Due::Later(now + EVERY), "after {looks} looks");
            assert_eq!(peer.look(now + EVERY, false), Due::Ping(now + EVERY + PATIENCE));
        }
    }

    #[test]
    fn nobody_is_given_up_who_was_not_asked_however_long_nobody_looked() {
        let (mut peer, begun) = peer();
        let late = begun + 10 * (EVERY + PATIENCE);
        assert_eq!(peer.look(late, false), Due::Ping(late + PATIENCE));
        let later = late + 10 * PATIENCE;
        assert_eq!(peer.look(later, false), Due::Later(later + LAST_LOOK));
        assert_eq!(
            peer.look(later + LAST_LOOK, true),
            Due::Later(later + LAST_LOOK + EVERY)
        );
    }
}
