"""What a Triton config.pbtxt asks for.

Deviations from Triton, on purpose: requests are joined wherever the server finds that safe, with or without
``dynamic_batching``; preferred sizes matter only while ``max_queue_delay_microseconds`` lets a batch wait; where Triton
has no bound or time limit by default, ours holds; priorities age, so that none starves. Everything else that is set and
does not count is named in a warning.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

from shoal.inference.model_config_pb2 import ModelConfig, ModelDynamicBatching, ModelInstanceGroup
from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import VersionPolicy
from shoal_server.options import MOST_PRIORITY_LEVELS, BatchingMode, BatchingOptions, RuntimeOptions, halfway
from shoal_server.sources.naming import file_name_fault
from shoal_server.sources.settings import CONFIG_FILE, NO_SETTINGS, Settings
from shoal_server.sources.tree import Tree
from shoal_server.sources.triton_fields import THREADS_KEY, remarks_on
from shoal_server.sources.triton_tensors import declared_inputs, declared_outputs
from shoal_server.sources.triton_text import TritonText, parse
from shoal_server.sources.triton_warmup import warmups_of
from shoal_server.sources.versions import MODEL_FILE

_LIMIT_BYTES: Final = 1 << 20
_MICROSECOND_S: Final = 1e-6
_MOST_THREADS: Final = 4096
_PLATFORMS: Final = ("", "onnxruntime_onnx")
_BACKENDS: Final = ("", "onnxruntime")


def read_config(tree: Tree, folder: Path, model: str, defaults: Settings = NO_SETTINGS) -> Settings:
    """Return what the ``config.pbtxt`` in a model's folder asks for.

    Raises:
        LoadFailed: it cannot be read or understood, or asks for what is not offered and would change the answers.
    """
    path = folder / CONFIG_FILE
    shown = tree.name(path)
    return settings_of(parse(tree.read_text(path, _LIMIT_BYTES), shown), shown, model, tree, folder, defaults)


def settings_of(  # noqa: PLR0913, PLR0917 - where the text lies, what it is called, and what holds where it is silent
    text: TritonText, shown: str, model: str, tree: Tree, folder: Path, defaults: Settings = NO_SETTINGS
) -> Settings:
    """Return what a parsed configuration, which lies in ``folder``, asks for; ``shown`` is what to call its file.

    Raises:
        LoadFailed: as for ``read_config``.
    """
    config = text.message
    remarks = remarks_on(config, shown)
    _require_ours(config, shown, model)
    # Triton completes a configuration that lacks inputs or outputs, max_batch_size included, from the model's file.
    # Only one that has both, and no max_batch_size, is sure to count the first dimension among dims.
    whole = not config.max_batch_size and (text.says_max_batch_size or bool(config.input and config.output))
    batching, batching_remarks = _batching(text, shown, defaults.batching)
    runtime, runtime_remarks = _runtime(config, shown, defaults.runtime)
    warmups, warmup_remarks = warmups_of(config, shown, tree, folder, whole=whole)
    return Settings(
        file_name=_file_name(config, shown),
        policy=_policy(config, shown),
        batching=batching,
        runtime=runtime,
        inputs=declared_inputs(config, shown, whole=whole),
        outputs=declared_outputs(config, shown, tree, folder, whole=whole),
        warmups=warmups,
        config=config.SerializeToString(deterministic=True),
        warnings=(*remarks, *batching_remarks, *runtime_remarks, *warmup_remarks),
    )


def _require_ours(config: ModelConfig, shown: str, model: str) -> None:
    if config.name not in ("", model):
        raise LoadFailed(f"{shown}: 'name' is {config.name!r:.120}, wanted the folder's name, {model!r:.120}")
    if config.platform not in _PLATFORMS:
        raise LoadFailed(f"{shown}: 'platform' is {config.platform!r:.120}, wanted 'onnxruntime_onnx'")
    if config.backend not in _BACKENDS:
        raise LoadFailed(f"{shown}: 'backend' is {config.backend!r:.120}, wanted 'onnxruntime'")


def _file_name(config: ModelConfig, shown: str) -> str:
    file_name = config.default_model_filename or MODEL_FILE
    fault = file_name_fault(file_name)
    if fault is not None:
        raise LoadFailed(f"{shown}: 'default_model_filename' is {file_name!r:.120}, which is no file's name: {fault}")
    return file_name


def _policy(config: ModelConfig, shown: str) -> VersionPolicy:
    policy = config.version_policy
    match policy.WhichOneof("policy_choice"):
        case "latest":
            return VersionPolicy(latest=policy.latest.num_versions or 1)
        case "all":
            return VersionPolicy(latest=0)
        case "specific":
            versions = policy.specific.versions
            if not versions or min(versions) < 1:
                raise LoadFailed(
                    f"{shown}: 'version_policy.specific' has versions {list(versions)}, wanted numbers above 0"
                )
            return VersionPolicy(latest=0, specific=tuple(sorted(set(versions))))
        case _:
            return VersionPolicy()


def _batching(text: TritonText, shown: str, defaults: BatchingOptions) -> tuple[BatchingOptions, tuple[str, ...]]:
    config = text.message
    rows = config.max_batch_size
    if rows < 0:
        raise LoadFailed(f"{shown}: 'max_batch_size' is {rows}, wanted 0 or more")
    dynamic = config.dynamic_batching
    queue = dynamic.default_queue_policy
    limit_s = queue.default_timeout_microseconds * _MICROSECOND_S
    levels = dynamic.priority_levels
    default_level = dynamic.default_priority_level
    if levels > MOST_PRIORITY_LEVELS:
        raise LoadFailed(
            f"{shown}: 'dynamic_batching.priority_levels' is {levels}, wanted at most {MOST_PRIORITY_LEVELS}"
        )
    if default_level > levels:
        raise LoadFailed(
            f"{shown}: 'dynamic_batching.default_priority_level' is {default_level}, wanted at most {levels}, the "
            f"priority_levels"
        )
    never = text.says_max_batch_size and not rows
    delay_s = dynamic.max_queue_delay_microseconds * _MICROSECOND_S
    options = replace(
        defaults,
        mode=BatchingMode.NEVER if never else BatchingMode.AUTO,
        max_rows=rows or defaults.max_rows,
        tunes_rows=defaults.tunes_rows and not rows,
        tunes_delay=defaults.tunes_delay and not config.HasField("dynamic_batching"),
        rows_limit=rows,
        delay_s=delay_s if config.HasField("dynamic_batching") else defaults.delay_s,
        preferred_rows=_preferred_rows(dynamic, rows, shown),
        max_queued_requests=queue.max_queue_size or defaults.max_queued_requests,
        queue_limit_s=limit_s or defaults.queue_limit_s,
        # As in Triton, where the owner sets a limit, requests may have a longer one only if he says so.
        max_timeout_s=min(limit_s, defaults.max_timeout_s)
        if limit_s and not queue.allow_timeout_override
        else defaults.max_timeout_s,
        priority_levels=levels or defaults.priority_levels,
        default_priority=(default_level or halfway(levels)) if levels else defaults.default_priority,
    )
    joins = dynamic.preferred_batch_size or dynamic.max_queue_delay_microseconds
    idle = (f"{shown}: 'dynamic_batching' joins nothing while 'max_batch_size' is 0",) if never and joins else ()
    return options, idle


def _preferred_rows(dynamic: ModelDynamicBatching, max_rows: int, shown: str) -> tuple[int, ...]:
    preferred = tuple(sorted(set(dynamic.preferred_batch_size)))
    if preferred and (preferred[0] < 1 or (max_rows and preferred[-1] > max_rows)):
        bound = f" to {max_rows}, the max_batch_size" if max_rows else " up"
        raise LoadFailed(
            f"{shown}: 'dynamic_batching.preferred_batch_size' is {list(preferred)}, wanted numbers from 1{bound}"
        )
    return preferred


def _runtime(config: ModelConfig, shown: str, defaults: RuntimeOptions) -> tuple[RuntimeOptions, tuple[str, ...]]:
    counts: list[int] = []
    remarks: list[str] = []
    for index, group in enumerate(config.instance_group):
        place = f"{shown}: 'instance_group[{index}]'"
        if group.kind == ModelInstanceGroup.KIND_GPU:
            remarks.append(f"{place} of KIND_GPU is ignored: models run on the CPU")
        elif group.passive:
            remarks.append(f"{place} is ignored: it is passive")
        else:
            counts.append(max(group.count, 0))
    # A group that names no number leaves it to the server, and so do all.
    instances = sum(counts) if all(counts) else 0
    threads = _threads(config, shown) or defaults.intra_op_threads
    options = replace(defaults, instances=instances or defaults.instances, intra_op_threads=threads)
    return options, tuple(remarks)


def _threads(config: ModelConfig, shown: str) -> int:
    if THREADS_KEY not in config.parameters:
        return 0
    value = config.parameters[THREADS_KEY].string_value
    if not (value.isascii() and value.isdecimal() and len(value) < 10 and int(value) <= _MOST_THREADS):  # noqa: PLR2004
        raise LoadFailed(
            f"{shown}: parameter '{THREADS_KEY}' is {value!r:.80}, wanted a number from 0 to {_MOST_THREADS}"
        )
    return int(value)
