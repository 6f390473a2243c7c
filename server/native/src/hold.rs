//! What was refused a moment ago is refused again, without asking the application.
//!
//! Under overload most calls are refused, and for each the application says the same as for the one before it. So where
//! it refuses a call it may say for how long, and up to which deadline, it would refuse others like it: those are answered
//! on the I/O thread, before they cost it anything. *Like it* are calls of the same method, for the same model and
//! version, from the same caller, with a message of the same size. Only plain requests (see `oip`) are like any.
//!
//! A hold lasts for a moment (`MOST`), so whatever changes is noticed within it. Pure.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::body::Body;
use crate::call::Owner;
use crate::oip;
use crate::status::{self, Failure};

/// No hold lasts longer, whatever was said.
pub const MOST: Duration = Duration::from_millis(20);
/// For how long it is remembered that calls came for other models than the one that was refused last.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Holds at once; further refusals are said one by one.
const MOST_HOLDS: usize = 4096;

/// Whom the application knows callers by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// They are all one.
    All,
    Connection,
    Header(HeaderName),
}

/// What the application says of a call that it refuses.
pub struct Refusal {
    pub status: u8,
    pub text: String,
    /// When to try again: about so many milliseconds, or never where it is negative.
    pub pushback_ms: i64,
    /// Only those that have to be answered sooner than this are refused with it; None for all.
    pub before: Option<Instant>,
    pub until: Instant,
    /// Hears how many were.
    pub counted: Owner,
}

struct Hold {
    refusal: Refusal,
    times: u64,
}

pub struct Holds {
    whose: Whose,
    hasher: RandomState,
    /// By a keyed hash of what makes calls alike: nobody can choose two that collide.
    holds: HashMap<u64, Hold>,
    counts: Vec<(Owner, u64)>,
    /// Of the model that was refused last, the same hash.
    model: u64,
    others_until: Option<Instant>,
}

/// The hashes of what makes calls alike, and of their model alone.
struct Keys {
    alike: u64,
    model: u64,
}

/// A call as far as it matters here.
pub struct Asked<'c> {
    pub route: usize,
    pub connection: u64,
    pub headers: &'c HeaderMap,
    pub body: &'c Body,
    pub deadline: Option<Instant>,
}

impl Holds {
    pub fn new() -> Self {
        Holds {
            whose: Whose::All,
            hasher: RandomState::new(),
            holds: HashMap::new(),
            counts: Vec::new(),
            model: 0,
            others_until: None,
        }
    }

    /// Whether calls came lately which are not of the model that was refused last.
    pub fn has_others(&self, now: Instant) -> bool {
        self.others_until.is_some_and(|until| now < until)
    }

    /// Remembers that a call was refused; false where its like cannot be told, or there are too many holds.
    pub fn put(&mut self, asked: &Asked<'_>, whose: &Whose, mut refusal: Refusal, now: Instant) -> bool {
        if *whose != self.whose {
            self.holds.values_mut().for_each(|hold| hold.refusal.until = now);
            self.sweep(now);
            self.whose = whose.clone();
        }
        let Some(keys) = self.keys(asked) else {
            return false;
        };
        if self.holds.len() >= MOST_HOLDS && !self.holds.contains_key(&keys.alike) {
            return false;
        }
        self.model = keys.model;
        refusal.until = refusal.until.min(now + MOST);
        let hold = Hold { refusal, times: 0 };
        if let Some(before) = self.holds.insert(keys.alike, hold) {
            self.count(before);
        }
        true
    }

    /// How a call is to be refused, where that is known; `serial` spreads the times at which callers try again.
    pub fn look(&mut self, asked: &Asked<'_>, now: Instant, serial: u64) -> Option<Failure> {
        let keys = self.keys(asked);
        if keys.as_ref().is_none_or(|keys| keys.model != self.model) {
            self.others_until = Some(now + REMEMBERED);
        }
        let hold = self.holds.get_mut(&keys?.alike)?;
        let refusal = &hold.refusal;
        if now >= refusal.until {
            return None;
        }
        if let Some(before) = refusal.before {
            if asked.deadline.is_none_or(|deadline| deadline >= before) {
                return None;
            }
        }
        hold.times += 1;
        Some(status::pushed_back(
            refusal.status,
            refusal.text.clone(),
            spread(refusal.pushback_ms, serial),
        ))
    }

    /// How many calls were refused by each hold since the last time. Forgets the holds that are over.
    pub fn take_counts(&mut self, now: Instant) -> Vec<(Owner, u64)> {
        self.sweep(now);
        std::mem::take(&mut self.counts)
    }

    pub fn is_empty(&self) -> bool {
        self.holds.is_empty() && self.counts.is_empty()
    }

    fn sweep(&mut self, now: Instant) {
        let over: Vec<u64> = self
            .holds
            .iter()
            .filter(|(_, hold)| now >= hold.refusal.until)
            .map(|(&key, _)| key)
            .collect();
        for key in over {
            if let Some(hold) = self.holds.remove(&key) {
                self.count(hold);
            }
        }
    }

    fn count(&mut self, hold: Hold) {
        if hold.times > 0 {
            self.counts.push((hold.refusal.counted, hold.times));
        }
    }

    fn keys(&self, asked: &Asked<'_>) -> Option<Keys> {
        let head = asked.body.head();
        let pieces = oip::cut(head, asked.body.len())?;
        let (model, version) = (&head[pieces.model], &head[pieces.version]);
        let caller = match &self.whose {
            Whose::All => (0, None),
            Whose::Connection => (asked.connection, None),
            Whose::Header(name) => (0, asked.headers.get(name).map(HeaderValue::as_bytes)),
        };
        let size = asked.body.len();
        Some(Keys {
            alike: self.hasher.hash_one((asked.route, caller, model, version, size)),
            model: self.hasher.hash_one(model),
        })
    }
}

/// Half as much to half as much again, by a call's number, so that not all who were refused come back at once.
pub fn spread(milliseconds: i64, serial: u64) -> i64 {
    if milliseconds <= 0 {
        return milliseconds;
    }
    let share = (serial.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64;
    ((milliseconds as f64 * (0.5 + share)).ceil()) as i64
}

#[cfg(test)]
#[cfg(not(feature = "python"))]
mod tests;
