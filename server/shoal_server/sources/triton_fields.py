"""Which fields of a Triton configuration count here, and what is said of the others."""

from collections.abc import Iterator
from typing import Final

from google.protobuf.message import Message

from shoal.inference.model_config_pb2 import ModelConfig
from shoal_server.errors import LoadFailed
from shoal_server.sources.naming import printable

THREADS_KEY: Final = "intra_op_thread_count"
"""The one entry of ``parameters`` that is honoured."""

# Paths leave out the places in lists. A path stands for all that is below it.
_HONOURED: Final = frozenset({
    "name", "platform", "backend", "max_batch_size", "default_model_filename",
    "version_policy.latest", "version_policy.all", "version_policy.specific",
    "input.name", "input.data_type", "input.dims", "input.reshape", "input.optional",
    "output.name", "output.data_type", "output.dims", "output.reshape", "output.label_filename",
    "dynamic_batching.preferred_batch_size", "dynamic_batching.max_queue_delay_microseconds",
    "dynamic_batching.default_queue_policy.default_timeout_microseconds",
    "dynamic_batching.default_queue_policy.max_queue_size",
    "dynamic_batching.default_queue_policy.allow_timeout_override",
    "dynamic_batching.priority_levels", "dynamic_batching.default_priority_level",
    "instance_group.name", "instance_group.kind", "instance_group.count", "instance_group.passive",
    "model_warmup.name", "model_warmup.batch_size", "model_warmup.inputs", "model_warmup.count",
})  # fmt: skip

# What the model's answers hang on: serving it without would answer something else.
_REFUSED: Final = {
    "sequence_batching": "the model keeps state between the requests of a sequence, which this server does not",
    "ensemble_scheduling": "ensembles are not supported: this server serves single ONNX models",
    "batch_input": "inputs that the server makes up for a batch are not supported",
    "batch_output": "outputs that the server splits by an input's shape are not supported",
    "model_operations.op_library_filename": "libraries of custom operators are not supported",
    "model_repository_agents.agents": "repository agents (checks, decryption) are not supported",
}

_IGNORED: Final = {
    "input.format": "has no effect: the order of dimensions is the model's own",
    "input.is_shape_tensor": "has no effect: only TensorRT has shape tensors",
    "output.is_shape_tensor": "has no effect: only TensorRT has shape tensors",
    "input.allow_ragged_batch": "is ignored: requests of different shapes are not joined",
    "dynamic_batching.preserve_ordering": "is ignored: an answer leaves as soon as its batch is done",
    "dynamic_batching.priority_queue_policy": "is ignored: all levels have the default_queue_policy",
    "dynamic_batching.default_queue_policy.timeout_action": "is ignored: who waited too long is refused, not delayed",
    "instance_group.gpus": "is ignored: models run on the CPU",
    "optimization.execution_accelerators.gpu_execution_accelerator": "is ignored: models run on the CPU",
    "model_transaction_policy.decoupled": "is ignored: an ONNX model gives one answer to a request",
    "response_cache.enable": "is ignored: [answers] cache_bytes in model.toml says how much is kept",
}  # fmt: skip


def remarks_on(config: ModelConfig, shown: str) -> list[str]:
    """Return one sentence for each field that is set and does not count, named by its path; ``shown`` is the file.

    Raises:
        LoadFailed: a field is set without which the model's answers would be others.
    """
    remarks = []
    for path, place in _set_fields(config):
        if path in _REFUSED:
            raise LoadFailed(f"{shown}: '{place}' is set: {_REFUSED[path]}")
        if path not in _HONOURED:
            remarks.append(f"{shown}: '{place}' {_IGNORED.get(path, 'is not supported and ignored')}")
    return remarks


def _set_fields(message: Message, path: str = "", place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every field that is set, as its path and with its place in lists; lists of no interest as one."""
    for field, value in message.ListFields():
        below, at = f"{path}{field.name}", f"{place}{field.name}"
        if below == "parameters":
            yield from (
                (f"parameters.{key}", f"parameters[{printable(key)}]") for key in sorted(value) if key != THREADS_KEY
            )
        elif below in _HONOURED or below in _REFUSED or below in _IGNORED or field.message_type is None:
            yield below, at
        elif isinstance(value, Message):
            yield from _set_fields(value, f"{below}.", f"{at}.")
        elif any(known.startswith(f"{below}.") for known in _HONOURED):
            for index, item in enumerate(value):
                yield from _set_fields(item, f"{below}.", f"{at}[{index}].")
        else:
            yield below, at
