//! What all connections of a listener share: routes, limits, counters, and what is refused.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::body::Body;
use crate::call::{CallShared, Owner};
use crate::hold::{self, Asked, Holds, Refusal, Whose};
use crate::inbox::{Event, Inbox};
use crate::options::{Kind, Limits, Route};
use crate::register::Register;
use crate::statistics::Statistics;
use crate::status::{self, Failure};

/// Of the time after which callers are to try again.
const LINGER_PART: u64 = 10;
const MOST_LINGER_US: u64 = 4000;
/// The same where callers are told apart, or call other models, too: who is not refused is not to wait for who is.
const MOST_LINGER_FOR_OTHERS_US: u64 = 500;

/// So many calls a connection may have, whatever others have.
const FREE_CALLS: usize = 64;
/// So many times what is left one connection may have.
const SHARE: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum Phase {
    Serving,
    /// No new connections and calls; those under way go on.
    Draining,
    /// Nothing goes on.
    Closed,
}

pub struct ServerShared {
    pub limits: Limits,
    pub routes: Vec<Route>,
    by_path: HashMap<String, usize>,
    pub inbox: Inbox,
    pub statistics: Statistics,
    /// Calls under way.
    pub calls: AtomicUsize,
    /// Bytes of messages in memory.
    pub bytes: AtomicUsize,
    phase: watch::Sender<Phase>,
    holds: Mutex<Holds>,
    /// Whether there are any.
    has_holds: AtomicBool,
    /// For how long an I/O thread lets more gather before it reads, while calls are refused.
    linger_us: AtomicU64,
    /// Calls refused because they would not have been read in time.
    pub unread: AtomicU64,
    pub register: Register,
}

impl ServerShared {
    pub fn new(limits: Limits, routes: Vec<Route>, bounds_s: &[f64]) -> io::Result<Self> {
        let by_path = routes
            .iter()
            .enumerate()
            .map(|(index, route)| (route.path.clone(), index))
            .collect();
        Ok(ServerShared {
            statistics: Statistics::new(routes.len(), bounds_s),
            limits,
            routes,
            by_path,
            inbox: Inbox::new()?,
            calls: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            phase: watch::Sender::new(Phase::Serving),
            holds: Mutex::new(Holds::new()),
            has_holds: AtomicBool::new(false),
            linger_us: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            register: Register::default(),
        })
    }

    pub fn route(&self, path: &str) -> Option<(usize, Kind)> {
        let &index = self.by_path.get(path)?;
        Some((index, self.routes[index].kind))
    }

    /// Under which calls of unknown methods are counted.
    pub fn other(&self) -> usize {
        self.routes.len()
    }

    /// Waits until it serves no more. It keeps no lock on the phase for whoever has waited: what he drops then looks at the
    /// phase, too, and would wait for ever behind somebody who changes it.
    pub async fn serving_ends(&self) {
        let mut phase = self.phase.subscribe();
        let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
    }

    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// How a call is to be refused for those that there are; None where there is room. The connection has `own` of them.
    pub fn too_many(&self, own: usize) -> Option<Failure> {
        let (all, most) = (self.calls.load(Ordering::Relaxed), self.limits.calls);
        let text = if all >= most {
            format!("the server is overloaded: {most} calls are under way")
        } else if has_too_much(own, all, most, FREE_CALLS) {
            format!("the server is overloaded: {all} calls are under way, {own} of them on this connection")
        } else {
            return None;
        };
        Some(Failure::new(status::RESOURCE_EXHAUSTED, text))
    }

    /// How a call is to be refused whose message is one too many to be kept in memory; None where it is not. Of what is
    /// kept, `own` bytes wait for its peer, to go on or to take them.
    pub fn too_full(&self, own: usize) -> Option<Failure> {
        let (all, most) = (self.bytes.load(Ordering::Relaxed), self.limits.bytes_in_flight);
        let text = if all > most {
            format!("the server is overloaded: it holds {most} bytes of messages")
        } else if has_too_much(own, all, most, self.limits.message_bytes) {
            format!("the server is overloaded: it holds {all} bytes of messages, and {own} of them wait for you")
        } else {
            return None;
        };
        Some(Failure::new(status::RESOURCE_EXHAUSTED, text))
    }

    /// How a call is to be refused that the application need not hear of; None where it is to.
    pub fn refusal(&self, call: &CallShared, body: &Body) -> Option<Failure> {
        if let Some(failure) = self.held_back(call, body) {
            return Some(failure);
        }
        let wait = self.inbox.wait(&call.connection);
        if wait.is_zero() {
            return None;
        }
        let left = call.deadline?.saturating_duration_since(Instant::now());
        // What is left when it is read has to suffice for everything else.
        if wait <= left / 2 {
            return None;
        }
        self.unread.fetch_add(1, Ordering::Relaxed);
        let wait_ms = wait.as_secs_f64() * 1e3;
        Some(status::pushed_back(
            status::RESOURCE_EXHAUSTED,
            format!(
                "the server is overloaded: it would be read in {wait_ms:.1} ms, and the deadline is in {:.1} ms",
                left.as_secs_f64() * 1e3
            ),
            hold::spread(wait_ms.ceil() as i64, call.serial),
        ))
    }

    /// How a call is to be refused because one like it was.
    pub fn held_back(&self, call: &CallShared, body: &Body) -> Option<Failure> {
        if !self.has_holds.load(Ordering::Relaxed) {
            return None;
        }
        self.held().look(&asked(call, body), Instant::now(), call.serial)
    }

    /// Refuses calls like this one from now on, for a moment; false where that cannot be.
    pub fn hold(&self, call: &CallShared, body: &Body, whose: &Whose, refusal: Refusal) -> bool {
        let linger_us = refusal.pushback_ms.max(0).unsigned_abs() * 1000 / LINGER_PART;
        let mut holds = self.held();
        let now = Instant::now();
        let is_held = holds.put(&asked(call, body), whose, refusal, now);
        let most_us = match whose {
            Whose::All if !holds.has_others(now) => MOST_LINGER_US,
            Whose::All | Whose::Connection | Whose::Header(_) => MOST_LINGER_FOR_OTHERS_US,
        };
        self.linger_us.store(linger_us.min(most_us), Ordering::Relaxed);
        self.has_holds.store(!holds.is_empty(), Ordering::Relaxed);
        is_held
    }

    /// For how long an I/O thread that has nothing to do is to wait, so that it reads and answers several calls at once.
    ///
    /// A call that is refused costs little but the system calls to read and to answer it, and to find its way through
    /// caches that others have used. The moment is short beside the time in which anybody could be answered.
    pub fn linger(&self) -> Option<Duration> {
        self.has_holds()
            .then(|| Duration::from_micros(self.linger_us.load(Ordering::Relaxed)))
    }

    /// How many calls the application has not heard of, by what it said to be told; and whether there may be more.
    pub fn take_refused(&self, now: Instant) -> (Vec<(Owner, u64)>, bool) {
        let mut holds = self.held();
        let counts = holds.take_counts(now);
        let more = !holds.is_empty();
        self.has_holds.store(more, Ordering::Relaxed);
        (counts, more)
    }

    pub fn has_holds(&self) -> bool {
        self.has_holds.load(Ordering::Relaxed)
    }

    fn held(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a connection; None where there are as many as may be, and none of them is a newcomer to make room.
    pub fn admit(self: &Arc<Self>) -> Option<Place> {
        Some(Place {
            number: self.register.admit(self.limits.connections)?,
            server: self.clone(),
        })
    }

    /// No new connections and calls; `Stopped` is posted when those there are have ended.
    pub fn drain(&self) {
        self.enter(Phase::Draining);
        for connection in self.register.connected() {
            connection.drain();
        }
        self.say_if_stopped();
    }

    /// Ends all calls and connections now.
    pub fn abort(&self) {
        self.enter(Phase::Closed);
        self.register.abort_all();
        self.say_if_stopped();
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = *now < phase;
            if later {
                *now = phase;
            }
            later
        });
    }

    fn say_if_stopped(&self) {
        if self.phase() != Phase::Serving && self.register.is_over() {
            self.inbox.post(Event::Stopped);
        }
    }
}

/// Whether one has too much of what all share: more than anybody may have, and a multiple of what is left. So nobody shuts
/// others out with one connection or a few, who has one alone gets three quarters (Choudhury and Hahne, Dynamic queue
/// length thresholds for shared-memory packet switches, 1998).
fn has_too_much(own: usize, all: usize, most: usize, free: usize) -> bool {
    own >= free && own >= SHARE * most.saturating_sub(all)
}

fn asked<'c>(call: &'c CallShared, body: &'c Body) -> Asked<'c> {
    Asked {
        route: call.route,
        connection: call.connection.number,
        headers: &call.headers,
        body,
        deadline: call.deadline,
    }
}

/// A connection's place in the register, as long as it lives.
pub struct Place {
    pub server: Arc<ServerShared>,
    pub number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.register.remove(self.number);
        self.server.say_if_stopped();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(connections: usize) -> Arc<ServerShared> {
        let limits = Limits {
            connections,
            ..Limits::default()
        };
        Arc::new(ServerShared::new(limits, Vec::new(), &[]).unwrap())
    }

    #[test]
    fn that_it_has_stopped_is_said_once_and_when_the_last_is_gone() {
        let server = server(9);
        let place = server.admit().unwrap();
        server.drain();
        assert!(server.inbox.take(9, Instant::now()).is_empty());
        drop(place);
        server.abort();
        assert!(matches!(
            server.inbox.take(9, Instant::now()).into_iter().collect::<Vec<_>>()[..],
            [Event::Stopped]
        ));
    }
}
