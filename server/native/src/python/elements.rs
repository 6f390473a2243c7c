//! The elements of a large tensor, where they came in: copied when they are used, and to where they are used.

use std::ops::Range;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};

use super::call::bytes_of;
use crate::body::Body;

/// A copy of fewer takes less time than it takes to put it off.
const LARGE_BYTES: usize = 1 << 16;
/// So much is copied before another thread may have the interpreter: some 0.1 ms.
const TURN_BYTES: usize = 1 << 20;
const PIECE_BYTES: usize = 1 << 18;

/// The elements of one input of a request, in the pieces that its message came in.
#[pyclass(frozen, module = "shoal_native")]
pub struct Elements {
    body: Body,
    range: Range<usize>,
}

/// A range of a message as bytes where it is small, else as `Elements`.
pub fn elements_of<'py>(py: Python<'py>, body: &Body, range: Range<usize>) -> PyResult<Bound<'py, PyAny>> {
    if range.len() < LARGE_BYTES {
        return Ok(bytes_of(py, body, range)?.into_any());
    }
    let body = body.clone();
    Ok(Bound::new(py, Elements { body, range })?.into_any())
}

#[pymethods]
impl Elements {
    fn __len__(&self) -> usize {
        self.range.len()
    }

    /// Those of a slice, which takes no steps.
    fn __getitem__(&self, part: &Bound<'_, PySlice>) -> PyResult<Elements> {
        let part = part.indices(self.range.len() as isize)?;
        if part.step != 1 {
            return Err(PyValueError::new_err("elements are cut and not picked"));
        }
        let begin = self.range.start + part.start as usize;
        Ok(Elements {
            body: self.body.clone(),
            range: begin..begin + part.slicelength,
        })
    }

    /// Copies them to a writable buffer of as many bytes.
    fn copy_to(&self, py: Python<'_>, whole: &Bound<'_, PyAny>) -> PyResult<()> {
        if PyBuffer::<u8>::get(whole)?.item_count() != self.range.len() {
            return Err(PyValueError::new_err("there are more elements or fewer"));
        }
        let view = PyMemoryView::from(whole)?;
        // PySlice::new of PyO3 0.30 keeps a reference to both ends for good.
        let slice = py.get_type::<PySlice>();
        let (mut at, mut turn) = (0, 0);
        let parts = self.body.parts(self.range.clone());
        for part in parts.flat_map(|part| part.chunks(PIECE_BYTES)) {
            let place = view.get_item(slice.call1((at, at + part.len()))?)?;
            PyBuffer::get(&place)?.copy_from_slice(py, part)?;
            at += part.len();
            turn += part.len();
            if turn >= TURN_BYTES {
                turn = 0;
                py.detach(|| ());
            }
        }
        Ok(())
    }

    fn tobytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        bytes_of(py, &self.body, self.range.clone())
    }
}
