//! What happens on the wire, on its way to Python: gathered from all threads, taken in lists, with one wake-up for each.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::body::Body;
use crate::call::CallShared;
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

/// Unread log records; what comes beyond is dropped. All other events are bounded by the calls that there may be.
const MOST_LOGS: usize = 256;

pub struct Inbox {
    events: Mutex<VecDeque<Event>>,
    raised: AtomicBool,
    logs: AtomicUsize,
    signal: Signal,
}

impl Inbox {
    pub fn new() -> io::Result<Self> {
        Ok(Inbox {
            events: Mutex::new(VecDeque::new()),
            raised: AtomicBool::new(false),
            logs: AtomicUsize::new(0),
            signal: Signal::new()?,
        })
    }

    /// Readable while there is something to take.
    pub fn descriptor(&self) -> i32 {
        self.signal.descriptor()
    }

    pub fn post(&self, event: Event) {
        self.lock().push_back(event);
        self.raise();
    }

    /// Posts all, in order, and leaves the vector empty.
    pub fn post_all(&self, events: &mut Vec<Event>) {
        if !events.is_empty() {
            self.lock().extend(events.drain(..));
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

    /// Takes at most `most` events. The signal stays raised where more are left.
    pub fn take(&self, most: usize) -> VecDeque<Event> {
        // The flag falls before the events are taken, so what is posted meanwhile is taken or raises it again.
        self.signal.lower();
        self.raised.store(false, Ordering::SeqCst);
        let mut events = self.lock();
        let taken = if events.len() <= most {
            std::mem::take(&mut *events)
        } else {
            let rest = events.split_off(most);
            std::mem::replace(&mut *events, rest)
        };
        let more = !events.is_empty();
        drop(events);
        if more {
            self.raise();
        }
        for event in &taken {
            if matches!(event, Event::Log(..)) {
                self.logs.fetch_sub(1, Ordering::Relaxed);
            }
        }
        taken
    }

    fn raise(&self) {
        if !self.raised.swap(true, Ordering::SeqCst) {
            self.signal.raise();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(inbox.take(3).len(), 3);
        assert_eq!(inbox.take(3).len(), 2);
        assert_eq!(inbox.take(3).len(), 0);
    }

    #[test]
    fn logs_are_bounded() {
        let inbox = Inbox::new().unwrap();
        for _ in 0..2 * MOST_LOGS {
            inbox.log(Level::Warning, "again".into());
        }
        assert_eq!(inbox.take(usize::MAX).len(), MOST_LOGS);
        inbox.log(Level::Warning, "and again".into());
        assert_eq!(inbox.take(usize::MAX).len(), 1);
    }
}
