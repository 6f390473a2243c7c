//! Calls and streams as Python sees them.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use super::application::{metadata_of, Application};
use crate::body::Body;
use crate::call::{Answer, CallShared};
use crate::hold::{self, Refusal, Whose};
use crate::inbox::Event;
use crate::metadata::{self, Value};
use crate::status::Failure;

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
    pub(super) shared: Arc<CallShared>,
    pub(super) application: Arc<Application>,
    pub(super) body: Body,
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

    /// Has calls like this one, which was refused, refused in the same way for `for_s`, by `hold`; `before_s` is the
    /// deadline from which on they are not, and `counted` is called with the number of those that were.
    ///
    /// `whose` is empty where callers are not told apart, "connection", or the name of the header that does.
    #[allow(clippy::too_many_arguments)] // what there is to say
    fn hold(
        &self,
        whose: &str,
        status: u8,
        text: String,
        pushback_ms: i64,
        before_s: Option<f64>,
        for_s: f64,
        counted: Py<PyAny>,
    ) -> PyResult<bool> {
        let whose = match whose {
            "" => Whose::All,
            "connection" => Whose::Connection,
            name => Whose::Header(name.parse().map_err(|_| PyValueError::new_err("no name of metadata"))?),
        };
        let refusal = Refusal {
            status,
            text,
            pushback_ms,
            before: before_s.and_then(|at_s| self.application.instant(at_s)),
            until: Instant::now() + Duration::try_from_secs_f64(for_s).unwrap_or_default().min(hold::MOST),
            counted,
        };
        Ok(self
            .shared
            .connection
            .server
            .hold(&self.shared, &self.body, &whose, refusal))
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

/// The calls of a list that carry a header, whichever transport they are of: each one's place and the header's first value.
#[pyfunction]
pub(super) fn carrying<'py>(calls: &Bound<'py, PyList>, header: &str) -> PyResult<Vec<(usize, Bound<'py, PyAny>)>> {
    let py = calls.py();
    let mut found = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        let Ok(native) = call.cast::<Call>() else {
            for pair in call.getattr(intern!(py, "metadata"))?.try_iter()? {
                let (name, value): (Bound<'_, PyString>, Bound<'_, PyAny>) = pair?.extract()?;
                if name == header {
                    found.push((place, value));
                    break;
                }
            }
            continue;
        };
        if let Some(value) = native.get().shared.headers.get(header) {
            let text = String::from_utf8_lossy(value.as_bytes());
            found.push((place, PyString::new(py, &text).into_any()));
        }
    }
    Ok(found)
}

/// A stream, as far as the wire goes.
#[pyclass(frozen, module = "shoal_native")]
pub(super) struct Exchange {
    pub(super) shared: Arc<CallShared>,
    pub(super) application: Arc<Application>,
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

    /// One of the stream's messages, of so many bytes, was used: another may come.
    fn received(&self, size: usize) {
        self.shared.received(size);
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
