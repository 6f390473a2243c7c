//! Requests of one form that came together, for Python to answer together.

use std::ops::Range;

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::call::Call;
use super::elements::elements_of;
use crate::call::{Answer, CallShared};
use crate::message;

/// Each is compared with the forms before it; what is of more forms than this is read one by one.
const MOST_FORMS: usize = 16;

/// A request: its call, what carries that where somebody records it, its id as a field of the answer, and the elements of
/// each input.
pub(super) struct Member {
    pub(super) call: Py<Call>,
    pub(super) traced: Option<Py<PyAny>>,
    pub(super) id: Range<usize>,
    pub(super) raw: Vec<Range<usize>>,
}

impl Member {
    /// The call as it was handed in.
    pub(super) fn handed(&self, py: Python<'_>) -> Py<PyAny> {
        match &self.traced {
            Some(traced) => traced.clone_ref(py),
            None => self.call.clone_ref(py).into_any(),
        }
    }

    fn own<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.call.get().body().head()[self.id.clone()])
    }
}

/// Puts requests together.
#[derive(Default)]
pub(super) struct Bursts {
    pub(super) all: Vec<Burst>,
}

impl Bursts {
    /// Adds a request; returns it where there are too many forms.
    pub(super) fn add(&mut self, form: &Bound<'_, PyTuple>, member: Member) -> Option<Member> {
        let alike = self.all.iter().position(|burst| {
            let sizes = member.raw.iter().map(Range::len);
            burst.form.is(form) && burst.sizes.iter().copied().eq(sizes)
        });
        match alike {
            Some(burst) => self.all[burst].add(member),
            None if self.all.len() < MOST_FORMS => {
                let mut burst = Burst {
                    form: form.clone().unbind(),
                    sizes: member.raw.iter().map(Range::len).collect(),
                    members: Vec::new(),
                    traced: Vec::new(),
                    size_bytes: 0,
                    earliest_s: f64::INFINITY,
                };
                burst.add(member);
                self.all.push(burst);
            }
            None => return Some(member),
        }
        None
    }
}

/// One output's part of the answers: what stands before the elements, the elements of all members, and the size of each
/// member's.
type Part<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, usize);

/// Plain requests that have their form and the sizes of their tensors in common, in the order in which they came.
#[pyclass(frozen, module = "shoal_native")]
pub struct Burst {
    form: Py<PyTuple>,
    sizes: Vec<usize>,
    members: Vec<Member>,
    /// The places of those that somebody records.
    traced: Vec<usize>,
    size_bytes: usize,
    earliest_s: f64,
}

impl Burst {
    fn add(&mut self, member: Member) {
        let call = member.call.get();
        self.size_bytes += call.body().len();
        if let Some(deadline) = call.shared.deadline {
            self.earliest_s = self.earliest_s.min(call.application.seconds(deadline));
        }
        if member.traced.is_some() {
            self.traced.push(self.members.len());
        }
        self.members.push(member);
    }

    fn some(&self, start: usize, stop: usize) -> PyResult<&[Member]> {
        self.members
            .get(start..stop)
            .ok_or_else(|| PyIndexError::new_err("there are not as many requests"))
    }
}

#[pymethods]
impl Burst {
    /// What they have in common, as by `RequestReader.read`.
    #[getter]
    fn form(&self, py: Python<'_>) -> Py<PyTuple> {
        self.form.clone_ref(py)
    }

    /// The bytes of each input of each request.
    #[getter]
    fn sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    /// Of all messages.
    #[getter]
    fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The earliest deadline; infinity where nobody has one.
    #[getter]
    fn earliest_s(&self) -> f64 {
        self.earliest_s
    }

    /// Those that somebody records: the place of each, its call as it was handed in, and its id as a field of the answer.
    #[getter]
    fn traced<'py>(&self, py: Python<'py>) -> Vec<(usize, Py<PyAny>, Bound<'py, PyBytes>)> {
        let told = |&place: &usize| (place, self.members[place].handed(py), self.members[place].own(py));
        self.traced.iter().map(told).collect()
    }

    /// Whether the caller of the request at this place left before it was answered.
    fn has_left(&self, place: usize) -> PyResult<bool> {
        Ok(self.some(place, place + 1)?[0].call.get().shared.has_left())
    }

    fn __len__(&self) -> usize {
        self.members.len()
    }

    /// The elements of one input of the requests from `start` to `stop`, one after the other.
    fn elements<'py>(&self, py: Python<'py>, input: usize, start: usize, stop: usize) -> PyResult<Bound<'py, PyBytes>> {
        let members = self.some(start, stop)?;
        let size = *self
            .sizes
            .get(input)
            .ok_or_else(|| PyIndexError::new_err("there is no such input"))?;
        PyBytes::new_with(py, members.len() * size, |mut to| {
            for member in members {
                let (own, rest) = to.split_at_mut(size);
                member.call.get().body().copy(member.raw[input].clone(), own);
                to = rest;
            }
            Ok(())
        })
    }

    /// Answers the requests from `start` to `stop`: the head, each one's id, and its part of each output. Returns how many
    /// were still waited for.
    fn answer(&self, start: usize, stop: usize, head: &[u8], parts: Vec<Part<'_>>) -> PyResult<usize> {
        let members = self.some(start, stop)?;
        let mut size = head.len();
        for (header, data, each) in &parts {
            if each.saturating_mul(members.len()) > data.as_bytes().len() {
                return Err(PyValueError::new_err("there are not as many elements"));
            }
            size += header.as_bytes().len() + each;
        }
        let calls = members.iter().map(|member| &member.call.get().shared);
        Ok(CallShared::reply_all(calls, |number| {
            let member = &members[number];
            let id = &member.call.get().body().head()[member.id.clone()];
            let own = parts.iter().flat_map(|(header, data, each)| {
                [header.as_bytes(), &data.as_bytes()[number * each..(number + 1) * each]]
            });
            Answer::Framed(message::framed_of(size + id.len(), [head, id].into_iter().chain(own)))
        }))
    }

    /// The requests from `start` on, one by one: the call, and what `RequestReader.read` returns of it but the form.
    fn requests<'py>(&self, py: Python<'py>, start: usize) -> PyResult<Bound<'py, PyList>> {
        let requests = PyList::empty(py);
        for member in self.some(start, self.members.len())? {
            let body = member.call.get().body();
            let raw = PyList::empty(py);
            for range in &member.raw {
                raw.append(elements_of(py, body, range.clone())?)?;
            }
            requests.append((member.handed(py), member.own(py), raw, body.len()))?;
        }
        Ok(requests)
    }
}
