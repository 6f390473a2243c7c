"""What an owner's config.pbtxt says, and what becomes of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.inference.model_config_pb2 import ModelConfig
from shoal_server.lifecycle.definition import DeclaredTensor, VersionPolicy
from shoal_server.options import BatchingMode, BatchingOptions, RuntimeOptions
from shoal_server.sources.settings import Settings
from shoal_server.tensors.datatype import DataType

Read = Callable[[str], Settings]

TYPICAL = """
name: "m"
platform: "onnxruntime_onnx"
max_batch_size: 16
input [
  { name: "image" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, -1, -1 ] },
  { name: "threshold" data_type: TYPE_FP16 dims: [ 1 ] reshape { shape: [ ] } optional: true }
]
output [ { name: "class" data_type: TYPE_STRING dims: [ 1000 ] label_filename: "labels.txt" } ]
instance_group [ { count: 2 kind: KIND_CPU }, { count: 1 kind: KIND_GPU gpus: [ 0 ] } ]
dynamic_batching {
  preferred_batch_size: [ 8, 4, 8 ]
  max_queue_delay_microseconds: 250
  preserve_ordering: true
  priority_levels: 3
  default_queue_policy { max_queue_size: 100 default_timeout_microseconds: 1500000 timeout_action: REJECT }
}
version_policy { latest { num_versions: 2 } }
parameters { key: "intra_op_thread_count" value { string_value: "3" } }
parameters { key: "execution_mode" value { string_value: "1" } }
optimization {
  graph { level: 1 }
  cuda { graphs: true graph_spec { batch_size: 1 } graph_spec { batch_size: 2 } }
  execution_accelerators { cpu_execution_accelerator { name: "openvino" } }
}
"""


def test_a_typical_configuration_is_understood_whole(read: Read, put: Callable[..., Path]) -> None:
    put("m/labels.txt", "cat\n dog \r\n")
    settings = read(TYPICAL)
    assert settings.policy == VersionPolicy(latest=2)
    assert settings.batching == BatchingOptions(
        mode=BatchingMode.AUTO,
        max_rows=16,
        rows_limit=16,
        delay_s=0.00025,
        preferred_rows=(4, 8),
        max_queued_requests=100,
        queue_limit_s=1.5,
        max_timeout_s=1.5,
        priority_levels=3,
        default_priority=2,
        tunes_rows=False,
        tunes_delay=False,
    )
    assert settings.runtime == RuntimeOptions(instances=2, intra_op_threads=3)
    assert settings.inputs == (
        DeclaredTensor("image", DataType.FP32, (3, -1, -1)),
        DeclaredTensor("threshold", DataType.FP16, (1,), optional=True, reshape=()),
    )
    assert settings.outputs == (DeclaredTensor("class", DataType.BYTES, (1000,), labels=("cat", "dog")),)
    assert settings.warnings == tuple(
        f"m/config.pbtxt: {sentence}"
        for sentence in (
            "'input[0].format' has no effect: the order of dimensions is the model's own",
            "'instance_group[1].gpus' is ignored: models run on the CPU",
            "'dynamic_batching.preserve_ordering' is ignored: an answer leaves as soon as its batch is done",
            "'optimization.graph.level' is not supported and ignored",
            "'optimization.cuda.graphs' is not supported and ignored",
            "'optimization.cuda.graph_spec' is not supported and ignored",
            "'optimization.execution_accelerators.cpu_execution_accelerator' is not supported and ignored",
            "'parameters[execution_mode]' is not supported and ignored",
            "'instance_group[1]' of KIND_GPU is ignored: models run on the CPU",
        )
    )


def test_the_configuration_is_kept_as_its_owner_wrote_it(read: Read) -> None:
    text = 'max_batch_size: 2 metric_tags { key: "b" value: "1" } metric_tags { key: "a" value: "2" }'
    config = ModelConfig.FromString(read(text).config)
    assert (config.max_batch_size, dict(config.metric_tags), config.name) == (2, {"a": "2", "b": "1"}, "")
    assert read(text).config == read(text).config


def test_an_empty_configuration_changes_nothing(read: Read) -> None:
    assert read("") == Settings()


@pytest.mark.parametrize(
    ("text", "mode", "max_rows", "rows_limit"),
    [
        ("", BatchingMode.AUTO, 64, 0),
        ("dynamic_batching {}", BatchingMode.AUTO, 64, 0),
        ("max_batch_size: 0", BatchingMode.NEVER, 64, 0),
        ("max_batch_size: 0 dynamic_batching {}", BatchingMode.NEVER, 64, 0),
        ("max_batch_size: 1", BatchingMode.AUTO, 1, 1),
        ("max_batch_size: 8", BatchingMode.AUTO, 8, 8),
        ("max_batch_size: 8 dynamic_batching {}", BatchingMode.AUTO, 8, 8),
        ("max_batch_size: 2147483647", BatchingMode.AUTO, 2147483647, 2147483647),
    ],
)
def test_max_batch_size_bounds_batches_and_requests_and_zero_means_never(
    read: Read, text: str, mode: BatchingMode, max_rows: int, rows_limit: int
) -> None:
    batching = read(text).batching
    assert (batching.mode, batching.max_rows, batching.rows_limit) == (mode, max_rows, rows_limit)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("max_batch_size: 8 input { name: 'x' } output { name: 'y' }", False),
        ("max_batch_size: 0 input { name: 'x' } output { name: 'y' }", True),
        ("max_batch_size: 0 input { name: 'x' }", True),
        ("input { name: 'x' } output { name: 'y' }", True),
        ("input { name: 'x' }", False),
    ],
)
def test_dims_include_the_first_dimension_where_triton_would_take_them_so(
    read: Read, text: str, *, whole: bool
) -> None:
    assert read(text).inputs == (DeclaredTensor("x", None, (), whole=whole),)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", VersionPolicy(latest=1)),
        ("version_policy {}", VersionPolicy(latest=1)),
        ("version_policy { latest {} }", VersionPolicy(latest=1)),
        ("version_policy { latest { num_versions: 3 } }", VersionPolicy(latest=3)),
        ("version_policy { all {} }", VersionPolicy(latest=0)),
        ("version_policy { specific { versions: [3, 1, 3] } }", VersionPolicy(latest=0, specific=(1, 3))),
    ],
)
def test_each_version_policy_is_understood(read: Read, text: str, policy: VersionPolicy) -> None:
    assert read(text).policy == policy


@pytest.mark.parametrize(
    ("text", "instances"),
    [
        ("", 0),
        ("instance_group { count: 3 }", 3),
        ("instance_group { count: 1 kind: KIND_CPU } instance_group { count: 2 kind: KIND_AUTO }", 3),
        ("instance_group { count: 1 kind: KIND_MODEL name: 'x' }", 1),
        ("instance_group { kind: KIND_CPU }", 0),
        ("instance_group { count: 4 } instance_group { kind: KIND_CPU }", 0),
        ("instance_group { count: -1 }", 0),
        ("instance_group { count: 4 kind: KIND_GPU }", 0),
        ("instance_group { count: 4 } instance_group { count: 9 passive: true }", 4),
    ],
)
def test_instances_are_the_sum_over_the_groups_that_run_on_the_cpu(read: Read, text: str, instances: int) -> None:
    assert read(text).runtime.instances == instances


@pytest.mark.parametrize("text", ["platform: 'onnxruntime_onnx'", "backend: 'onnxruntime'", "name: 'm'"])
def test_the_names_of_onnx_runtime_are_accepted(read: Read, text: str) -> None:
    assert read(text).warnings == ()


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(read: Read) -> None:
    assert read("\ufeffmax_batch_size: 4\r\ndynamic_batching {\r\n}\r\n").batching.max_rows == 4


def test_an_owner_who_sets_a_limit_of_waiting_says_whether_requests_may_exceed_it(read: Read) -> None:
    policy = "dynamic_batching {{ default_queue_policy {{ default_timeout_microseconds: 2000 {} }} }}"
    strict = read(policy.format("")).batching
    assert (strict.queue_limit_s, strict.max_timeout_s) == (0.002, 0.002)
    lenient = read(policy.format("allow_timeout_override: true")).batching
    assert (lenient.queue_limit_s, lenient.max_timeout_s) == (0.002, BatchingOptions().max_timeout_s)


@pytest.mark.parametrize(
    ("text", "levels", "default"),
    [("", 1, 1), ("priority_levels: 4", 4, 2), ("priority_levels: 4 default_priority_level: 4", 4, 4)],
)
def test_priorities_have_a_default(read: Read, text: str, levels: int, default: int) -> None:
    batching = read(f"dynamic_batching {{ {text} }}").batching
    assert (batching.priority_levels, batching.default_priority) == (levels, default)
