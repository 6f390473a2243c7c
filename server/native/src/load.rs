//! A load generator: one thread that keeps a server busier than any client in Python could.
//!
//! A closed loop has a number of callers, each of which sends its next call when the last is answered. An open loop sends
//! at times that it drew before, whatever the server does, and measures from those times; so a stall is not hidden by the
//! calls that a closed loop would not have sent meanwhile.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use hdrhistogram::Histogram;
use http::Request;
use tokio::task::LocalSet;

use crate::client::{call, Answered, ClientTls, Target};
use crate::message;

/// What to send, how often, and from how many.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `HOST:PORT`.
    pub address: String,
    pub path: String,
    /// Sent in turn.
    pub bodies: Vec<Bytes>,
    pub connections: usize,
    /// Calls at once over all connections; in an open loop, at most.
    pub in_flight: usize,
    /// Calls that are made first and not counted.
    pub warm_up: usize,
    /// How long calls are begun after that.
    pub duration: Duration,
    /// Calls per second of an open loop, at the times of a Poisson process; None for a closed loop.
    pub rate: Option<f64>,
    pub seed: u64,
    pub tls: Option<ClientTls>,
}

/// What became of the calls.
#[derive(Debug)]
pub struct Outcome {
    /// Calls by their status, 0 to 16.
    pub statuses: [u64; 17],
    /// Calls that got no status: the connection broke.
    pub broken: u64,
    /// Calls that an open loop could not make, as `in_flight` were under way.
    pub skipped: u64,
    pub took: Duration,
    /// Nanoseconds of the calls that ended with OK.
    pub latencies: Histogram<u64>,
    /// Body of the last answer.
    pub answer: Bytes,
}

struct Tally {
    statuses: [u64; 17],
    broken: u64,
    skipped: u64,
    latencies: Histogram<u64>,
    answer: Bytes,
    /// When the last counted call ended.
    ended: Instant,
}

impl Tally {
    fn count(&mut self, since: Instant, outcome: Result<Answered, h2::Error>) {
        self.ended = Instant::now();
        match outcome {
            Ok(Answered {
                status, body: answer, ..
            }) => {
                self.statuses[usize::from(status).min(16)] += 1;
                if status == 0 {
                    self.latencies
                        .saturating_record(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
                    self.answer = answer;
                }
            }
            Err(_) => self.broken += 1,
        }
    }
}

/// Carries out a plan on the calling thread.
pub fn run(plan: &Plan) -> io::Result<Outcome> {
    if plan.bodies.is_empty() || plan.connections == 0 || plan.in_flight == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "bodies, connections and calls in flight are at least one each",
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, drive(plan))
}

async fn drive(plan: &Plan) -> io::Result<Outcome> {
    let target = Target::new(&plan.address, plan.tls.as_ref())?;
    let mut channels = Vec::new();
    for _ in 0..plan.connections {
        channels.push(target.connect().await?);
    }
    let head = target.head(&plan.path)?;
    let calls: Rc<Vec<Prepared>> = Rc::new(
        plan.bodies
            .iter()
            .map(|body| Prepared {
                head: head.clone(),
                framed: message::framed(body),
            })
            .collect(),
    );
    for number in 0..plan.warm_up {
        let channel = channels[number % channels.len()].clone();
        let _ = calls[number % calls.len()].made(channel).await;
    }
    let began = Instant::now();
    let tally = Rc::new(RefCell::new(Tally {
        statuses: [0; 17],
        broken: 0,
        skipped: 0,
        latencies: Histogram::new_with_bounds(1, 3_600_000_000_000, 3).map_err(io::Error::other)?,
        answer: Bytes::new(),
        ended: began,
    }));
    let end = began + plan.duration;
    match plan.rate {
        None => closed_loop(plan, &channels, &calls, &tally, end).await,
        Some(rate) => open_loop(plan, rate, &channels, &calls, &tally, (began, end)).await,
    }
    drop(channels);
    let tally = Rc::try_unwrap(tally)
        .map_err(|_| io::Error::other("a call is still under way"))?
        .into_inner();
    Ok(Outcome {
        statuses: tally.statuses,
        broken: tally.broken,
        skipped: tally.skipped,
        took: tally.ended - began,
        latencies: tally.latencies,
        answer: tally.answer,
    })
}

async fn closed_loop(
    plan: &Plan,
    channels: &[SendRequest<Bytes>],
    calls: &Rc<Vec<Prepared>>,
    tally: &Rc<RefCell<Tally>>,
    end: Instant,
) {
    let callers: Vec<_> = (0..plan.in_flight)
        .map(|number| {
            let channel = channels[number % channels.len()].clone();
            let (calls, tally) = (calls.clone(), tally.clone());
            tokio::task::spawn_local(async move {
                let mut turn = number;
                let mut now = Instant::now();
                while now < end {
                    let outcome = calls[turn % calls.len()].made(channel.clone()).await;
                    turn += 1;
                    let broken = outcome.is_err();
                    tally.borrow_mut().count(now, outcome);
                    now = Instant::now();
                    if broken {
                        break;
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        let _ = caller.await;
    }
}

async fn open_loop(
    plan: &Plan,
    rate: f64,
    channels: &[SendRequest<Bytes>],
    calls: &Rc<Vec<Prepared>>,
    tally: &Rc<RefCell<Tally>>,
    (began, end): (Instant, Instant),
) {
    let under_way = Rc::new(tokio::sync::Semaphore::new(plan.in_flight));
    let mut random = Random(plan.seed);
    let mut due = began;
    let mut turn = 0;
    loop {
        due += Duration::from_secs_f64(random.exponential() / rate);
        if due >= end {
            break;
        }
        if due > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(due.into()).await;
        } else {
            tokio::task::yield_now().await;
        }
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
        let Ok(permit) = under_way.clone().try_acquire_owned_local() else {
            tally.borrow_mut().skipped += 1;
            continue;
        };
        let channel = channels[turn % channels.len()].clone();
        let (calls, tally) = (calls.clone(), tally.clone());
        let number = turn % calls.len();
        turn += 1;
        tokio::task::spawn_local(async move {
            let outcome = calls[number].made(channel).await;
            tally.borrow_mut().count(due, outcome);
            drop(tally);
            drop(permit);
        });
    }
    let all = u32::try_from(plan.in_flight).unwrap_or(u32::MAX);
    let _ = under_way.acquire_many(all).await;
    tokio::task::yield_now().await;
}

trait Local {
    fn try_acquire_owned_local(self) -> Result<Permit, ()>;
}

/// A permit that is given back when it is dropped; tokio's own wants an Arc.
struct Permit(Rc<tokio::sync::Semaphore>);

impl Local for Rc<tokio::sync::Semaphore> {
    fn try_acquire_owned_local(self) -> Result<Permit, ()> {
        match self.try_acquire() {
            Ok(permit) => {
                permit.forget();
                Ok(Permit(self.clone()))
            }
            Err(_) => Err(()),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// SplitMix64: small, fast and good enough to draw arrival times from.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Of mean 1.
    fn exponential(&mut self) -> f64 {
        let uniform = ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -uniform.ln()
    }
}

struct Prepared {
    head: Request<()>,
    framed: Bytes,
}

impl Prepared {
    async fn made(&self, channel: SendRequest<Bytes>) -> Result<Answered, h2::Error> {
        call(channel, self.head.clone(), &self.framed).await
    }
}
