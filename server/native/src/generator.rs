//! A load that is counted in windows while it runs: the engine behind `shoal bench`.
//!
//! A closed loop has a number of callers; an open loop sends at the times that it is fed, whatever the server does. Calls
//! have deadlines and are measured from when they were meant to be sent; lost connections are opened again. One thread
//! carries it out (`run`); others feed it, take what was counted, and stop it.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::client::ClientTls;

mod load;
mod tally;

use load::Load;
pub(crate) use tally::Tally;

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
        LocalSet::new().block_on(&runtime, async { Rc::new(Load::new(self.clone())?).drive().await })
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

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
