//! Time passes: deadlines, signs of life, and the age of a connection.

use super::*;

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Does what is due, and sees to being woken for the next; true where the connection is to end.
    pub(super) fn watch_time(&mut self, context: &mut Context<'_>) -> bool {
        let earliest = self.deadlines.first().map(|&(deadline, _)| deadline);
        if earliest.is_some_and(|deadline| deadline < self.timer_at) {
            self.set_timer(earliest.unwrap_or(self.timer_at));
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            while let Some(&(deadline, place)) = self.deadlines.first() {
                if deadline > now {
                    break;
                }
                self.deadlines.pop_first();
                self.guarded(place, Self::too_late);
            }
            self.post();
            let Some(next) = self.look_after_peer(now) else {
                return true;
            };
            let earliest = self.deadlines.first().map_or(next, |&(deadline, _)| deadline.min(next));
            self.set_timer(earliest);
        }
        // HTTP/2 takes no other ping before the answer to the last one has been taken.
        if self.is_pinged {
            if let Some(ping) = &mut self.ping {
                self.is_pinged = ping.poll_pong(context).is_pending();
            }
        }
        false
    }

    fn send_ping(&mut self) {
        if !self.is_pinged {
            if let Some(ping) = &mut self.ping {
                self.is_pinged = ping.send_ping(Ping::opaque()).is_ok();
            }
        }
    }

    pub(super) fn set_timer(&mut self, at: Instant) {
        self.timer_at = at;
        self.timer.as_mut().reset(at.into());
    }

    /// Keepalive and age; returns when to look again, None where the connection is to end.
    pub(super) fn look_after_peer(&mut self, now: Instant) -> Option<Instant> {
        let mut next = match self.keepalive.look(now, self.has_read.swap(false, Ordering::Relaxed)) {
            Due::Later(then) => then,
            Due::Ping(then) => {
                self.send_ping();
                then
            }
            Due::GivenUp => return None,
        };
        let limits = &self.shared.server.limits;
        if let Some(limit) = self.age_limit {
            if now < limit {
                next = next.min(limit);
            } else if now >= limit + limits.connection_age_grace {
                return None;
            } else {
                next = next.min(limit + limits.connection_age_grace);
                self.drain();
            }
        }
        Some(next)
    }
}

/// Up to a tenth less, by the connection's number, so that those that came together do not leave together.
pub(super) fn jittered(age: Duration, number: u64) -> Duration {
    let share = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64;
    age.mul_f64(1.0 - 0.1 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_over_a_tenth_below() {
        let age = Duration::from_secs(100);
        let ages: Vec<_> = (0..1000).map(|number| jittered(age, number)).collect();
        assert!(ages.iter().all(|&one| one <= age && one >= age.mul_f64(0.9)));
        assert!(ages.iter().max().unwrap().as_secs_f64() - ages.iter().min().unwrap().as_secs_f64() > 9.0);
    }
}
