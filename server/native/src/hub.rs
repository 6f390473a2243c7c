//! From any thread to the connections of one I/O thread: commands gather, and the thread is woken once for all of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;

use crate::call::{Answer, CallShared, Owner};
use crate::lookout::Lookout;
use crate::raising::Raising;
use crate::server::ServerShared;
use crate::status::Failure;

pub enum Command {
    Reply(Arc<CallShared>, Answer),
    Send(Arc<CallShared>, Answer),
    End(Arc<CallShared>, Option<Box<Failure>>),
    Pull(Arc<CallShared>),
    Inflated(Arc<CallShared>, Result<Bytes, Box<Failure>>),
}

impl Command {
    fn call(&self) -> &Arc<CallShared> {
        match self {
            Command::Reply(call, _)
            | Command::Send(call, _)
            | Command::End(call, _)
            | Command::Pull(call)
            | Command::Inflated(call, _) => call,
        }
    }
}

#[derive(Default)]
pub struct Hub {
    commands: Mutex<Vec<Command>>,
    notified: AtomicBool,
    waker: Mutex<Option<Waker>>,
    closed: AtomicBool,
    /// The thread while it lingers.
    idle: Mutex<Option<Thread>>,
    /// Of the hub's thread.
    pub raising: Raising,
    pub lookout: Lookout,
}

impl Hub {
    /// Keeps the hub's thread for so long, or until there is a command. On that thread.
    pub fn linger(&self, time: Duration) {
        *lock(&self.idle) = Some(std::thread::current());
        if !self.notified.load(Ordering::SeqCst) {
            std::thread::park_timeout(time);
        }
        *lock(&self.idle) = None;
    }

    pub fn push(&self, command: Command) {
        lock(&self.commands).push(command);
        self.notify();
    }

    /// Pushes all, in order, and leaves the vector empty.
    pub fn push_all(&self, commands: &mut Vec<Command>) {
        lock(&self.commands).append(commands);
        self.notify();
    }

    /// Ends the hub's future.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.notify();
    }

    fn notify(&self) {
        if !self.notified.swap(true, Ordering::SeqCst) {
            let waker = lock(&self.waker).take();
            if let Some(waker) = waker {
                waker.wake();
            }
            if let Some(thread) = &*lock(&self.idle) {
                thread.unpark();
            }
            if self.lookout.is_for_one() {
                // It has been awake for so long that it would not be let onto our processor before we are done.
                std::thread::yield_now();
            }
        }
    }
}

/// Hands commands on to their connections; ends when the hub is closed.
pub struct Distribution(pub Arc<Hub>);

impl Future for Distribution {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let hub = &self.0;
        *lock(&hub.waker) = Some(context.waker().clone());
        loop {
            // The flag falls before the commands are taken, so what is pushed meanwhile is taken or wakes us again.
            hub.notified.store(false, Ordering::SeqCst);
            let commands = std::mem::take(&mut *lock(&hub.commands));
            if commands.is_empty() {
                break;
            }
            for command in commands {
                let call = command.call().clone();
                call.connection.command(command);
            }
        }
        if hub.closed.load(Ordering::SeqCst) {
            // It keeps the runtime, which keeps the hub.
            *lock(&hub.waker) = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// What a connection is to others.
pub struct ConnectionShared {
    pub hub: Arc<Hub>,
    pub server: Arc<ServerShared>,
    pub number: u64,
    /// As in `ipv4:127.0.0.1:50000`.
    pub address: String,
    /// The caller's, which was verified.
    pub certificate: Option<CertificateDer<'static>>,
    /// What the application made of address and certificate.
    pub peer: Mutex<Option<Owner>>,
    /// Its unary calls that the application has not taken.
    pub unread: AtomicUsize,
    /// Bytes in memory that wait for the peer: of messages that are not whole, and of answers that it has not taken.
    pub pending_bytes: AtomicUsize,
    orders: Mutex<Orders>,
}

/// What a connection has to look at when it is polled next.
#[derive(Default)]
pub struct Orders {
    pub commands: Vec<Command>,
    /// Places of calls that can go on.
    pub woken: Vec<usize>,
    pub drain: bool,
    waker: Option<Waker>,
    closed: bool,
}

impl ConnectionShared {
    pub fn new(
        hub: Arc<Hub>,
        server: Arc<ServerShared>,
        number: u64,
        address: String,
        certificate: Option<CertificateDer<'static>>,
    ) -> Self {
        ConnectionShared {
            hub,
            server,
            number,
            address,
            certificate,
            peer: Mutex::new(None),
            unread: AtomicUsize::new(0),
            pending_bytes: AtomicUsize::new(0),
            orders: Mutex::new(Orders::default()),
        }
    }

    /// Hangs up once the calls under way are over.
    pub fn drain(&self) {
        self.order(|orders| orders.drain = true);
    }

    pub fn wake_call(&self, place: usize) {
        self.order(|orders| orders.woken.push(place));
    }

    fn command(&self, command: Command) {
        self.order(|orders| orders.commands.push(command));
    }

    fn order(&self, write: impl FnOnce(&mut Orders)) {
        let mut orders = lock(&self.orders);
        if orders.closed {
            return;
        }
        write(&mut orders);
        let waker = orders.waker.take();
        drop(orders);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes all orders; None where there are none. From here to `wait`, nobody needs to wake the connection.
    pub fn take_orders(&self) -> Option<(Vec<Command>, Vec<usize>, bool)> {
        let mut orders = lock(&self.orders);
        orders.waker = None;
        if orders.commands.is_empty() && orders.woken.is_empty() && !orders.drain {
            return None;
        }
        Some((
            std::mem::take(&mut orders.commands),
            std::mem::take(&mut orders.woken),
            std::mem::take(&mut orders.drain),
        ))
    }

    /// Has the connection woken by the next order; false where one came in the meantime.
    pub fn wait(&self, waker: &Waker) -> bool {
        let mut orders = lock(&self.orders);
        if orders.commands.is_empty() && orders.woken.is_empty() && !orders.drain {
            orders.waker = Some(waker.clone());
            return true;
        }
        false
    }

    /// Drops what was ordered, and all that will be.
    pub fn close(&self) {
        let mut orders = lock(&self.orders);
        orders.closed = true;
        let dropped = std::mem::take(&mut orders.commands);
        drop(orders);
        drop(dropped);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
