"""The configuration in effect, told in Triton's ModelConfig."""

import json
from typing import Final

from shoal.inference import model_config_pb2 as pb
from shoal_server.batching.batcher import Batcher
from shoal_server.batching.cost import CostModel
from shoal_server.lifecycle.definition import ModelDefinition, VersionPolicy
from shoal_server.options import LengthOptions
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.lengths import Lengths
from shoal_server.tensors.spec import TensorSpec

PLATFORM: Final = "onnxruntime_onnx"

_TYPES: Final = {
    datatype: pb.DataType.Value("TYPE_STRING" if datatype is DataType.BYTES else f"TYPE_{datatype.value}")
    for datatype in DataType
}


def model_config(definition: ModelDefinition, batcher: Batcher, digest: str) -> pb.ModelConfig:
    """Return the owner's configuration, if there is one, completed by what was found out and what holds by default.

    Dimensions exclude the batch where ``max_batch_size`` is above 0, as in Triton. ``parameters`` tell why the model is
    batched or is not (``shoal.batching``), whether its answers are bit for bit the same in any batch
    (``shoal.invariance``, and in a word ``shoal.invariant``: yes, no, unknown, or kept, where batches have one size for
    that), the class labels of an output (``shoal.labels.NAME``, a JSON list), the SHA-256 of the model file
    (``shoal.digest``), and what a batch takes so far, in microseconds: ``shoal.cost.base_us`` and ``shoal.cost.row_us``
    for each row (``shoal.cost.cell_us`` for each padded cell, where lengths vary), on average
    ``shoal.cost.deviation_us`` off, as learned from ``shoal.cost.batches`` batches, those of the warm-up included.
    ``shoal.tuning`` says how it is run and the figures that led to it, ``shoal.tuning.max_rows`` up to how many rows a
    batch is filled. ``shoal.lengths`` is what holds of variable lengths, as JSON; ``shoal.lengths.cells`` and
    ``shoal.lengths.padded_cells`` count rows times lengths so far, as sent and as computed.
    """
    signature, options = batcher.runner.signature, batcher.options
    config = pb.ModelConfig.FromString(definition.config)
    config.name = definition.name
    config.platform = config.platform or PLATFORM
    config.backend = config.backend or "onnxruntime"
    # What a request may have, not what a batch is filled to: that may be less.
    config.max_batch_size = definition.batching.max_rows if batcher.batches else 0
    del config.input[:], config.output[:]
    generated = signature.lengths.generated if signature.lengths is not None else ()
    for index, spec in enumerate(signature.inputs):
        optional = spec.optional or index in generated
        config.input.add(name=spec.name, data_type=_TYPES[spec.datatype], dims=_dims(spec, batcher), optional=optional)
    for spec in signature.outputs:
        config.output.add(name=spec.name, data_type=_TYPES[spec.datatype], dims=_dims(spec, batcher))
        if spec.labels:
            config.parameters[f"shoal.labels.{spec.name}"].string_value = json.dumps(spec.labels, ensure_ascii=False)
    if batcher.batches:
        dynamic = config.dynamic_batching
        dynamic.max_queue_delay_microseconds = round(options.delay_s * 1e6)
        dynamic.default_queue_policy.max_queue_size = options.max_queued_requests
        dynamic.default_queue_policy.default_timeout_microseconds = round(options.queue_limit_s * 1e6)
        dynamic.default_queue_policy.allow_timeout_override = options.max_timeout_s > options.queue_limit_s
        levels = options.priority_levels
        dynamic.priority_levels = levels if levels > 1 else 0
        dynamic.default_priority_level = options.default_priority if levels > 1 else 0
    if not config.instance_group:
        config.instance_group.add(name=definition.name, kind=pb.ModelInstanceGroup.KIND_CPU, count=batcher.instances)
    if not config.HasField("version_policy"):
        _tell_policy(config, definition.policy)
    config.parameters["shoal.batching"].string_value = batcher.reason
    invariant, about = _invariance(definition, batcher)
    config.parameters["shoal.invariant"].string_value = invariant
    config.parameters["shoal.invariance"].string_value = about
    config.parameters["shoal.digest"].string_value = digest
    config.parameters["shoal.tuning"].string_value = batcher.runner.tuning_reason
    config.parameters["shoal.tuning.max_rows"].string_value = str(options.max_rows if batcher.batches else 1)
    _tell_cost(config, batcher.forecast.cost, "row_us" if signature.lengths is None else "cell_us")
    if signature.lengths is not None and options.lengths is not None:
        _tell_lengths(config, signature.lengths, options.lengths, batcher)
    return config


def _invariance(definition: ModelDefinition, batcher: Batcher) -> tuple[str, str]:
    invariant, reason = batcher.runner.invariance
    if batcher.batches and definition.answers.needs_one_size(invariant):
        found = {True: "it would be", False: "it would not be", None: "it may not be"}[invariant]
        (rows,) = batcher.options.allowed_rows
        return "kept", f"invariant, as batches are padded to {rows} rows; otherwise {found}: {reason}"
    word, said = {True: ("yes", "invariant"), False: ("no", "not invariant"), None: ("unknown", "not known")}[invariant]
    return word, f"{said}: {reason}"


def _tell_policy(config: pb.ModelConfig, policy: VersionPolicy) -> None:
    if policy.specific:
        config.version_policy.specific.versions.extend(policy.specific)
    elif policy.latest:
        config.version_policy.latest.num_versions = policy.latest
    else:
        config.version_policy.all.SetInParent()


def _tell_lengths(config: pb.ModelConfig, lengths: Lengths, options: LengthOptions, batcher: Batcher) -> None:
    statistics = batcher.statistics
    told = {
        "padded": lengths.joined and batcher.batches,
        "inputs": {
            name: {"axis": said.axis, "pad": said.pad, "generate": said.generate and said.generate.value}
            for name, said in options.inputs.items()
        },
        "outputs": {name: {"axis": axis} for name, axis in options.outputs.items()},
        "max_length": options.max_length,
        "max_cells": batcher.forecast.full_cost,
        "edges": options.edges,
    }
    config.parameters["shoal.lengths"].string_value = json.dumps(told, ensure_ascii=False)
    config.parameters["shoal.lengths.cells"].string_value = str(statistics.cells)
    config.parameters["shoal.lengths.padded_cells"].string_value = str(statistics.padded_cells)


def _tell_cost(config: pb.ModelConfig, cost: CostModel, slope: str) -> None:
    figures = {"base_us": cost.base_s, slope: cost.cost_s, "deviation_us": cost.deviation_s}
    for name, figure_s in figures.items():
        config.parameters[f"shoal.cost.{name}"].string_value = f"{figure_s * 1e6:.2f}"
    config.parameters["shoal.cost.batches"].string_value = str(cost.batches)


def _dims(spec: TensorSpec, batcher: Batcher) -> tuple[int, ...]:
    return spec.shape[1:] if batcher.batches else spec.shape
