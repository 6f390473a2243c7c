"""What of a config.pbtxt does not count and is warned about, and what is refused."""

import re
from collections.abc import Callable

import pytest

from shoal_server.errors import LoadFailed
from shoal_server.sources.settings import Settings

Read = Callable[[str], Settings]
Refusal = Callable[[str], str]


def test_dynamic_batching_without_batches_is_warned_about(read: Read) -> None:
    warnings = read("max_batch_size: 0 dynamic_batching { max_queue_delay_microseconds: 1 }").warnings
    assert warnings == ("m/config.pbtxt: 'dynamic_batching' joins nothing while 'max_batch_size' is 0",)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("instance_group { kind: KIND_GPU }", "'instance_group[0]' of KIND_GPU is ignored: models run on the CPU"),
        ("instance_group { passive: true }", "'instance_group[0]' is ignored: it is passive"),
        ("instance_group { host_policy: 'x' }", "'instance_group[0].host_policy' is not supported and ignored"),
        (
            "instance_group { rate_limiter { priority: 2 } }",
            "'instance_group[0].rate_limiter.priority' is not supported and ignored",
        ),
        (
            "model_transaction_policy { decoupled: true }",
            "'model_transaction_policy.decoupled' is ignored: an ONNX model gives one answer to a request",
        ),
        (
            "response_cache { enable: true }",
            "'response_cache.enable' is ignored: [answers] cache_bytes in model.toml says how much is kept",
        ),
        ("runtime: 'x.so'", "'runtime' is not supported and ignored"),
        (
            "cc_model_filenames { key: '7.5' value: 'x.onnx' }",
            "'cc_model_filenames' is not supported and ignored",
        ),
        ("metric_tags { key: 'a' value: 'b' }", "'metric_tags' is not supported and ignored"),
        (
            "input { name: 'x' allow_ragged_batch: true }",
            "'input[0].allow_ragged_batch' is ignored: requests of different shapes are not joined",
        ),
        (
            "output { name: 'x' is_shape_tensor: true }",
            "'output[0].is_shape_tensor' has no effect: only TensorRT has shape tensors",
        ),
        (
            "dynamic_batching { priority_queue_policy { key: 1 value { max_queue_size: 2 } } }",
            "'dynamic_batching.priority_queue_policy' is ignored: all levels have the default_queue_policy",
        ),
        (
            "dynamic_batching { default_queue_policy { timeout_action: DELAY } }",
            (
                "'dynamic_batching.default_queue_policy.timeout_action' is ignored: who waited too long is refused, "
                "not delayed"
            ),
        ),
        ("optimization { eager_batching: true }", "'optimization.eager_batching' is not supported and ignored"),
    ],
)
def test_what_is_set_and_does_not_count_is_named_in_a_warning(read: Read, text: str, warning: str) -> None:
    assert read(text).warnings == (f"m/config.pbtxt: {warning}",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: 'other'", "'name' is 'other', wanted the folder's name, 'm'"),
        ("platform: 'tensorrt_plan'", "'platform' is 'tensorrt_plan', wanted 'onnxruntime_onnx'"),
        ("backend: 'python'", "'backend' is 'python', wanted 'onnxruntime'"),
        ("max_batch_size: -1", "'max_batch_size' is -1, wanted 0 or more"),
        (
            "platform: 'ensemble' ensemble_scheduling { step { model_name: 'x' } }",
            "'ensemble_scheduling' is set: ensembles are not supported: this server serves single ONNX models",
        ),
        (
            "sequence_batching {}",
            (
                "'sequence_batching' is set: the model keeps state between the requests of a sequence, which this "
                "server does not"
            ),
        ),
        (
            "batch_input { kind: BATCH_ELEMENT_COUNT }",
            "'batch_input' is set: inputs that the server makes up for a batch are not supported",
        ),
        (
            "batch_output { target_name: 'y' }",
            "'batch_output' is set: outputs that the server splits by an input's shape are not supported",
        ),
        (
            "model_operations { op_library_filename: 'x.so' }",
            "'model_operations.op_library_filename' is set: libraries of custom operators are not supported",
        ),
        (
            "model_repository_agents { agents { name: 'checksum' } }",
            "'model_repository_agents.agents' is set: repository agents (checks, decryption) are not supported",
        ),
        (
            "max_batch_size: 4 dynamic_batching { preferred_batch_size: [2, 8] }",
            "'dynamic_batching.preferred_batch_size' is [2, 8], wanted numbers from 1 to 4, the max_batch_size",
        ),
        (
            "dynamic_batching { preferred_batch_size: 0 }",
            "'dynamic_batching.preferred_batch_size' is [0], wanted numbers from 1 up",
        ),
        (
            "version_policy { specific {} }",
            "'version_policy.specific' has versions [], wanted numbers above 0",
        ),
        (
            "version_policy { specific { versions: [1, 0] } }",
            "'version_policy.specific' has versions [1, 0], wanted numbers above 0",
        ),
        (
            "parameters { key: 'intra_op_thread_count' value { string_value: '-1' } }",
            "parameter 'intra_op_thread_count' is '-1', wanted a number from 0 to 4096",
        ),
        (
            "parameters { key: 'intra_op_thread_count' value { string_value: '99999999999999999999' } }",
            "parameter 'intra_op_thread_count' is '99999999999999999999', wanted a number from 0 to 4096",
        ),
        (
            "default_model_filename: '../../secret'",
            "'default_model_filename' is '../../secret', which is no file's name: it has a slash",
        ),
        (
            "default_model_filename: '..'",
            "'default_model_filename' is '..', which is no file's name: it begins with a dot",
        ),
        ("input { data_type: TYPE_FP32 }", "'input' has an entry without a name"),
        ("output { name: 'y' } output { name: 'y' }", "'output' declares 'y' twice"),
        (
            "input { name: 'x' data_type: 99 }",
            "'input[0]' has data_type 99, which is none of the protocol's",
        ),
        ("input { name: 'x' dims: [3, -2] }", "'input[0]' has dims [3, -2], wanted sizes >= 0, or -1 for any"),
        (
            "input { name: 'x' dims: [2] reshape { shape: [-3] } }",
            "'input[0]' has reshape [-3], wanted sizes >= 0, or -1 for any",
        ),
        (
            "output { name: 'y' label_filename: '../labels' }",
            "'output[0]' has label_filename '../labels', which is no file's name: it has a slash",
        ),
    ],
)
def test_what_would_change_an_answer_or_contradicts_itself_is_refused(refusal: Refusal, text: str, reason: str) -> None:
    assert refusal(text) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("priority_levels: 65", "'dynamic_batching.priority_levels' is 65, wanted at most 64"),
        (
            "priority_levels: 2 default_priority_level: 3",
            "'dynamic_batching.default_priority_level' is 3, wanted at most 2, the priority_levels",
        ),
    ],
)
def test_priorities_beyond_the_levels_are_refused(read: Read, text: str, reason: str) -> None:
    with pytest.raises(LoadFailed, match=re.escape(reason)):
        read(f"dynamic_batching {{ {text} }}")
