//! A load that is counted in windows while it runs: the engine behind `shoal bench`.
//!
//! A closed loop has a number of callers; an open loop sends at the times that it is fed, whatever the server does. Calls
//! have deadlines and are measured from when they were meant to be sent; lost connections are opened again. One thread
//! carries it out (`run`); others feed it, take what was counted, and stop it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::Reason;
use hdrhistogram::Histogram;
use http::{HeaderValue, Request};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::client::{call, Answered, ClientTls, Target};
use crate::message;
use crate::pacer::Pacer;

const RECONNECT: Duration = Duration::from_millis(100);
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// A closed loop's pause after a connection that failed: those who are refused at once do not spin.
const PAUSE: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(10);
const LEAST: Duration = Duration::from_millis(1);
/// How long a queue of times that ran dry is left alone.
const HUNGRY: Duration = Duration::from_millis(1);

const DEADLINE_EXCEEDED: u8 = 4;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNAVAILABLE: u8 = 14;

/// What to send, and where.
pub(crate) struct Order {
    /// `HOST:PORT`.
    pub address: String,
    pub path: String,
    /// Each with the number of the model that it is for.
    pub bodies: Vec<(Bytes, usize)>,
    /// Which body each call has, over and over.
    pub turns: Vec<usize>,
    pub connections: usize,
    /// Of a closed loop; None for an open one.
    pub callers: Option<usize>,
    pub most_under_way: usize,
    /// From the intended send time to a call's deadline.
    pub timeout: Duration,
    /// Up to which latency an OK call is in time.
    pub in_time: Duration,
    /// How long calls under way are waited for at the end.
    pub drain: Duration,
    pub tls: Option<ClientTls>,
}

/// What was seen of the calls that ended. Durations are in microseconds.
pub(crate) struct Tally {
    pub statuses: [u64; 17],
    /// Calls that were not sent, since too many were under way.
    pub not_sent: u64,
    /// Calls that the end of the load cut off.
    pub abandoned: u64,
    pub in_time: u64,
    /// Of the OK calls, by model.
    pub latencies: Vec<Histogram<u64>>,
    pub failures: Histogram<u64>,
    /// Of the failures, those that were refused: RESOURCE_EXHAUSTED.
    pub refusals: Histogram<u64>,
    /// How late calls were sent, or, in a closed loop, a timer came.
    pub lateness: Histogram<u64>,
    /// What the first failure of each status said of itself.
    pub samples: BTreeMap<u8, String>,
}

impl Tally {
    fn new(models: usize) -> Self {
        Self {
            statuses: [0; 17],
            not_sent: 0,
            abandoned: 0,
            in_time: 0,
            latencies: (0..models).map(|_| durations()).collect(),
            failures: durations(),
            refusals: durations(),
            lateness: durations(),
            samples: BTreeMap::new(),
        }
    }
}

fn durations() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are constants that fit")
}

fn record(histogram: &mut Histogram<u64>, duration: Duration) {
    histogram.saturating_record(
        u64::try_from((duration.as_nanos() + 500) / 1000)
            .unwrap_or(u64::MAX)
            .max(1),
    );
}

/// One load, from its order to its end; shared by the thread that carries it out and those who watch.
pub(crate) struct Generator {
    order: Order,
    models: usize,
    /// Seconds from the beginning, in which an open loop's calls are due.
    due_s: Mutex<VecDeque<f64>>,
    tally: Mutex<Tally>,
    began: OnceLock<Instant>,
    stopping: AtomicBool,
    stop: Notify,
}

impl Generator {
    pub(crate) fn new(order: Order) -> io::Result<Self> {
        if order.connections == 0 || order.most_under_way == 0 || order.callers == Some(0) {
            return Err(invalid(
                "connections, callers and calls under way are at least one each",
            ));
        }
        if order.turns.is_empty() || order.turns.iter().any(|&turn| turn >= order.bodies.len()) {
            return Err(invalid("turns are numbers of messages, and at least one"));
        }
        let models = order.bodies.iter().map(|&(_, model)| model + 1).max().unwrap_or(1);
        if models > order.bodies.len() {
            return Err(invalid("models are numbered from 0 on"));
        }
        Ok(Self {
            tally: Mutex::new(Tally::new(models)),
            order,
            models,
            due_s: Mutex::default(),
            began: OnceLock::new(),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
        })
    }

    /// Adds times at which calls are due, ascending, in seconds from the beginning.
    pub(crate) fn feed(&self, due_s: impl IntoIterator<Item = f64>) {
        self.due_s.lock().unwrap_or_else(PoisonError::into_inner).extend(due_s);
    }

    /// How long ago the load began; None before.
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        self.began.get().map(Instant::elapsed)
    }

    /// Sends no more; `run` returns when the calls under way have ended, or been waited for.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.notify_one();
    }

    /// Returns what was counted since the last time.
    pub(crate) fn take(&self) -> Tally {
        let fresh = Tally::new(self.models);
        std::mem::replace(&mut *self.counted(), fresh)
    }

    /// Carries the load out on the calling thread, once, until it is stopped.
    pub(crate) fn run(self: &Arc<Self>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            let target = Target::new(&self.order.address, self.order.tls.as_ref())?;
            let load = Rc::new(Load {
                head: target.head(&self.order.path)?,
                target,
                framed: self
                    .order
                    .bodies
                    .iter()
                    .map(|(body, _)| message::framed(body))
                    .collect(),
                channels: (0..self.order.connections).map(|_| RefCell::default()).collect(),
                turn: Cell::new(0),
                under_way: Cell::new(0),
                idle: Notify::new(),
                generator: self.clone(),
            });
            load.drive().await
        })
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits until it is to stop; by one task alone.
    async fn stopped(&self) {
        while !self.is_stopping() {
            self.stop.notified().await;
        }
    }

    fn counted(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_due(&self) -> Option<Duration> {
        let mut due_s = self.due_s.lock().unwrap_or_else(PoisonError::into_inner);
        due_s
            .pop_front()
            .map(|due_s| Duration::try_from_secs_f64(due_s).unwrap_or_default())
    }
}

/// A connection, or why there is none.
#[derive(Default)]
struct Channel {
    open: Option<SendRequest<Bytes>>,
    opening: bool,
    why: String,
}

/// What the tasks of the one thread share.
struct Load {
    generator: Arc<Generator>,
    target: Target,
    head: Request<()>,
    framed: Vec<Bytes>,
    channels: Vec<RefCell<Channel>>,
    turn: Cell<usize>,
    under_way: Cell<usize>,
    idle: Notify,
}

impl Load {
    async fn drive(self: Rc<Self>) -> io::Result<()> {
        let within = self.generator.order.timeout.min(CONNECTED_WITHIN);
        // A target that is not there shows itself in the calls.
        for number in 0..self.channels.len() {
            self.connect(number, within).await;
        }
        let began = *self.generator.began.get_or_init(Instant::now);
        match self.generator.order.callers {
            Some(callers) => self.closed_loop(callers).await?,
            None => self.open_loop(began).await?,
        }
        let all = async {
            while self.under_way.get() > 0 {
                self.idle.notified().await;
            }
        };
        let _ = tokio::time::timeout(self.generator.order.drain, all).await;
        self.generator.counted().abandoned += self.under_way.get() as u64;
        Ok(())
    }

    async fn open_loop(self: &Rc<Self>, began: Instant) -> io::Result<()> {
        let pacer = Pacer::new()?;
        while !self.generator.is_stopping() {
            let due = match self.generator.next_due() {
                Some(due) => began + due,
                None => {
                    let _ = tokio::time::timeout(HUNGRY, self.generator.stopped()).await;
                    continue;
                }
            };
            if due > Instant::now() {
                tokio::select! {
                    biased;
                    () = self.generator.stopped() => break,
                    waited = pacer.until(due) => waited?,
                }
            }
            if self.under_way.get() >= self.generator.order.most_under_way {
                self.generator.counted().not_sent += 1;
                continue;
            }
            self.under_way.set(self.under_way.get() + 1);
            let (load, turn) = (self.clone(), self.next_turn());
            tokio::task::spawn_local(async move {
                let late = due.elapsed();
                record(&mut load.generator.counted().lateness, late);
                load.call(turn, due).await;
            });
            if turn % 16 == 0 {
                tokio::task::yield_now().await; // behind the schedule, the answers must still be seen
            }
        }
        Ok(())
    }

    async fn closed_loop(self: &Rc<Self>, callers: usize) -> io::Result<()> {
        for _ in 0..callers {
            let load = self.clone();
            tokio::task::spawn_local(async move {
                while !load.generator.is_stopping() {
                    load.under_way.set(load.under_way.get() + 1);
                    if load.call(load.next_turn(), Instant::now()).await == UNAVAILABLE {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
        // Whatever is due waits for this thread, as an answer that has come does; how long is seen here.
        let pacer = Pacer::new()?;
        loop {
            let due = Instant::now() + TICK;
            tokio::select! {
                biased;
                () = self.generator.stopped() => return Ok(()),
                waited = pacer.until(due) => waited?,
            }
            record(&mut self.generator.counted().lateness, due.elapsed());
        }
    }

    fn next_turn(&self) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    /// Makes a call that is under way, counts it, and returns its status.
    async fn call(self: &Rc<Self>, turn: usize, due: Instant) -> u8 {
        let order = &self.generator.order;
        let body = order.turns[turn % order.turns.len()];
        let left = (due + order.timeout)
            .saturating_duration_since(Instant::now())
            .max(LEAST);
        let attempt = self.attempt(turn % self.channels.len(), body, left);
        let (status, text) = match tokio::time::timeout(left, attempt).await {
            Ok(Ok(answered)) => (answered.status.min(16), answered.text),
            Ok(Err((status, text))) => (status, text),
            Err(_) => (DEADLINE_EXCEEDED, "the deadline has passed".to_owned()),
        };
        let took = due.elapsed();
        {
            let mut tally = self.generator.counted();
            tally.statuses[usize::from(status)] += 1;
            if status == 0 {
                tally.in_time += u64::from(took <= order.in_time);
                record(&mut tally.latencies[order.bodies[body].1], took);
            } else {
                record(&mut tally.failures, took);
                if status == RESOURCE_EXHAUSTED {
                    record(&mut tally.refusals, took);
                }
                tally.samples.entry(status).or_insert(text);
            }
        }
        self.under_way.set(self.under_way.get() - 1);
        if self.under_way.get() == 0 {
            self.idle.notify_one();
        }
        status
    }

    async fn attempt(self: &Rc<Self>, number: usize, body: usize, left: Duration) -> Result<Answered, (u8, String)> {
        let channel = {
            let channel = self.channels[number].borrow();
            channel.open.clone().ok_or_else(|| (UNAVAILABLE, channel.why.clone()))?
        };
        let mut head = self.head.clone();
        head.headers_mut().insert("grpc-timeout", timeout_header(left));
        match call(channel, head, &self.framed[body]).await {
            Ok(answered) => Ok(answered),
            Err(error) => {
                let status = error
                    .reason()
                    .filter(|_| error.is_reset())
                    .map_or(UNAVAILABLE, status_of);
                if !error.is_reset() {
                    self.lost(number, &error);
                }
                Err((status, error.to_string()))
            }
        }
    }

    /// Opens a connection anew, unless that is being done.
    fn lost(self: &Rc<Self>, number: usize, error: &h2::Error) {
        let mut channel = self.channels[number].borrow_mut();
        channel.open = None;
        channel.why = error.to_string();
        if !std::mem::replace(&mut channel.opening, true) {
            tokio::task::spawn_local(self.clone().reconnect(number));
        }
    }

    async fn reconnect(self: Rc<Self>, number: usize) {
        loop {
            tokio::time::sleep(RECONNECT).await;
            if self.generator.is_stopping() || self.open(number, CONNECTED_WITHIN).await {
                return;
            }
        }
    }

    async fn connect(self: &Rc<Self>, number: usize, within: Duration) {
        self.channels[number].borrow_mut().opening = true;
        if !self.open(number, within).await {
            tokio::task::spawn_local(self.clone().reconnect(number));
        }
    }

    async fn open(&self, number: usize, within: Duration) -> bool {
        let opened = tokio::time::timeout(within, self.target.connect()).await;
        let mut channel = self.channels[number].borrow_mut();
        match opened {
            Ok(Ok(open)) => {
                channel.open = Some(open);
                channel.opening = false;
                return true;
            }
            Ok(Err(error)) => channel.why = error.to_string(),
            Err(_) => channel.why = "no connection in time".to_owned(),
        }
        false
    }
}

/// What gRPC makes of a stream that was reset.
fn status_of(reason: Reason) -> u8 {
    match reason {
        Reason::REFUSED_STREAM => UNAVAILABLE,
        Reason::CANCEL => 1,
        Reason::ENHANCE_YOUR_CALM => RESOURCE_EXHAUSTED,
        Reason::INADEQUATE_SECURITY => 7,
        _ => 13,
    }
}

/// At most eight digits and a unit.
fn timeout_header(left: Duration) -> HeaderValue {
    let microseconds = left.as_micros();
    let text = if microseconds < 100_000_000 {
        format!("{microseconds}u")
    } else {
        format!("{}m", (microseconds / 1000).min(99_999_999))
    };
    HeaderValue::try_from(text).expect("digits and a letter are a value")
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
