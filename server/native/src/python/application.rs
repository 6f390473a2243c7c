//! What all calls of a transport need of Python.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::call::CallShared;
use crate::metadata::{self, Value};

pub(super) struct Application {
    /// A moment, and what the application's clock said then.
    pub(super) then: (Instant, f64),
    pub(super) make_peer: Py<PyAny>,
    pub(super) make_stream: Py<PyAny>,
    pub(super) methods: Vec<Py<PyString>>,
}

impl Application {
    pub(super) fn seconds(&self, at: Instant) -> f64 {
        let (then, then_s) = self.then;
        match at.checked_duration_since(then) {
            Some(later) => then_s + later.as_secs_f64(),
            None => then_s - then.duration_since(at).as_secs_f64(),
        }
    }

    /// The moment at which the application's clock says so; None where it is none.
    pub(super) fn instant(&self, at_s: f64) -> Option<Instant> {
        let (then, then_s) = self.then;
        then.checked_add(Duration::try_from_secs_f64(at_s - then_s).ok()?)
    }

    pub(super) fn peer(&self, py: Python<'_>, call: &CallShared) -> PyResult<Py<PyAny>> {
        let connection = &call.connection;
        if let Some(peer) = &*connection.peer.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(peer.clone_ref(py));
        }
        let certificate = connection.certificate.as_ref().map(|der| PyBytes::new(py, der));
        let peer = self.make_peer.call1(py, (connection.address.clone(), certificate))?;
        // Not locked while Python runs: it may let another thread run, which would wait for the lock with the GIL in hand.
        let mut known = connection.peer.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.get_or_insert(peer).clone_ref(py))
    }

    pub(super) fn method(&self, py: Python<'_>, call: &CallShared) -> Py<PyString> {
        self.methods[call.route].clone_ref(py)
    }
}

pub(super) fn metadata_of<'py>(py: Python<'py>, call: &CallShared) -> PyResult<Bound<'py, PyTuple>> {
    let mut pairs = Vec::new();
    for (name, value) in metadata::pairs(&call.headers) {
        pairs.push(match value {
            Value::Text(text) => (name, PyString::new(py, &text).into_any()),
            Value::Binary(raw) => (name, PyBytes::new(py, &raw).into_any()),
        });
    }
    PyTuple::new(py, pairs)
}
