//! A listener as Python sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use rustls::ServerConfig;

use super::application::Application;
use super::call::{bytes_of, Call, Exchange};
use crate::inbox::{Event, Level};
use crate::listener::Listener;
use crate::options::{Kind, Limits, Route};
use crate::server::ServerShared;
use crate::socket::BoundSocket;
use crate::tls;

/// What an event of `take` is about.
const LEFT: u8 = 0;
const COLD: u8 = 1;
const STREAM: u8 = 2;
const MESSAGE: u8 = 3;
const SENT: u8 = 4;
const STREAM_LEFT: u8 = 5;
const LOG: u8 = 6;
const STOPPED: u8 = 7;

/// A listener and all its connections.
#[pyclass(frozen, module = "shoal_native")]
pub(super) struct Transport {
    server: Arc<ServerShared>,
    application: Arc<Application>,
    tls: Arc<ArcSwapOption<ServerConfig>>,
    address: String,
    threads: usize,
    reuse_port: bool,
    listener: Mutex<Option<Listener>>,
}

#[pymethods]
impl Transport {
    /// `methods` are paths with one of the kinds `hot`, `cold` and `stream`; `now_s` is what the clock of all deadlines
    /// says; `make_peer(address, certificate)` returns a connection's peer, `make_stream(exchange)` what
    /// the events of a stream are for; `limits` are those of `Limits`, times in seconds.
    #[new]
    #[pyo3(signature = (address, methods, bounds_s, now_s, make_peer, make_stream, limits, threads=1, reuse_port=false))]
    #[allow(clippy::too_many_arguments)] // a constructor that Python calls with names
    fn new(
        py: Python<'_>,
        address: String,
        methods: Vec<(String, String)>,
        bounds_s: Vec<f64>,
        now_s: f64,
        make_peer: Py<PyAny>,
        make_stream: Py<PyAny>,
        limits: &Bound<'_, PyDict>,
        threads: usize,
        reuse_port: bool,
    ) -> PyResult<Self> {
        let names = methods
            .iter()
            .map(|(path, _)| PyString::new(py, path).unbind())
            .collect();
        let routes: PyResult<Vec<Route>> = methods
            .into_iter()
            .map(|(path, kind)| {
                let kind = match kind.as_str() {
                    "hot" => Kind::Hot,
                    "cold" => Kind::Cold,
                    "stream" => Kind::Stream,
                    _ => return Err(PyValueError::new_err(format!("{kind:?} is no kind of method"))),
                };
                Ok(Route { path, kind })
            })
            .collect();
        Ok(Transport {
            server: Arc::new(ServerShared::new(limits_of(limits)?, routes?, &bounds_s)?),
            application: Arc::new(Application {
                then: (Instant::now(), now_s),
                make_peer,
                make_stream,
                methods: names,
            }),
            tls: Arc::new(ArcSwapOption::empty()),
            address,
            threads,
            reuse_port,
            listener: Mutex::new(None),
        })
    }

    /// Binds and serves; returns the port.
    fn start(&self) -> PyResult<u16> {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if listener.is_some() {
            return Err(PyRuntimeError::new_err("it has been started"));
        }
        let bound =
            BoundSocket::new(&self.address, self.reuse_port).map_err(|error| PyOSError::new_err(sentence(&error)))?;
        let port = bound.port()?;
        *listener = Some(Listener::start(&self.server, bound, self.tls.clone(), self.threads)?);
        Ok(port)
    }

    /// Uses this certificate, key and CA for all handshakes from now on.
    #[pyo3(signature = (certificate, key, client_ca))]
    fn renew(&self, certificate: &[u8], key: &[u8], client_ca: &[u8]) -> PyResult<()> {
        let config = tls::server_config(certificate, key, client_ca).map_err(PyValueError::new_err)?;
        self.tls.store(Some(config));
        Ok(())
    }

    /// A file descriptor that is readable while there is something to take.
    fn fileno(&self) -> i32 {
        self.server.inbox.descriptor()
    }

    /// Takes at most `most` events: the hot calls as lists by method, then all others as (what, whose, value).
    fn take<'py>(&self, py: Python<'py>, most: usize) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
        let mut hot: Vec<(usize, Bound<'py, PyList>)> = Vec::new();
        let rest = PyList::empty(py);
        for event in self.server.inbox.take(most, Instant::now()) {
            match event {
                Event::Call(shared, body) => {
                    if shared.has_left() {
                        continue; // the call of one who has left is never computed
                    }
                    let route = shared.route;
                    if let Some(failure) = self.server.held_back(&shared, &body) {
                        shared.fail(failure); // one like it was refused while this waited
                        continue;
                    }
                    let call = Py::new(
                        py,
                        Call {
                            application: self.application.clone(),
                            shared,
                            body,
                        },
                    )?;
                    if self.server.routes[route].kind == Kind::Cold {
                        rest.append((COLD, call, route))?;
                        continue;
                    }
                    match hot.iter().find(|(index, _)| *index == route) {
                        Some((_, calls)) => calls.append(call)?,
                        None => hot.push((route, PyList::new(py, [call])?)),
                    }
                }
                Event::Stream(shared) => {
                    let route = shared.route;
                    let exchange = Exchange {
                        application: self.application.clone(),
                        shared: shared.clone(),
                    };
                    // Made here, because the stream's first messages may be taken with it.
                    let stream = self.application.make_stream.call1(py, (exchange,))?;
                    shared.set_owner(stream.clone_ref(py));
                    rest.append((STREAM, stream, route))?;
                }
                Event::Message(shared, body) => {
                    // Counted until it is received.
                    if let Some(owner) = shared.with_owner(|owner| owner.map(|owner| owner.clone_ref(py))) {
                        let message = body
                            .as_ref()
                            .map(|body| bytes_of(py, body, 0..body.len()))
                            .transpose()?;
                        rest.append((MESSAGE, owner, message))?;
                    } else if let Some(body) = body {
                        shared.received(body.len());
                    }
                }
                Event::Sent(shared) => {
                    let sent = shared.sent();
                    if let Some(owner) = shared.with_owner(|owner| owner.map(|owner| owner.clone_ref(py))) {
                        rest.append((SENT, owner, sent))?;
                    }
                }
                Event::Left(shared) => {
                    let what = match self.server.routes[shared.route].kind {
                        Kind::Stream => STREAM_LEFT,
                        Kind::Hot | Kind::Cold => LEFT,
                    };
                    if let Some(owner) = shared.take_owner() {
                        rest.append((what, owner, py.None()))?;
                    }
                }
                Event::Log(level, text) => {
                    let level = match level {
                        Level::Warning => 30,
                        Level::Error => 40,
                    };
                    rest.append((LOG, level, text))?;
                }
                Event::Stopped => rest.append((STOPPED, py.None(), py.None()))?,
            }
        }
        Ok((PyList::new(py, hot)?, rest))
    }

    /// What was counted: method index (that of the others is the number of methods), status, counts per bucket, their
    /// sum in seconds, bytes of requests, bytes of responses.
    fn statistics(&self) -> Vec<(usize, u8, Vec<u64>, f64, u64, u64)> {
        self.server
            .statistics
            .read()
            .into_iter()
            .map(|reading| {
                (
                    reading.route,
                    reading.status,
                    reading.counts,
                    reading.total_s,
                    reading.request_bytes,
                    reading.response_bytes,
                )
            })
            .collect()
    }

    /// Connections, calls under way, and bytes of messages in memory.
    fn inside(&self) -> (usize, usize, usize) {
        use std::sync::atomic::Ordering::Relaxed;
        (
            self.server.register.len(),
            self.server.calls.load(Relaxed),
            self.server.bytes.load(Relaxed),
        )
    }

    /// How many calls were refused by holds, with what each hold was given to count them; and whether there may be more.
    fn refused(&self) -> (Vec<(Py<PyAny>, u64)>, bool) {
        self.server.take_refused(Instant::now())
    }

    /// How many calls were refused because they would not have been taken in time.
    fn unread(&self) -> u64 {
        self.server.unread.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Whether calls are refused by holds, or were.
    fn has_holds(&self) -> bool {
        self.server.has_holds()
    }

    /// Takes no new connections and calls; an event says when those there are have ended.
    fn drain(&self) {
        self.server.drain();
    }

    /// Ends all calls and connections.
    fn abort(&self) {
        self.server.abort();
    }

    /// Ends the threads.
    fn join(&self, py: Python<'_>) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut listener) = listener {
            py.detach(|| listener.join());
        }
    }
}

fn sentence(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
        None => error.to_string(),
    }
}

fn limits_of(given: &Bound<'_, PyDict>) -> PyResult<Limits> {
    let mut limits = Limits::default();
    for (name, value) in given {
        let name: String = name.extract()?;
        let seconds = || -> PyResult<Duration> {
            Duration::try_from_secs_f64(value.extract()?)
                .map_err(|error| PyValueError::new_err(format!("{name}: {error}")))
        };
        match name.as_str() {
            "message_bytes" => limits.message_bytes = value.extract()?,
            "metadata_bytes" => limits.metadata_bytes = value.extract()?,
            "calls" => limits.calls = value.extract()?,
            "bytes_in_flight" => limits.bytes_in_flight = value.extract()?,
            "connections" => limits.connections = value.extract()?,
            "streams_per_connection" => limits.streams_per_connection = value.extract()?,
            "handshake_s" => limits.handshake = seconds()?,
            "keepalive_s" => limits.keepalive = seconds()?,
            "keepalive_timeout_s" => limits.keepalive_timeout = seconds()?,
            "connection_age_s" => limits.connection_age = seconds()?,
            "connection_age_grace_s" => limits.connection_age_grace = seconds()?,
            _ => return Err(PyValueError::new_err(format!("there is no limit {name:?}"))),
        }
    }
    Ok(limits)
}
