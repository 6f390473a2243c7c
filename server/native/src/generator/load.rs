//! How a load is carried out, by the tasks of one thread.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::Reason;
use http::{HeaderValue, Request};
use tokio::sync::Notify;

use super::tally::record;
use super::Generator;
use crate::client::{call, Answered, Target};
use crate::message;
use crate::pacer::Pacer;
use crate::status::{DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE};

const RECONNECT: Duration = Duration::from_millis(100);
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// A closed loop's pause after a connection that failed: those who are refused at once do not spin.
const PAUSE: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(10);
const LEAST: Duration = Duration::from_millis(1);
/// How long a queue of times that ran dry is left alone.
const HUNGRY: Duration = Duration::from_millis(1);

/// A connection, or why there is none.
#[derive(Default)]
struct Channel {
    open: Option<SendRequest<Bytes>>,
    opening: bool,
    why: String,
}

/// What the tasks of the one thread share.
pub(super) struct Load {
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
    pub(super) fn new(generator: Arc<Generator>) -> io::Result<Self> {
        let order = &generator.order;
        let target = Target::new(&order.address, order.tls.as_ref())?;
        Ok(Load {
            head: target.head(&order.path)?,
            target,
            framed: order.bodies.iter().map(|(body, _)| message::framed(body)).collect(),
            channels: (0..order.connections).map(|_| RefCell::default()).collect(),
            turn: Cell::new(0),
            under_way: Cell::new(0),
            idle: Notify::new(),
            generator,
        })
    }

    /// Sends calls until the generator is stopped.
    pub(super) async fn drive(self: Rc<Self>) -> io::Result<()> {
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
        let (took, model) = (due.elapsed(), order.bodies[body].1);
        self.generator.counted().count(model, status, text, took, order.in_time);
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
