//! Whether an I/O thread sleeps once it has answered, or looks for the next call first.
//!
//! Who has one call in flight comes back some 50 us after each answer. To sleep so long costs more than to stay awake:
//! the processor halts, is woken by an interrupt, and has forgotten what the next call needs, in Python above all. So
//! where a lone call came soon after the answer before it, the next one is looked for, for about as long as sleeping
//! costs: never more than twice the cost of what would have been right (Karlin et al., Empirical studies of competitive
//! spinning for a shared-memory multiprocessor, SOSP 1991). Several callers are not looked for, as their calls gather
//! while the thread is woken.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::yield_now;

/// What it costs to sleep, by a virtual machine's measure, and for how long it is looked.
const MOST: Duration = Duration::from_micros(200);
/// Who looked for longer has given the processor to others, for whom he had better sleep: they have it for a slice each
/// time that he does not.
const OTHERS: Duration = Duration::from_millis(1);
const CROWDED: Duration = Duration::from_millis(100);
const NEVER: u64 = 0;

/// One for each I/O thread, which alone writes it.
pub struct Lookout {
    /// Times are nanoseconds since then.
    then: Instant,
    /// Unary calls that are not answered.
    under_way: AtomicUsize,
    /// Whether there was one at a time since there was none.
    is_alone: AtomicBool,
    is_soon: AtomicBool,
    answered: AtomicU64,
    crowded_until: AtomicU64,
    due: Notify,
}

impl Default for Lookout {
    fn default() -> Self {
        Lookout {
            then: Instant::now(),
            under_way: AtomicUsize::new(0),
            is_alone: AtomicBool::new(false),
            is_soon: AtomicBool::new(false),
            answered: AtomicU64::new(NEVER),
            crowded_until: AtomicU64::new(NEVER),
            due: Notify::new(),
        }
    }
}

impl Lookout {
    /// A unary call has come, whole: who has begun one and goes no further keeps nobody from being looked for.
    pub fn came(&self, now: Instant) {
        let before = self.under_way.load(Relaxed);
        self.under_way.store(before + 1, Relaxed);
        self.is_alone.store(before == 0, Relaxed);
        if before == 0 {
            let now = self.nanoseconds(now);
            let since = now.saturating_sub(self.answered.load(Relaxed));
            let is_soon = u128::from(since) < MOST.as_nanos() && now >= self.crowded_until.load(Relaxed);
            self.is_soon.store(is_soon, Relaxed);
        }
    }

    /// A unary call has ended.
    pub fn went(&self, now: Instant) {
        let left = self.under_way.load(Relaxed) - 1;
        self.under_way.store(left, Relaxed);
        if left == 0 && self.is_alone.load(Relaxed) {
            self.answered.store(self.nanoseconds(now), Relaxed);
            if self.is_soon.load(Relaxed) {
                self.due.notify_one();
            }
        }
    }

    /// Whether there is one call, whose caller is looked for when it is answered. From any thread.
    pub fn is_for_one(&self) -> bool {
        self.is_alone.load(Relaxed) && self.is_soon.load(Relaxed) && self.under_way.load(Relaxed) == 1
    }

    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.under_way.load(Relaxed) == 0
    }

    /// Keeps the thread awake where that is worth it, again and again.
    pub async fn run(&self) {
        loop {
            self.due.notified().await;
            let began = Instant::now();
            let mut now = began;
            while self.goes_on(began, now) {
                // Whoever else wants the processor has it; then the sockets are looked at.
                std::thread::yield_now();
                yield_now().await;
                now = Instant::now();
            }
            self.looked(began, now);
        }
    }

    fn goes_on(&self, began: Instant, now: Instant) -> bool {
        self.under_way.load(Relaxed) == 0 && now - began < MOST
    }

    fn looked(&self, began: Instant, now: Instant) {
        if now - began > OTHERS {
            self.crowded_until.store(self.nanoseconds(now + CROWDED), Relaxed);
        }
    }

    fn nanoseconds(&self, at: Instant) -> u64 {
        u64::try_from((at - self.then).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_micros(50);

    /// A lookout, and a moment at which its caller has been answered for the second time.
    fn after_two() -> (Lookout, Instant) {
        let lookout = Lookout::default();
        let mut now = Instant::now() + Duration::from_secs(1);
        for _ in 0..2 {
            now += SOON;
            lookout.came(now);
            now += SOON;
            lookout.went(now);
        }
        (lookout, now)
    }

    fn is_due(lookout: &Lookout) -> bool {
        let mut notified = std::pin::pin!(lookout.due.notified());
        notified.as_mut().enable()
    }

    #[test]
    fn who_came_back_at_once_is_looked_for_until_he_comes_or_for_as_long_as_sleeping_costs() {
        let (lookout, now) = after_two();
        assert!(is_due(&lookout));
        assert!(lookout.goes_on(now, now + SOON));
        assert!(!lookout.goes_on(now, now + MOST));
        lookout.came(now + SOON);
        assert!(!lookout.goes_on(now, now + SOON));
        assert!(lookout.is_for_one());
    }

    #[test]
    fn who_comes_for_the_first_time_or_late_is_not_looked_for() {
        let lookout = Lookout::default();
        let first = Instant::now() + Duration::from_secs(1);
        lookout.came(first);
        assert!(!lookout.is_for_one());
        lookout.went(first + SOON);
        assert!(!is_due(&lookout));
        lookout.came(first + SOON + MOST);
        assert!(!lookout.is_for_one());
        lookout.went(first + SOON + MOST);
        assert!(!is_due(&lookout));
    }

    #[test]
    fn several_are_not_looked_for() {
        let (lookout, now) = after_two();
        assert!(is_due(&lookout));
        lookout.came(now);
        lookout.came(now + SOON);
        lookout.went(now + SOON);
        assert!(!lookout.is_for_one());
        lookout.went(now + SOON);
        assert!(!is_due(&lookout));
    }

    #[test]
    fn where_others_had_the_processor_nobody_is_looked_for_for_a_while() {
        let (lookout, now) = after_two();
        assert!(is_due(&lookout));
        lookout.looked(now, now + 4 * OTHERS);
        let mut now = now + 4 * OTHERS;
        let until = now + CROWDED;
        while now < until {
            lookout.came(now);
            assert!(!lookout.is_for_one());
            now += SOON;
            lookout.went(now);
            assert!(!is_due(&lookout));
            now += SOON;
        }
        lookout.came(now);
        lookout.went(now + SOON);
        assert!(is_due(&lookout));
    }
}
