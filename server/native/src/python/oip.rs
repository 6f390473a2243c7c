//! The quick reading of inference requests for Python.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use super::burst::{Burst, Bursts, Member};
use super::call::Call;
use super::elements::elements_of;
use crate::body::Body;
use crate::oip;

/// What is kept of forms seen before: so many, and so many bytes of their messages. As objects of Python they are up to
/// twenty times as many bytes, where they are made of nothing but dimensions.
const MOST_FORMS: usize = 4096;
const MOST_KEPT_BYTES: usize = 1 << 19;
/// A form with more than this is read anew each time, so that what is kept stays small.
const MOST_FORM_BYTES: usize = 4096;

/// Reads requests. What they have in common with one before is the same object as there.
///
/// `read` returns None for whatever is not plain, else the form, the id as a field of the answer, each input's elements
/// (bytes, or `Elements` where they are many), and the size of the message.
/// A form is (model, version, inputs as (name, datatype, shape), names of the outputs).
#[pyclass(frozen, module = "shoal_native")]
pub struct RequestReader {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    forms: HashMap<Box<[u8]>, Py<PyTuple>>,
    /// Of all keys.
    size_bytes: usize,
    key: Vec<u8>,
}

type Request<'py> = (Bound<'py, PyTuple>, Bound<'py, PyBytes>, Bound<'py, PyList>, usize);

#[pymethods]
impl RequestReader {
    #[new]
    fn new() -> Self {
        RequestReader {
            known: Mutex::new(Known::default()),
        }
    }

    /// Reads the messages of this transport's calls, and puts together what has one form and tensors of one size; returns
    /// that, and the calls that are not plain or are of another transport.
    fn gather<'py>(
        &self,
        py: Python<'py>,
        calls: &Bound<'py, PyList>,
    ) -> PyResult<(Vec<Burst>, Vec<Bound<'py, PyAny>>)> {
        let mut bursts = Bursts::default();
        let mut others = Vec::new();
        for call in calls {
            let Some((native, is_traced)) = native_of(&call)? else {
                others.push(call);
                continue;
            };
            let body = native.get().body();
            let message = body.head();
            let Some(pieces) = oip::cut(message, body.len()) else {
                others.push(call);
                continue;
            };
            let Some(form) = self.form(py, message, &pieces)? else {
                others.push(call);
                continue;
            };
            let member = Member {
                call: native.unbind(),
                traced: is_traced.then(|| call.unbind()),
                id: pieces.id,
                raw: pieces.raw,
            };
            if let Some(left) = bursts.add(&form, member) {
                others.push(left.handed(py).into_bound(py));
            }
        }
        Ok((bursts.all, others))
    }

    /// Reads the message of a call, of whichever transport.
    fn read<'py>(&self, py: Python<'py>, call: &Bound<'py, PyAny>) -> PyResult<Option<Request<'py>>> {
        if let Some((native, _)) = native_of(call)? {
            return self.pieces(py, native.get().body());
        }
        let message: PyBackedBytes = call.getattr(intern!(py, "message"))?.cast_into::<PyBytes>()?.into();
        self.pieces(py, &Bytes::from_owner(message).into())
    }
}

impl RequestReader {
    fn pieces<'py>(&self, py: Python<'py>, body: &Body) -> PyResult<Option<Request<'py>>> {
        let message = body.head();
        let Some(pieces) = oip::cut(message, body.len()) else {
            // It may be that it is plain, and that more than elements lies behind the first of its pieces.
            return match message.len() < body.len() {
                true => self.pieces(py, &body.whole().into()),
                false => Ok(None),
            };
        };
        let Some(form) = self.form(py, message, &pieces)? else {
            return Ok(None);
        };
        let id = PyBytes::new(py, &message[pieces.id]);
        let raw = PyList::empty(py);
        for range in pieces.raw {
            raw.append(elements_of(py, body, range)?)?;
        }
        Ok(Some((form, id, raw, body.len())))
    }

    fn form<'py>(
        &self,
        py: Python<'py>,
        message: &[u8],
        pieces: &oip::Pieces,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        // Never waited for: making objects may let another thread run, which would wait with the GIL in hand.
        let Ok(mut known) = self.known.try_lock() else {
            return read_form(py, message, pieces);
        };
        let Known { forms, size_bytes, key } = &mut *known;
        key.clear();
        let parts = [&pieces.model, &pieces.version]
            .into_iter()
            .chain(&pieces.inputs)
            .chain(&pieces.outputs);
        for part in parts {
            key.extend_from_slice(&(part.len() as u32).to_le_bytes());
            key.extend_from_slice(&message[part.clone()]);
        }
        key.push(pieces.inputs.len() as u8);
        if let Some(form) = forms.get(key.as_slice()) {
            return Ok(Some(form.bind(py).clone()));
        }
        let Some(form) = read_form(py, message, pieces)? else {
            return Ok(None);
        };
        if key.len() <= MOST_FORM_BYTES {
            if forms.len() >= MOST_FORMS || *size_bytes + key.len() > MOST_KEPT_BYTES {
                forms.clear();
                *size_bytes = 0;
            }
            *size_bytes += key.len();
            forms.insert(key.as_slice().into(), form.clone().unbind());
        }
        Ok(Some(form))
    }
}

/// The call of this transport, and whether it is carried by one that records it, as its `untraced`; None where it is of
/// another transport.
fn native_of<'py>(call: &Bound<'py, PyAny>) -> PyResult<Option<(Bound<'py, Call>, bool)>> {
    if let Ok(native) = call.cast::<Call>() {
        return Ok(Some((native.clone(), false)));
    }
    let carried = call.getattr_opt(intern!(call.py(), "untraced"))?;
    Ok(carried.and_then(|carried| Some((carried.cast_into::<Call>().ok()?, true))))
}

fn read_form<'py>(py: Python<'py>, message: &[u8], pieces: &oip::Pieces) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let (Some(model), Some(version)) = (
        oip::text(pieces.model.clone(), message),
        oip::text(pieces.version.clone(), message),
    ) else {
        return Ok(None);
    };
    let mut inputs = Vec::with_capacity(pieces.inputs.len());
    for range in &pieces.inputs {
        let Some(input) = oip::input(&message[range.clone()]) else {
            return Ok(None);
        };
        let shape = PyTuple::new(py, input.shape)?;
        inputs.push((PyString::new(py, input.name), PyString::new(py, input.datatype), shape).into_pyobject(py)?);
    }
    let mut outputs = Vec::with_capacity(pieces.outputs.len());
    for range in &pieces.outputs {
        let Some(name) = oip::output(&message[range.clone()]) else {
            return Ok(None);
        };
        outputs.push(PyString::new(py, name));
    }
    let form = (
        PyString::new(py, model),
        PyString::new(py, version),
        PyTuple::new(py, inputs)?,
        PyTuple::new(py, outputs)?,
    );
    Ok(Some(form.into_pyobject(py)?))
}
