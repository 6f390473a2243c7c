//! The load generator in windows, for Python.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::client::ClientTls;
use crate::generator::{Generator, Order};

/// CA, certificate and key in PEM, and the name that the server's certificate is to have.
type Tls = (Vec<u8>, Vec<u8>, Vec<u8>, String);

/// A load on one server: `run` carries it out on a thread of its own, while others feed it and take what was counted.
#[pyclass(frozen, module = "shoal_native")]
pub struct LoadGenerator {
    inner: Arc<Generator>,
}

#[pymethods]
impl LoadGenerator {
    #[new]
    #[pyo3(signature = (address, path, messages, *, models, turns, callers, connections, most_under_way, timeout_s,
                        in_time_s, drain_s, tls=None))]
    #[allow(clippy::too_many_arguments)] // named, in Python
    fn new(
        address: String,
        path: String,
        messages: Vec<Vec<u8>>,
        models: Vec<usize>,
        turns: Vec<usize>,
        callers: Option<usize>,
        connections: usize,
        most_under_way: usize,
        timeout_s: f64,
        in_time_s: f64,
        drain_s: f64,
        tls: Option<Tls>,
    ) -> PyResult<Self> {
        if models.len() != messages.len() {
            return Err(PyValueError::new_err("each message has a model"));
        }
        let order = Order {
            address,
            path,
            bodies: messages.into_iter().map(Bytes::from).zip(models).collect(),
            turns,
            connections,
            callers,
            most_under_way,
            timeout: seconds(timeout_s)?,
            in_time: seconds(in_time_s)?,
            drain: seconds(drain_s)?,
            tls: tls.map(|(ca, certificate, key, server_name)| ClientTls {
                ca,
                certificate,
                key,
                server_name,
            }),
        };
        let inner = Generator::new(order).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Carries it out, once, until `stop`.
    fn run(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.run())
            .map_err(|error| PyOSError::new_err(error.to_string()))
    }

    /// Seconds since it began, which is when it had connected; None before.
    fn elapsed_s(&self) -> Option<f64> {
        self.inner.elapsed().map(|elapsed| elapsed.as_secs_f64())
    }

    /// Adds the times at which calls of an open loop are due, ascending, in seconds from the beginning.
    fn feed(&self, due_s: Vec<f64>) {
        self.inner.feed(due_s);
    }

    /// Sends no more; `run` returns when the calls under way have ended, or been waited for.
    fn stop(&self) {
        self.inner.stop();
    }

    /// Returns what was counted since the last time.
    ///
    /// `statuses` are counts by gRPC status, 0 to 16. Histograms are pairs of a duration in microseconds and a count;
    /// `latencies` has one for each model, of the OK calls.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tally = py.detach(|| self.inner.take());
        let taken = PyDict::new(py);
        taken.set_item("statuses", tally.statuses.to_vec())?;
        taken.set_item("not_sent", tally.not_sent)?;
        taken.set_item("abandoned", tally.abandoned)?;
        taken.set_item("in_time", tally.in_time)?;
        taken.set_item("latencies", tally.latencies.iter().map(pairs).collect::<Vec<_>>())?;
        taken.set_item("failures", pairs(&tally.failures))?;
        taken.set_item("refusals", pairs(&tally.refusals))?;
        taken.set_item("lateness", pairs(&tally.lateness))?;
        taken.set_item("samples", tally.samples)?;
        Ok(taken)
    }
}

fn pairs(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    histogram
        .iter_recorded()
        .map(|value| (value.value_iterated_to(), value.count_at_value()))
        .collect()
}

fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|error| PyValueError::new_err(error.to_string()))
}
