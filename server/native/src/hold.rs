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
        }
    }

    /// Remembers that a call was refused; false where its like cannot be told, or there are too many holds.
    pub fn put(&mut self, asked: &Asked<'_>, whose: &Whose, mut refusal: Refusal, now: Instant) -> bool {
        if *whose != self.whose {
            self.holds.values_mut().for_each(|hold| hold.refusal.until = now);
            self.sweep(now);
            self.whose = whose.clone();
        }
        let Some(key) = self.key(asked) else {
            return false;
        };
        if self.holds.len() >= MOST_HOLDS && !self.holds.contains_key(&key) {
            return false;
        }
        refusal.until = refusal.until.min(now + MOST);
        let hold = Hold { refusal, times: 0 };
        if let Some(before) = self.holds.insert(key, hold) {
            self.count(before);
        }
        true
    }

    /// How a call is to be refused, where that is known; `serial` spreads the times at which callers try again.
    pub fn look(&mut self, asked: &Asked<'_>, now: Instant, serial: u64) -> Option<Failure> {
        let key = self.key(asked)?;
        let hold = self.holds.get_mut(&key)?;
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

    fn key(&self, asked: &Asked<'_>) -> Option<u64> {
        let head = asked.body.head();
        let pieces = oip::cut(head, asked.body.len())?;
        let (model, version) = (&head[pieces.model], &head[pieces.version]);
        let caller = match &self.whose {
            Whose::All => (0, None),
            Whose::Connection => (asked.connection, None),
            Whose::Header(name) => (0, asked.headers.get(name).map(HeaderValue::as_bytes)),
        };
        let size = asked.body.len();
        Some(self.hasher.hash_one((asked.route, caller, model, version, size)))
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
mod tests {
    use super::*;
    use bytes::Bytes;

    const TEN: Duration = Duration::from_millis(10);

    fn request(model: &str, elements: usize) -> Body {
        let mut message = vec![0x0a, model.len() as u8];
        message.extend_from_slice(model.as_bytes());
        message.extend([0x2a, 3, 0x0a, 1, b'x', 0x3a, elements as u8]);
        message.extend(vec![0; elements]);
        Bytes::from(message).into()
    }

    fn asked<'c>(body: &'c Body, headers: &'c HeaderMap, deadline: Option<Instant>) -> Asked<'c> {
        Asked {
            route: 0,
            connection: 7,
            headers,
            body,
            deadline,
        }
    }

    fn refusal(now: Instant, before: Option<Instant>) -> Refusal {
        Refusal {
            status: status::RESOURCE_EXHAUSTED,
            text: "full".into(),
            pushback_ms: 100,
            before,
            until: now + MOST,
            counted: 42,
        }
    }

    #[test]
    fn its_like_is_refused_for_a_moment_and_counted() {
        let (mut holds, now, headers) = (Holds::new(), Instant::now(), HeaderMap::new());
        let body = request("m", 4);
        let call = asked(&body, &headers, None);
        assert!(holds.look(&call, now, 0).is_none());
        assert!(holds.put(&call, &Whose::All, refusal(now, None), now));
        for serial in 0..3 {
            let failure = holds.look(&call, now, serial).unwrap();
            assert_eq!(
                (failure.status, &failure.text[..]),
                (status::RESOURCE_EXHAUSTED, "full")
            );
            let pushback = &failure.trailers.unwrap()["grpc-retry-pushback-ms"];
            let pushback: i64 = pushback.to_str().unwrap().parse().unwrap();
            assert!((50..=150).contains(&pushback));
        }
        assert!(holds.look(&call, now + MOST, 0).is_none(), "it is over");
        assert!(!holds.is_empty());
        assert_eq!(holds.take_counts(now), vec![], "it goes on");
        assert_eq!(holds.take_counts(now + MOST), vec![(42, 3)]);
        assert!(holds.is_empty());
    }

    #[test]
    fn who_has_more_time_is_not_refused_with_those_who_have_less() {
        let (mut holds, now, headers) = (Holds::new(), Instant::now(), HeaderMap::new());
        let body = request("m", 4);
        let call = asked(&body, &headers, None);
        holds.put(&call, &Whose::All, refusal(now, Some(now + TEN)), now);
        let due = |at: Duration| asked(&body, &headers, Some(now + at));
        assert!(holds.look(&due(TEN / 2), now, 0).is_some());
        assert!(holds.look(&due(TEN), now, 0).is_none());
        assert!(holds.look(&call, now, 0).is_none(), "it has no deadline");
    }

    #[test]
    fn another_model_another_size_and_another_method_are_not_like_it() {
        let (mut holds, now, headers) = (Holds::new(), Instant::now(), HeaderMap::new());
        let (body, other, smaller, larger) = (request("m", 4), request("n", 4), request("m", 3), request("m", 9));
        holds.put(&asked(&body, &headers, None), &Whose::All, refusal(now, None), now);
        assert!(holds.look(&asked(&other, &headers, None), now, 0).is_none());
        assert!(holds.look(&asked(&smaller, &headers, None), now, 0).is_none());
        assert!(holds.look(&asked(&larger, &headers, None), now, 0).is_none());
        assert!(holds.look(&asked(&body, &headers, None), now, 0).is_some());
        let elsewhere = Asked {
            route: 1,
            ..asked(&body, &headers, None)
        };
        assert!(holds.look(&elsewhere, now, 0).is_none());
        let unplain = Bytes::from_static(b"\x08\x01").into();
        let unplain = asked(&unplain, &headers, None);
        assert!(!holds.put(&unplain, &Whose::All, refusal(now, None), now));
    }

    #[test]
    fn a_caller_is_not_refused_for_another() {
        let (mut holds, now) = (Holds::new(), Instant::now());
        let name = HeaderName::from_static("x-caller");
        let headers = |who: &'static str| HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(who))]);
        let (one, two) = (headers("one"), headers("two"));
        let body = request("m", 4);
        let by_name = Whose::Header(name.clone());
        holds.put(&asked(&body, &one, None), &by_name, refusal(now, None), now);
        assert!(holds.look(&asked(&body, &one, None), now, 0).is_some());
        assert!(holds.look(&asked(&body, &two, None), now, 0).is_none());
        holds.put(&asked(&body, &one, None), &Whose::Connection, refusal(now, None), now);
        assert_eq!(
            holds.take_counts(now),
            vec![(42, 1)],
            "what was known by another measure is over"
        );
        assert!(
            holds.look(&asked(&body, &two, None), now, 0).is_some(),
            "of the same connection"
        );
        let other = Asked {
            connection: 8,
            ..asked(&body, &one, None)
        };
        assert!(holds.look(&other, now, 0).is_none());
    }

    #[test]
    fn holds_are_bounded() {
        let (mut holds, now, headers) = (Holds::new(), Instant::now(), HeaderMap::new());
        let put = |holds: &mut Holds, number: usize| {
            let body = request(&number.to_string(), 4);
            holds.put(&asked(&body, &headers, None), &Whose::All, refusal(now, None), now)
        };
        assert!((0..MOST_HOLDS).all(|number| put(&mut holds, number)));
        assert!(!put(&mut holds, MOST_HOLDS));
        assert!(put(&mut holds, 0), "that one is there");
        holds.take_counts(now + MOST);
        assert!(put(&mut holds, MOST_HOLDS));
    }

    #[test]
    fn never_stays_never() {
        assert_eq!(spread(-1, 3), -1);
        let times: Vec<_> = (0..1000).map(|serial| spread(100, serial)).collect();
        assert!(*times.iter().min().unwrap() < 60 && *times.iter().max().unwrap() > 140);
    }
}
