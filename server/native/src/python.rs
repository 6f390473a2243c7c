//! What Python imports. Everything here runs with the GIL held; nothing else in this crate needs it.

use pyo3::prelude::*;

mod application;
mod burst;
mod call;
mod elements;
mod generator;
mod load;
mod oip;
mod transport;

#[pymodule]
fn shoal_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<transport::Transport>()?;
    module.add_class::<call::Call>()?;
    module.add_class::<call::Exchange>()?;
    module.add_class::<oip::RequestReader>()?;
    module.add_class::<burst::Burst>()?;
    module.add_class::<elements::Elements>()?;
    module.add_function(wrap_pyfunction!(call::carrying, module)?)?;
    module.add_function(wrap_pyfunction!(load::load, module)?)?;
    module.add_class::<generator::LoadGenerator>()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}
