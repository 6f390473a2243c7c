//! The load generator for Python.

use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::client::ClientTls;
use crate::load::{run, Plan};

/// CA, certificate and key in PEM, and the name that the server's certificate is to have.
type Tls = (Vec<u8>, Vec<u8>, Vec<u8>, String);

/// Calls `path` at `address` (HOST:PORT) for `duration_s`, with the messages in turn, and returns what became of it.
///
/// Without `rate`, `in_flight` callers each send their next call when the last is answered; with it, so many calls per
/// second are begun at the times of a Poisson process, at most `in_flight` at once. `tls` is (CA, certificate, key,
/// server name), PEM; an empty certificate shows none. Latencies are in nanoseconds; in the answer, `percentiles_ns` are
/// those of `percentiles`, and `histogram` pairs of upper bound and count.
#[pyfunction]
#[pyo3(signature = (address, path, messages, *, duration_s, in_flight=64, connections=1, warm_up=0, rate=None, seed=0,
                    tls=None, percentiles=vec![50.0, 90.0, 99.0, 99.9]))]
#[allow(clippy::too_many_arguments)] // named, in Python
pub fn load<'py>(
    py: Python<'py>,
    address: String,
    path: String,
    messages: Vec<Vec<u8>>,
    duration_s: f64,
    in_flight: usize,
    connections: usize,
    warm_up: usize,
    rate: Option<f64>,
    seed: u64,
    tls: Option<Tls>,
    percentiles: Vec<f64>,
) -> PyResult<Bound<'py, PyDict>> {
    let plan = Plan {
        address,
        path,
        bodies: messages.into_iter().map(Bytes::from).collect(),
        connections,
        in_flight,
        warm_up,
        duration: Duration::try_from_secs_f64(duration_s).map_err(|error| PyOSError::new_err(error.to_string()))?,
        rate,
        seed,
        tls: tls.map(|(ca, certificate, key, server_name)| ClientTls {
            ca,
            certificate,
            key,
            server_name,
        }),
    };
    let outcome = py
        .detach(|| run(&plan))
        .map_err(|error| PyOSError::new_err(error.to_string()))?;
    let answered: u64 = outcome.statuses.iter().sum();
    let result = PyDict::new(py);
    result.set_item("statuses", outcome.statuses.to_vec())?;
    result.set_item("broken", outcome.broken)?;
    result.set_item("skipped", outcome.skipped)?;
    result.set_item("took_s", outcome.took.as_secs_f64())?;
    result.set_item("rate", answered as f64 / outcome.took.as_secs_f64().max(1e-9))?;
    let values: Vec<u64> = percentiles
        .iter()
        .map(|&share| outcome.latencies.value_at_percentile(share))
        .collect();
    result.set_item("percentiles_ns", values)?;
    result.set_item("mean_ns", outcome.latencies.mean())?;
    let histogram: Vec<(u64, u64)> = outcome
        .latencies
        .iter_recorded()
        .map(|value| (value.value_iterated_to(), value.count_at_value()))
        .collect();
    result.set_item("histogram", histogram)?;
    result.set_item("answer", PyBytes::new(py, &outcome.answer))?;
    Ok(result)
}
