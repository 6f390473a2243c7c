"""ONNX Runtime's session, with arrays of the protocol's types going in and coming out."""

from collections.abc import Sequence

import onnxruntime as ort

from shoal_server.errors import ExecutionFailed, LoadFailed
from shoal_server.lifecycle.ports import RunControl
from shoal_server.runtime.failures import execution_failure
from shoal_server.runtime.fragile_operators import Operators
from shoal_server.runtime.model_tensors import ModelTensor
from shoal_server.runtime.values import from_value, to_value
from shoal_server.tensors.batch import Array
from shoal_server.tensors.datatype import DataType


class _Stop:
    """Ends the run that was started with these options."""

    __slots__ = ("_options",)

    def __init__(self, options: ort.RunOptions) -> None:
        self._options = options

    def __call__(self) -> None:
        self._options.terminate = True


class OrtSession:
    """One model in memory. ``run`` may be called from several threads at once; ``close`` comes after the last of them.

    Of ONNX Runtime's public ways to run, ``session.run`` is the cheapest; values or bindings made beforehand cost 45 µs
    more. It runs its core after four checks of what is right here by construction: 1.5 µs of the 10 that a small
    perceptron takes, and 8 of 21 between other work, when nothing of them is in the processor's caches. So the core is
    run where there is one. A ``RunOptions``, without which a run cannot be ended, is 0.4 µs.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: Sequence[ModelTensor],
        outputs: Sequence[ModelTensor],
        operators: Operators,
    ) -> None:
        """Take over an ``onnxruntime.InferenceSession``; with a fragile operator it is given no empty tensor.

        Raises:
            LoadFailed: inputs and outputs are such that ONNX Runtime takes the ones in no form that gives the others.
        """
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._session = session
        self._run = getattr(session, "_sess", session).run
        self.operators = operators
        self._input_names = [tensor.source for tensor in inputs]
        self._input_numbers = [tensor.onnx_number for tensor in inputs]
        self._output_names = [tensor.source for tensor in outputs]
        self._reshapes_inputs = any(tensor.reshape for tensor in inputs)
        self._reshapes_outputs = any(tensor.reshape for tensor in outputs)
        self._relabels_inputs = any(self._input_numbers)
        self._relabels_outputs = any(tensor.onnx_number for tensor in outputs)
        text = next((tensor.spec.name for tensor in inputs if tensor.spec.datatype is DataType.BYTES), None)
        if self._relabels_outputs and text is not None:
            relabelled = next(tensor.spec.name for tensor in outputs if tensor.onnx_number)
            raise LoadFailed(
                f"it takes strings ('{text}') and gives '{relabelled}' in a type that numpy lacks; ONNX Runtime's "
                "interface for Python can do either, not both"
            )

    def described(self, inputs: Sequence[ModelTensor], outputs: Sequence[ModelTensor]) -> "OrtSession":
        """Return the same session with its inputs and outputs described otherwise."""
        return OrtSession(self._session, inputs, outputs, self.operators)

    def run(self, inputs: Sequence[Array | None], control: RunControl | None) -> list[Array]:
        """Return one array per output, as ``outputs`` describe them; None leaves out an optional input.

        Without a control it cannot be ended.

        Raises:
            ExecutionFailed: ONNX Runtime refused the input, failed, or was stopped.
        """
        options = None
        if control is not None:
            options = ort.RunOptions()
            control.on_stop(_Stop(options))
        try:
            if self._reshapes_inputs:
                inputs = [
                    array if array is None or tensor.reshape is None else tensor.reshape.to_model(array)
                    for array, tensor in zip(inputs, self.inputs, strict=True)
                ]
            feed = {name: array for name, array in zip(self._input_names, inputs, strict=True) if array is not None}
            if self.operators.fragile is not None:
                self._require_elements(feed)
            arrays: list[Array]
            if self._relabels_inputs or self._relabels_outputs:
                arrays = self._run_relabelled(feed, options)
            else:
                arrays = self._run(self._output_names, feed, options)
            if self._reshapes_outputs:
                arrays = [
                    array if tensor.reshape is None else tensor.reshape.to_caller(array)
                    for array, tensor in zip(arrays, self.outputs, strict=True)
                ]
        except ExecutionFailed:
            raise
        except Exception as error:
            raise execution_failure(error) from error
        return arrays

    def _require_elements(self, feed: dict[str, Array]) -> None:
        for name, array in feed.items():
            if not array.size:
                raise ExecutionFailed(
                    f"input '{name}' of shape {list(array.shape)} has no elements, which {self.operators.fragile} "
                    "does not survive",
                    caller_at_fault=True,
                )

    def _run_relabelled(self, feed: dict[str, Array], options: ort.RunOptions | None) -> list[Array]:
        numbers = dict(zip(self._input_names, self._input_numbers, strict=True))
        if not self._relabels_outputs:
            mixed = {
                name: to_value(name, array, numbers[name]) if numbers[name] else array for name, array in feed.items()
            }
            arrays: list[Array] = self._session.run(self._output_names, mixed, options)
            return arrays
        values = {name: to_value(name, array, numbers[name]) for name, array in feed.items()}
        results = self._session.run_with_ort_values(self._output_names, values, options)
        return [
            from_value(value, tensor.spec.datatype, tensor.onnx_number) if tensor.onnx_number else value.numpy()
            for value, tensor in zip(results, self.outputs, strict=True)
        ]

    def close(self) -> None:
        """Let go of the session, whose memory ONNX Runtime frees at once."""
        self._session = self._run = None
