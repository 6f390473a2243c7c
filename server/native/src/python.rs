//! What Python imports. Everything here runs with the GIL held; nothing else in this crate needs it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use rustls::ServerConfig;

use crate::body::Body;
use crate::call::{Answer, CallShared};
use crate::inbox::{Event, Level};
use crate::listener::{BoundSocket, Listener};
use crate::metadata::{self, Value};
use crate::options::{Kind, Limits, Route};
use crate::server::ServerShared;
use crate::status::Failure;
use crate::{message, tls};

/// What an event of `take` is about.
const LEFT: u8 = 0;
const COLD: u8 = 1;
const STREAM: u8 = 2;
const MESSAGE: u8 = 3;
const SENT: u8 = 4;
const STREAM_LEFT: u8 = 5;
const LOG: u8 = 6;
const STOPPED: u8 = 7;

/// What all calls of a transport need of Python.
struct Application {
    /// A moment, and what the application's clock said then.
    then: (Instant, f64),
    make_peer: Py<PyAny>,
    make_stream: Py<PyAny>,
    methods: Vec<Py<PyString>>,
}

impl Application {
    fn seconds(&self, at: Instant) -> f64 {
        let (then, then_s) = self.then;
        match at.checked_duration_since(then) {
            Some(later) => then_s + later.as_secs_f64(),
            None => then_s - then.duration_since(at).as_secs_f64(),
        }
    }

    fn peer(&self, py: Python<'_>, call: &CallShared) -> PyResult<Py<PyAny>> {
        let connection = &call.connection;
        if let Some(peer) = &*connection.peer.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(peer.clone_ref(py));
        }
        let holder = connection.holder.as_ref().map(|holder| {
            (
                holder.uris.clone(),
                holder.dns_names.clone(),
                holder.subject.clone(),
                holder.serial.clone(),
                holder.expires_epoch_s,
            )
        });
        let peer = self.make_peer.call1(py, (connection.address.clone(), holder))?;
        // Not locked while Python runs: it may let another thread run, which would wait for the lock with the GIL in hand.
        let mut known = connection.peer.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.get_or_insert(peer).clone_ref(py))
    }

    fn method(&self, py: Python<'_>, call: &CallShared) -> Py<PyString> {
        self.methods[call.route].clone_ref(py)
    }
}

fn metadata_of<'py>(py: Python<'py>, call: &CallShared) -> PyResult<Bound<'py, PyTuple>> {
    let mut pairs = Vec::new();
    for (name, value) in metadata::pairs(&call.headers) {
        pairs.push(match value {
            Value::Text(text) => (name, PyString::new(py, &text).into_any()),
            Value::Binary(raw) => (name, PyBytes::new(py, &raw).into_any()),
        });
    }
    PyTuple::new(py, pairs)
}

/// A range of a message as an object of Python; the one copy on its way there.
pub fn bytes_of<'py>(py: Python<'py>, body: &Body, range: Range<usize>) -> PyResult<Bound<'py, PyBytes>> {
    match body.head().get(range.clone()) {
        Some(bytes) => Ok(PyBytes::new(py, bytes)),
        None => PyBytes::new_with(py, range.len(), |to| {
            body.copy(range, to);
            Ok(())
        }),
    }
}

fn answer(body: &Bound<'_, PyBytes>) -> Answer {
    let bytes = body.as_bytes();
    if bytes.len() <= Answer::SMALL_BYTES {
        Answer::copy_of(bytes)
    } else {
        Answer::Bare(Bytes::from_owner(PyBackedBytes::from(body.clone())))
    }
}

fn failure(status: u8, text: String, trailers: Option<&Bound<'_, PyAny>>) -> PyResult<Failure> {
    let mut failure = Failure::new(status, text);
    if let Some(trailers) = trailers {
        for pair in trailers.try_iter()? {
            let (name, value): (String, Bound<'_, PyAny>) = pair?.extract()?;
            let value = match value.cast::<PyBytes>() {
                Ok(raw) => Value::Binary(raw.as_bytes().to_vec()),
                Err(_) => Value::Text(value.extract()?),
            };
            metadata::add(failure.trailers.get_or_insert_default(), &name, &value).map_err(PyValueError::new_err)?;
        }
    }
    Ok(failure)
}

/// A unary call, as the port describes it.
#[pyclass(frozen, module = "shoal_native", freelist = 256)]
pub struct Call {
    shared: Arc<CallShared>,
    application: Arc<Application>,
    body: Body,
}

impl Call {
    pub fn body(&self) -> &Body {
        &self.body
    }
}

#[pymethods]
impl Call {
    #[getter]
    fn method(&self, py: Python<'_>) -> Py<PyString> {
        self.application.method(py, &self.shared)
    }

    #[getter]
    fn message<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        bytes_of(py, &self.body, 0..self.body.len())
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        metadata_of(py, &self.shared)
    }

    #[getter]
    fn deadline_s(&self) -> Option<f64> {
        self.shared.deadline.map(|at| self.application.seconds(at))
    }

    #[getter]
    fn peer(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.application.peer(py, &self.shared)
    }

    /// A transport traces nothing: whoever does wraps the call.
    #[getter]
    fn trace(&self, py: Python<'_>) -> Py<PyAny> {
        py.None()
    }

    fn reply(&self, message: &Bound<'_, PyBytes>) {
        self.shared.reply(answer(message));
        drop(self.shared.take_owner());
    }

    #[pyo3(signature = (status, text, trailers=None))]
    fn fail(&self, status: u8, text: String, trailers: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.shared.fail(failure(status, text, trailers)?);
        drop(self.shared.take_owner());
        Ok(())
    }

    fn on_cancel(&self, left: Py<PyAny>) {
        self.shared.set_owner(left);
        if self.shared.has_left() {
            // Its event may have been taken before.
            self.shared
                .connection
                .server
                .inbox
                .post(Event::Left(self.shared.clone()));
        }
    }
}

/// A stream, as far as the wire goes.
#[pyclass(frozen, module = "shoal_native")]
struct Exchange {
    shared: Arc<CallShared>,
    application: Arc<Application>,
}

#[pymethods]
impl Exchange {
    #[getter]
    fn method(&self, py: Python<'_>) -> Py<PyString> {
        self.application.method(py, &self.shared)
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        metadata_of(py, &self.shared)
    }

    #[getter]
    fn deadline_s(&self) -> Option<f64> {
        self.shared.deadline.map(|at| self.application.seconds(at))
    }

    #[getter]
    fn peer(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.application.peer(py, &self.shared)
    }

    /// One of the stream's messages was used: another may come.
    fn received(&self) {
        self.shared.received();
    }

    fn send(&self, message: &Bound<'_, PyBytes>) {
        self.shared.send(answer(message));
    }

    #[pyo3(signature = (status, text, trailers=None))]
    fn fail(&self, status: u8, text: String, trailers: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.shared.fail(failure(status, text, trailers)?);
        Ok(())
    }

    /// Ends the stream with OK, unless it has ended, and forgets whom its events are for.
    fn finish(&self) {
        self.shared.finish();
        drop(self.shared.take_owner());
    }
}

/// A listener and all its connections.
#[pyclass(frozen, module = "shoal_native")]
struct Transport {
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
    /// says; `make_peer(address, holder)` returns a connection's peer, `make_stream(exchange)` what
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
        for event in self.server.inbox.take(most) {
            match event {
                Event::Call(shared, body) => {
                    if shared.has_left() {
                        continue; // the call of one who has left is never computed
                    }
                    let route = shared.route;
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
                    if let Some(owner) = shared.with_owner(|owner| owner.map(|owner| owner.clone_ref(py))) {
                        let message = body
                            .as_ref()
                            .map(|body| bytes_of(py, body, 0..body.len()))
                            .transpose()?;
                        rest.append((MESSAGE, owner, message))?;
                    }
                    if let Some(body) = body {
                        shared.let_go(body.len() + message::PREFIX_BYTES);
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
            self.server.connections(),
            self.server.calls.load(Relaxed),
            self.server.bytes.load(Relaxed),
        )
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

#[pymodule]
fn shoal_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Transport>()?;
    module.add_class::<Call>()?;
    module.add_class::<Exchange>()?;
    module.add_class::<crate::python_oip::RequestReader>()?;
    module.add_function(wrap_pyfunction!(crate::python_load::load, module)?)?;
    module.add_class::<crate::python_generator::LoadGenerator>()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}
