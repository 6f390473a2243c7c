//! One HTTP/2 connection: from frames to calls and from answers to frames, all on its I/O thread.

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use crate::body::Body;
use crate::call::{Answer, CallShared};
use crate::gathered::Gathered;
use crate::hub::{Command, ConnectionShared};
use crate::inbox::{Event, Level};
use crate::message::{self, Encoding, Message, Reader};
use crate::options::{Kind, Limits};
use crate::server::{Phase, Place};
use crate::status::{self, Failure};
use crate::{metadata, timeout};

mod ending;
mod incoming;
mod keepalive;
mod outgoing;
mod request;
mod slot;
mod time;

use keepalive::{Due, Keepalive};
use request::{encoding, no_grpc};
use slot::{Act, Call, Slot, SlotWaker, Step};
use time::jittered;

/// Compressed messages up to here are inflated where they are read; larger ones would keep other connections waiting.
const INFLATE_HERE_BYTES: usize = 1 << 13;
/// Metadata up to here are not counted: the number of calls bounds them. Beyond it, each header takes so many bytes more.
const FREE_METADATA_BYTES: usize = 1 << 10;
const HEADER_BYTES: usize = 128;
/// Deadlines further away than this are not watched.
const FARTHEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes of an answer that HTTP/2 is asked to take at once.
const PIECE_BYTES: usize = 1 << 18;

/// Of answers that HTTP/2 is given before it is seen whether the peer takes any.
const MOST_HANDED_BYTES: usize = 1 << 20;

/// How HTTP/2 is to be spoken.
pub fn builder(limits: &Limits) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(1 << 22)
        .initial_connection_window_size(1 << 23)
        // Of 4 MB tensors a fifth to a half more come in a second than with frames of 64 KiB, for less CPU on both sides.
        .max_frame_size(1 << 18)
        .max_concurrent_streams(limits.streams_per_connection)
        // More than we take, so that a call with too much is refused in gRPC's words.
        .max_header_list_size(u32::try_from(limits.metadata_bytes * 8).unwrap_or(u32::MAX))
        .max_send_buffer_size(1 << 20)
        .max_concurrent_reset_streams(64)
        .reset_stream_duration(Duration::from_secs(5))
        .max_pending_accept_reset_streams(2048)
        .max_local_error_reset_streams(Some(1024));
    builder
}

/// A future that ends with the connection. When it is dropped, everybody under way has left.
pub struct Connection<T> {
    h2: h2::server::Connection<Gathered<T>, Bytes>,
    /// What it writes goes when it is sent.
    out: Gathered<T>,
    shared: Arc<ConnectionShared>,
    _place: Place,
    slots: Vec<Slot>,
    free: Vec<usize>,
    under_way: usize,
    next_serial: u64,
    has_called: bool,
    /// Whether the peer takes nothing of what was written: no more is handed to HTTP/2, which would hold it uncounted.
    is_blocked: bool,
    /// Of answers, since HTTP/2 has last written all that it had.
    handed_bytes: usize,
    /// Places of calls that wait for that to end.
    held_back: Vec<usize>,
    deadlines: BTreeSet<(Instant, usize)>,
    timer: Pin<Box<Sleep>>,
    timer_at: Instant,
    events: Vec<Event>,
    response_headers: HeaderMap,
    ok_trailers: HeaderMap,
    ping: Option<PingPong>,
    /// Whether a ping is not answered.
    is_pinged: bool,
    keepalive: Keepalive,
    /// Set by each byte that is read.
    has_read: Arc<AtomicBool>,
    age_limit: Option<Instant>,
    is_draining: bool,
    has_said_goodbye: bool,
    /// How many more calls were reset as soon as they came than were not.
    rapid: usize,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    pub fn new(
        mut h2: h2::server::Connection<Gathered<T>, Bytes>,
        out: Gathered<T>,
        shared: Arc<ConnectionShared>,
        place: Place,
        has_read: Arc<AtomicBool>,
    ) -> Self {
        let now = Instant::now();
        let limits = &shared.server.limits;
        let age_limit =
            (!limits.connection_age.is_zero()).then(|| now + jittered(limits.connection_age, shared.number));
        let ping = h2.ping_pong();
        out.gather();
        let timer_at = age_limit.map_or(now + limits.keepalive, |limit| limit.min(now + limits.keepalive));
        Connection {
            h2,
            out,
            _place: place,
            slots: Vec::new(),
            free: Vec::new(),
            under_way: 0,
            next_serial: 0,
            has_called: false,
            is_blocked: false,
            handed_bytes: 0,
            held_back: Vec::new(),
            deadlines: BTreeSet::new(),
            timer: Box::pin(tokio::time::sleep_until(timer_at.into())),
            timer_at,
            events: Vec::new(),
            response_headers: status::response_headers(),
            ok_trailers: status::ok_trailers(),
            ping,
            is_pinged: false,
            keepalive: Keepalive::new(limits.keepalive, limits.keepalive_timeout, now),
            has_read,
            age_limit,
            is_draining: false,
            has_said_goodbye: false,
            rapid: 0,
            shared,
        }
    }

    /// Goes on as far as it can; true where the connection has ended.
    fn go_on(&mut self, context: &mut Context<'_>) -> bool {
        match self.shared.server.phase() {
            Phase::Serving => {}
            Phase::Draining => self.drain(),
            Phase::Closed => return true,
        }
        loop {
            while let Some((commands, woken, drain)) = self.shared.take_orders() {
                for command in commands {
                    self.carry_out(command);
                }
                for place in woken {
                    self.guarded(place, Self::advance);
                }
                if drain {
                    self.drain();
                }
            }
            loop {
                let accepted = self.h2.poll_accept(context);
                match self.out.poll_send(context) {
                    Poll::Ready(Err(_)) => return true,
                    Poll::Ready(Ok(())) => (self.is_blocked, self.handed_bytes) = (false, 0),
                    Poll::Pending => self.is_blocked = true,
                }
                match accepted {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        self.begin(request, respond);
                        self.calm();
                    }
                    Poll::Ready(Some(Err(_)) | None) => return true,
                    Poll::Pending => break,
                }
            }
            if !self.is_blocked && !self.held_back.is_empty() {
                self.release();
                continue;
            }
            self.post();
            if self.watch_time(context) {
                return true;
            }
            if std::mem::take(&mut self.has_said_goodbye) {
                continue; // HTTP/2 sends it when it is polled next, and does not ask for that
            }
            if self.shared.wait(context.waker()) {
                return false;
            }
        }
    }

    fn drain(&mut self) {
        if !self.is_draining {
            self.is_draining = true;
            self.has_said_goodbye = true;
            self.h2.graceful_shutdown();
        }
    }

    fn free_place(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            let place = self.slots.len();
            let waker = Waker::from(Arc::new(SlotWaker {
                connection: self.shared.clone(),
                place,
            }));
            self.slots.push(Slot { waker, call: None });
            place
        })
    }

    /// Takes a call out of its slot, does something with it, and puts it back unless it ended. A panic ends it.
    fn guarded(&mut self, place: usize, act: fn(&mut Self, &mut Call, &Waker) -> Step) {
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        let Some(mut call) = slot.call.take() else {
            return;
        };
        let waker = slot.waker.clone();
        let step = catch_unwind(AssertUnwindSafe(|| act(self, &mut call, &waker)));
        match step {
            Ok(Step::Wait) => self.slots[place].call = Some(call),
            Ok(Step::Over(status)) => self.forget(place, *call, status),
            Err(panic) => {
                self.shared.server.inbox.log(
                    Level::Error,
                    format!("a call failed by a bug of the transport: {}", words(&*panic)),
                );
                let status = self.end_now(&mut call, Failure::new(status::INTERNAL, "internal error"));
                self.forget(place, *call, status);
            }
        }
    }

    /// Reads, writes and looks for a reset.
    fn advance(&mut self, call: &mut Call, waker: &Waker) -> Step {
        let mut context = Context::from_waker(waker);
        #[cfg(test)]
        assert!(!call.shared.headers.contains_key("x-panic"), "as the test wishes");
        if let Step::Over(status) = self.read(call, &mut context) {
            return Step::Over(status);
        }
        if let Step::Over(status) = self.write(call, &mut context) {
            return Step::Over(status);
        }
        let reset = match (&mut call.respond, &mut call.send) {
            (_, Some(send)) => send.poll_reset(&mut context),
            (Some(respond), None) => respond.poll_reset(&mut context),
            (None, None) => Poll::Pending,
        };
        match reset {
            Poll::Ready(_) => self.left(call),
            Poll::Pending => Step::Wait,
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Connection<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        match catch_unwind(AssertUnwindSafe(|| this.go_on(context))) {
            Ok(false) => Poll::Pending,
            Ok(true) => Poll::Ready(()),
            Err(panic) => {
                this.shared.server.inbox.log(
                    Level::Error,
                    format!("a connection ended by a bug of the transport: {}", words(&*panic)),
                );
                Poll::Ready(())
            }
        }
    }
}

impl<T> Drop for Connection<T> {
    fn drop(&mut self) {
        self.shared.close();
        let server = &self.shared.server;
        for slot in &mut self.slots {
            if let Some(call) = slot.call.take() {
                if call.shared.leave() && call.is_known {
                    self.events.push(Event::Left(call.shared.clone()));
                }
                call.let_go();
                server.calls.fetch_sub(1, Ordering::Relaxed);
                if call.kind != Kind::Stream && call.is_known {
                    self.shared.hub.lookout.went(Instant::now());
                }
                server.statistics.add(
                    call.shared.route,
                    status::CANCELLED,
                    call.began.elapsed(),
                    call.request_bytes,
                    call.response_bytes,
                );
            }
        }
        if server.inbox.post_all(&mut self.events) {
            server.inbox.tell(); // the thread may be about to end
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "it left no words"
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
