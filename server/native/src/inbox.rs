//! What happens on the wire, on its way to Python: gathered from all threads, taken in lists, with one wake-up for each.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::body::Body;
use crate::call::CallShared;
use crate::fair::{self, Pace};
use crate::hub::ConnectionShared;
use crate::signal::Signal;

/// How grave a log record is, in Python's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Warning = 30,
    Error = 40,
}

pub enum Event {
    /// A unary call with its whole message.
    Call(Arc<CallShared>, Body),
    /// The beginning of a stream.
    Stream(Arc<CallShared>),
    /// A stream's next message; None after its last.
    Message(Arc<CallShared>, Option<Body>),
    /// More of a stream's answers are on their way; how many, the call knows.
    Sent(Arc<CallShared>),
    /// Nobody waits for the answer any more: cancelled, disconnected or too late.
    Left(Arc<CallShared>),
    Log(Level, String),
    /// The last connection is gone.
    Stopped,
}

impl Event {
    /// The connection that it is of; None for what is of none.
    fn whose(&self) -> Option<u64> {
        match self {
            Event::Call(call, _)
            | Event::Stream(call)
            | Event::Message(call, _)
            | Event::Sent(call)
            | Event::Left(call) => Some(call.connection.number),
            Event::Log(..) | Event::Stopped => None,
        }
    }
}

/// Unread events for which nobody waits whether more come.
const MANY: usize = 64;
/// Unread log records; what comes beyond is dropped. All other events are bounded by the calls that there may be.
const MOST_LOGS: usize = 256;

pub struct Inbox {
    unread: Mutex<Unread>,
    raised: AtomicBool,
    /// Unary calls that nobody has taken, connections that have such, and what it takes to take one; 0 for unknown.
    calls: AtomicUsize,
    callers: AtomicUsize,
    each_ns: AtomicU64,
    logs: AtomicUsize,
    signal: Signal,
}

#[derive(Default)]
struct Unread {
    events: VecDeque<Event>,
    pace: Pace,
}

impl Inbox {
    pub fn new() -> io::Result<Self> {
        Ok(Inbox {
            unread: Mutex::default(),
            raised: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            callers: AtomicUsize::new(0),
            each_ns: AtomicU64::new(0),
            logs: AtomicUsize::new(0),
            signal: Signal::new()?,
        })
    }

    /// Readable while there is something to take.
    pub fn descriptor(&self) -> i32 {
        self.signal.descriptor()
    }

    pub fn post(&self, event: Event) {
        self.lock().events.push_back(event);
        self.raise();
    }

    /// Posts all, in order, and leaves the vector empty. True where Python has not been told, and `tell` must follow soon:
    /// of `MANY` it is told at once.
    #[must_use]
    pub fn post_all(&self, events: &mut Vec<Event>) -> bool {
        if events.is_empty() {
            return false;
        }
        let mut unread = self.lock();
        unread.events.extend(events.drain(..));
        let many = unread.events.len() >= MANY;
        drop(unread);
        if many {
            self.raise();
        }
        !many && !self.raised.load(Ordering::SeqCst)
    }

    /// Tells Python that there is something to take, if there is.
    pub fn tell(&self) {
        if !self.lock().events.is_empty() {
            self.raise();
        }
    }

    pub fn log(&self, level: Level, text: String) {
        if self.logs.fetch_add(1, Ordering::Relaxed) < MOST_LOGS {
            self.post(Event::Log(level, text));
        } else {
            self.logs.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A call of that connection is about to be posted.
    pub fn expect(&self, connection: &ConnectionShared) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if connection.unread.fetch_add(1, Ordering::Relaxed) == 0 {
            self.callers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// For how long a call that comes now will not be taken; zero where nothing is known of that.
    pub fn wait(&self, connection: &ConnectionShared) -> Duration {
        let each_ns = self.each_ns.load(Ordering::Relaxed);
        if each_ns == 0 {
            return Duration::ZERO;
        }
        // Of each connection as many are taken as of any other, so others' floods are not before it.
        let own = connection.unread.load(Ordering::Relaxed) + 1;
        let fairly = own.saturating_mul(self.callers.load(Ordering::Relaxed).max(1));
        let before = (self.calls.load(Ordering::Relaxed) + 1).min(fairly);
        Duration::from_nanos(each_ns.saturating_mul(before as u64))
    }

    /// Takes at most `most` events, of each connection as many as of any other. The signal stays raised where more are left.
    pub fn take(&self, most: usize, now: Instant) -> VecDeque<Event> {
        // The flag falls before the events are taken, so what is posted meanwhile is taken or raises it again.
        self.signal.lower();
        self.raised.store(false, Ordering::SeqCst);
        let mut unread = self.lock();
        let taken = if unread.events.len() <= most {
            std::mem::take(&mut unread.events)
        } else {
            fair::split(&mut unread.events, most, Event::whose)
        };
        let more = !unread.events.is_empty();
        let mut calls = 0;
        for event in &taken {
            match event {
                Event::Call(call, _) => {
                    calls += 1;
                    if call.connection.unread.fetch_sub(1, Ordering::Relaxed) == 1 {
                        self.callers.fetch_sub(1, Ordering::Relaxed);
                    }
                }
                Event::Log(..) => {
                    self.logs.fetch_sub(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        self.calls.fetch_sub(calls, Ordering::Relaxed);
        let each = unread.pace.taken(now, calls, more);
        drop(unread);
        self.each_ns
            .store(u64::try_from(each.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if more {
            self.raise();
        }
        taken
    }

    #[cfg(test)]
    pub fn is_signalled(&self) -> bool {
        self.signal.is_raised()
    }

    fn raise(&self) {
        if !self.raised.swap(true, Ordering::SeqCst) {
            self.signal.raise();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_over_is_taken_next() {
        let inbox = Inbox::new().unwrap();
        for number in 0..5 {
            inbox.log(Level::Error, number.to_string());
        }
        assert_eq!(inbox.take(3, Instant::now()).len(), 3);
        assert_eq!(inbox.take(3, Instant::now()).len(), 2);
        assert_eq!(inbox.take(3, Instant::now()).len(), 0);
    }

    #[test]
    fn of_many_python_is_told_at_once_and_of_few_when_it_is_said() {
        let inbox = Inbox::new().unwrap();
        let some = |count: usize| -> Vec<Event> { (0..count).map(|_| Event::Stopped).collect() };
        assert!(inbox.post_all(&mut some(MANY - 1)), "somebody has to tell");
        assert!(!inbox.is_signalled());
        assert!(!inbox.post_all(&mut some(1)));
        assert!(inbox.is_signalled());
        assert_eq!(inbox.take(usize::MAX, Instant::now()).len(), MANY);
        inbox.tell();
        assert!(!inbox.is_signalled(), "there is nothing");
        assert!(inbox.post_all(&mut some(1)));
        inbox.tell();
        assert!(inbox.is_signalled());
        assert!(!inbox.post_all(&mut some(1)), "it has been told");
    }

    #[test]
    fn logs_are_bounded() {
        let inbox = Inbox::new().unwrap();
        for _ in 0..2 * MOST_LOGS {
            inbox.log(Level::Warning, "again".into());
        }
        assert_eq!(inbox.take(usize::MAX, Instant::now()).len(), MOST_LOGS);
        inbox.log(Level::Warning, "and again".into());
        assert_eq!(inbox.take(usize::MAX, Instant::now()).len(), 1);
    }
}
