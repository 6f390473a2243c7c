//! A call as its two sides share it: the connection on its thread, and whoever answers on any other.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;

use crate::hub::{Command, ConnectionShared, Hub};
use crate::message;
use crate::status::Failure;

/// What the application keeps with a call.
#[cfg(feature = "python")]
pub type Owner = pyo3::Py<pyo3::PyAny>;
#[cfg(not(feature = "python"))]
pub type Owner = u64;

const OPEN: u8 = 0;
const ANSWERED: u8 = 1;
const LEFT: u8 = 2;

/// Messages of a stream that may wait to be received before no more are read, and their bytes.
pub const MOST_WAITING: usize = 64;
pub const MOST_WAITING_BYTES: usize = 1 << 22;

pub struct CallShared {
    pub connection: Arc<ConnectionShared>,
    /// Where the connection keeps its side; `serial` tells apart those that had the same place.
    pub place: usize,
    pub serial: u64,
    pub route: usize,
    pub headers: HeaderMap,
    pub deadline: Option<Instant>,
    state: AtomicU8,
    held_bytes: AtomicUsize,
    /// Of these, those of whole messages that the application has not used.
    whole_bytes: AtomicUsize,
    owner: Mutex<Option<Owner>>,
    /// Messages received and not taken by the application.
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    paused: AtomicBool,
    sent: AtomicU64,
    sent_posted: AtomicBool,
}

impl CallShared {
    pub fn new(
        connection: Arc<ConnectionShared>,
        place: usize,
        serial: u64,
        route: usize,
        headers: HeaderMap,
        deadline: Option<Instant>,
    ) -> Self {
        CallShared {
            connection,
            place,
            serial,
            route,
            headers,
            deadline,
            state: AtomicU8::new(OPEN),
            held_bytes: AtomicUsize::new(0),
            whole_bytes: AtomicUsize::new(0),
            owner: Mutex::new(None),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            sent_posted: AtomicBool::new(false),
        }
    }

    pub fn has_left(&self) -> bool {
        self.state.load(Ordering::Acquire) == LEFT
    }

    /// Makes the caller one who left; false where there was an answer before.
    pub fn leave(&self) -> bool {
        self.turn(LEFT)
    }

    /// Ends a unary call with OK; does nothing after an answer or where the caller left. From any thread.
    pub fn reply(self: &Arc<Self>, body: Answer) {
        if self.turn(ANSWERED) {
            self.exchange(&body);
            self.command(Command::Reply(self.clone(), body));
        }
    }

    /// Ends unary calls with OK, each with its `answer`, which nobody makes for those that have ended or whose caller
    /// left; returns how many took it. Wakes each thread of connections once, or so. From any thread.
    pub fn reply_all<'c>(calls: impl Iterator<Item = &'c Arc<Self>>, mut answer: impl FnMut(usize) -> Answer) -> usize {
        let mut taken = 0;
        let mut commands = Vec::new();
        let mut last: Option<&Arc<Hub>> = None;
        for (number, call) in calls.enumerate() {
            if !call.turn(ANSWERED) {
                continue;
            }
            taken += 1;
            let body = answer(number);
            call.exchange(&body);
            let hub = &call.connection.hub;
            if let Some(other) = last.filter(|last| !Arc::ptr_eq(last, hub)) {
                other.push_all(&mut commands);
            }
            last = Some(hub);
            commands.push(Command::Reply(call.clone(), body));
        }
        if let Some(hub) = last {
            hub.push_all(&mut commands);
        }
        taken
    }

    /// Ends the call with a failure, after what was sent before. From any thread.
    pub fn fail(self: &Arc<Self>, failure: Failure) {
        if self.turn(ANSWERED) {
            self.command(Command::End(self.clone(), Some(Box::new(failure))));
        }
    }

    /// Ends a stream with OK, after what was sent before. From any thread.
    pub fn finish(self: &Arc<Self>) {
        if self.turn(ANSWERED) {
            self.command(Command::End(self.clone(), None));
        }
    }

    /// Sends a stream's next message. From any thread.
    pub fn send(self: &Arc<Self>, body: Answer) {
        if self.state.load(Ordering::Acquire) == OPEN {
            self.hold(body.size());
            self.command(Command::Send(self.clone(), body));
        }
    }

    /// The application has a message of the stream no longer waiting, of so many bytes.
    pub fn received(self: &Arc<Self>, size: usize) {
        let used = size + message::PREFIX_BYTES;
        self.whole_bytes.fetch_sub(used, Ordering::Relaxed);
        self.use_up(used);
        self.waiting_bytes.fetch_sub(size, Ordering::SeqCst);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if self.has_room() && self.paused.swap(false, Ordering::SeqCst) {
            self.command(Command::Pull(self.clone()));
        }
    }

    /// A message of the stream goes to the application; false where no more should be read until `Pull`.
    pub fn deliver(&self, size: usize) -> bool {
        let bytes = self.waiting_bytes.fetch_add(size, Ordering::SeqCst) + size;
        let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        if waiting < MOST_WAITING && bytes < MOST_WAITING_BYTES {
            return true;
        }
        self.paused.swap(true, Ordering::SeqCst);
        // It may have taken everything before it could see the flag.
        self.has_room() && self.paused.swap(false, Ordering::SeqCst)
    }

    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) <= MOST_WAITING / 2
            && self.waiting_bytes.load(Ordering::SeqCst) <= MOST_WAITING_BYTES / 2
    }

    /// A message of the stream is on its way; true where the application is to be told.
    pub fn count_sent(&self) -> bool {
        self.sent.fetch_add(1, Ordering::AcqRel);
        !self.sent_posted.swap(true, Ordering::AcqRel)
    }

    /// How many messages are on their way.
    pub fn sent(&self) -> u64 {
        self.sent_posted.store(false, Ordering::Release);
        self.sent.load(Ordering::Acquire)
    }

    /// A message is whole: so many of the bytes that are counted wait for the peer no longer.
    pub fn has_message(&self, size: usize) {
        self.whole_bytes.fetch_add(size, Ordering::Relaxed);
        self.connection.pending_bytes.fetch_sub(size, Ordering::Relaxed);
    }

    /// The answer is kept in the place of the message.
    fn exchange(&self, answer: &Answer) {
        self.hold(answer.size());
        self.use_up(self.whole_bytes.swap(0, Ordering::Relaxed));
    }

    fn use_up(&self, size: usize) {
        self.held_bytes.fetch_sub(size, Ordering::Relaxed);
        self.connection.server.bytes.fetch_sub(size, Ordering::Relaxed);
    }

    /// Counts bytes that are kept in memory for this call: of a message that is not whole, or for the peer.
    pub fn hold(&self, size: usize) {
        self.held_bytes.fetch_add(size, Ordering::Relaxed);
        self.connection.pending_bytes.fetch_add(size, Ordering::Relaxed);
        self.connection.server.bytes.fetch_add(size, Ordering::Relaxed);
    }

    /// Such bytes are there no longer.
    pub fn let_go(&self, size: usize) {
        self.connection.pending_bytes.fetch_sub(size, Ordering::Relaxed);
        self.use_up(size);
    }

    pub fn set_owner(&self, owner: Owner) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some(owner);
    }

    pub fn take_owner(&self) -> Option<Owner> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub fn with_owner<T>(&self, look: impl FnOnce(Option<&Owner>) -> T) -> T {
        look(self.owner.lock().unwrap_or_else(PoisonError::into_inner).as_ref())
    }

    fn turn(&self, state: u8) -> bool {
        self.state
            .compare_exchange(OPEN, state, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn command(&self, command: Command) {
        self.connection.hub.push(command);
    }
}

impl Drop for CallShared {
    fn drop(&mut self) {
        let held = *self.held_bytes.get_mut();
        let pending = held - *self.whole_bytes.get_mut();
        self.connection.pending_bytes.fetch_sub(pending, Ordering::Relaxed);
        self.connection.server.bytes.fetch_sub(held, Ordering::Relaxed);
    }
}

/// A message on its way out: small ones carry their prefix, large ones are not copied.
#[derive(Debug)]
pub enum Answer {
    Framed(Bytes),
    Bare(Bytes),
}

impl Answer {
    /// Up to here a copy costs less than a frame of its own for the prefix.
    pub const SMALL_BYTES: usize = 1 << 14;

    pub fn copy_of(body: &[u8]) -> Self {
        Answer::Framed(message::framed(body))
    }

    /// Prefix included.
    pub fn size(&self) -> usize {
        match self {
            Answer::Framed(bytes) => bytes.len(),
            Answer::Bare(bytes) => bytes.len() + message::PREFIX_BYTES,
        }
    }
}
