from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import VersionPolicy
from shoal_server.options import AnswerOptions, BatchingMode, BatchingOptions, BatchInvariance, RuntimeOptions
from shoal_server.sources.model_toml import ModelTable, apply_options, parse_options
from shoal_server.sources.settings import Settings
from shoal_server.sources.tree import Tree

Apply = Callable[..., Settings]

TABLES = "batching, runtime, answers, versions, lengths"
DESCRIPTIONS = {
    name: option.description or ""
    for table in ModelTable.model_fields.values()
    if table.default is not None
    for name, option in type(table.default).model_fields.items()
}


@pytest.fixture
def apply(put: Callable[..., Path], root: Path) -> Apply:
    """What holds after the model.toml of a model called m is laid over other settings."""

    def settings_of(text: str, under: Settings | None = None) -> Settings:
        put("m/model.toml", text)
        return apply_options(Tree(root), root / "m", under or Settings())

    return settings_of


EVERYTHING = """
[batching]
mode = "always"
max_rows = 32
delay_ms = 2.5
allowed_rows = [32, 1, 8, 8]
preferred_rows = [16, 8]
max_queued_requests = 10
max_queued_rows = 20
max_queued_bytes = 30
default_timeout_s = 0.5
queue_limit_s = 0.25
max_timeout_s = 2
priority_levels = 5
default_priority = 4
aging_ms = 20
adaptive_limit = true
execution_limit_s = 5

[runtime]
instances = 2
intra_op_threads = 4
tuning_budget_s = 0.25

[answers]
nan_guard = true
batch_invariant = "auto"
share_in_flight = true
cache_bytes = 1000
cache_ttl_s = 1.5

[versions]
specific = [3, 1]
"""


def test_every_option_reaches_the_settings(apply: Apply) -> None:
    assert apply(EVERYTHING) == Settings(
        policy=VersionPolicy(latest=0, specific=(1, 3)),
        batching=BatchingOptions(
            mode=BatchingMode.ALWAYS,
            max_rows=32,
            delay_s=0.0025,
            allowed_rows=(1, 8, 32),
            preferred_rows=(8, 16),
            max_queued_requests=10,
            max_queued_rows=20,
            max_queued_bytes=30,
            default_timeout_s=0.5,
            queue_limit_s=0.25,
            max_timeout_s=2.0,
            priority_levels=5,
            default_priority=4,
            aging_s=0.02,
            adaptive_limit=True,
            execution_limit_s=5.0,
            tunes_rows=False,
            tunes_delay=False,
        ),
        runtime=RuntimeOptions(instances=2, intra_op_threads=4, tuning_budget_s=0.25),
        answers=AnswerOptions(
            nan_guard=True,
            batch_invariant=BatchInvariance.AUTO,
            share_in_flight=True,
            cache_bytes=1000,
            cache_ttl_s=1.5,
        ),
    )


def test_what_is_not_said_stays_as_it_was(apply: Apply) -> None:
    under = Settings(
        file_name="net.onnx",
        policy=VersionPolicy(latest=3),
        batching=BatchingOptions(mode=BatchingMode.NEVER, max_rows=8, rows_limit=8, delay_s=0.1),
        runtime=RuntimeOptions(instances=3),
        config=b"config",
        warnings=("warning",),
    )
    assert apply("", under) == under
    assert apply("[batching]\ndelay_ms = 1\n[runtime]\n[versions]", under) == replace(
        under, batching=replace(under.batching, delay_s=0.001, tunes_delay=False)
    )
    assert apply('[batching]\nmode = "auto"', under).batching.mode is BatchingMode.AUTO


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("latest = 2", VersionPolicy(latest=2)),
        ("all = true", VersionPolicy(latest=0)),
        ("specific = [2, 2]", VersionPolicy(latest=0, specific=(2,))),
    ],
)
def test_each_choice_of_versions_is_understood(apply: Apply, text: str, policy: VersionPolicy) -> None:
    assert apply(f"[versions]\n{text}", Settings(policy=VersionPolicy(latest=9))).policy == policy


def test_allowed_sizes_bound_a_batch_that_nothing_else_bounds(apply: Apply) -> None:
    assert apply("[batching]\nallowed_rows = [1, 16]").batching.max_rows == 16
    assert apply("[batching]\nallowed_rows = [1, 128]").batching.max_rows == 64


def test_preferred_sizes_that_no_longer_fit_are_dropped(apply: Apply) -> None:
    under = Settings(batching=BatchingOptions(max_rows=16, preferred_rows=(4, 16)))
    assert apply("[batching]\nmax_rows = 8", under).batching.preferred_rows == (4,)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[batchin]\n", "unknown key 'batchin'; did you mean 'batching'?"),
        ("[batching]\nmax_row = 3", "unknown key 'batching.max_row'; did you mean 'max_rows'?"),
        ("[versions]\nzebra = 1", "unknown key 'versions.zebra', wanted one of latest, specific, all"),
        ("x = 1", f"unknown key 'x', wanted one of {TABLES}"),
        (
            "a = 1\nb = 2",
            "; ".join(f"unknown key '{key}', wanted one of {TABLES}" for key in "ab"),
        ),
        ("batching = 3", "'batching' is 3, wanted a table, [batching]"),
        (
            "[batching]\nmax_rows = 0",
            "'batching.max_rows' is 0, wanted rows in a batch, >= 1 (default 64, or fewer where more do not pay)",
        ),
        (
            "[batching]\nmax_rows = 8\nallowed_rows = [1, 4]",
            "'batching.max_rows' is 8, wanted at most 4, the largest of 'batching.allowed_rows'",
        ),
        (
            "[batching]\nmax_rows = 8\npreferred_rows = [16]",
            "'batching.preferred_rows' has 16, wanted at most 8, the rows in a batch",
        ),
        ("[versions]\nall = true\nlatest = 2", "[versions] has latest and all, wanted one of them"),
    ],
)
def test_a_wrong_option_is_named_with_its_value_and_what_is_wanted(apply: Apply, text: str, complaint: str) -> None:
    with pytest.raises(LoadFailed) as raised:
        apply(text)
    assert str(raised.value) == f"m/model.toml: {complaint}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batching.max_rows", "'8'"),
        ("batching.max_rows", "8.0"),
        ("batching.max_rows", "true"),
        ("batching.max_rows", "-1"),
        ("batching.mode", "'sometimes'"),
        ("batching.delay_ms", "-1"),
        ("batching.delay_ms", "inf"),
        ("batching.delay_ms", "nan"),
        ("batching.delay_ms", "'2ms'"),
        ("batching.allowed_rows", "[]"),
        ("batching.allowed_rows", "8"),
        ("batching.default_timeout_s", "0"),
        ("batching.execution_limit_s", "-0.5"),
        ("batching.max_queued_bytes", "0"),
        ("runtime.instances", "-1"),
        ("runtime.intra_op_threads", "5000"),
        ("versions.latest", "0"),
        ("versions.all", "false"),
    ],
)
def test_a_value_out_of_its_options_range_is_refused_with_the_options_description(
    apply: Apply, key: str, value: str
) -> None:
    table, option = key.split(".")
    with pytest.raises(LoadFailed) as raised:
        apply(f"[{table}]\n{option} = {value}")
    shown = value.capitalize() if value in ("true", "false") else value
    assert str(raised.value) == f"m/model.toml: '{key}' is {shown}, wanted {DESCRIPTIONS[option]}"


def test_an_item_of_a_list_is_named_by_its_place(apply: Apply) -> None:
    with pytest.raises(LoadFailed, match=r"'batching\.preferred_rows\[1\]' is 0, wanted a list of batch sizes >= 1"):
        apply("[batching]\npreferred_rows = [4, 0]")
    with pytest.raises(LoadFailed, match=r"'versions\.specific\[0\]' is 0, wanted a list of the versions to serve"):
        apply("[versions]\nspecific = [0]")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[batching", "m/model.toml is not TOML: Expected ']' at the end of a table declaration (at end of document)"),
        ("a = 1\na = 2", "m/model.toml is not TOML: Cannot overwrite a value (at end of document)"),
        ("a = " + "9" * 5000, "m/model.toml is not TOML: Exceeds the limit"),
        ("a = " + "[" * 5000, "m/model.toml: values are nested too deeply"),
    ],
)
def test_what_is_no_toml_says_where(text: str, reason: str) -> None:
    with pytest.raises(LoadFailed) as raised:
        parse_options(text, "m/model.toml")
    assert str(raised.value).startswith(reason)


def test_an_option_nested_as_deep_as_a_file_can_say_is_a_plain_complaint() -> None:
    text = "[" + ".".join(["a"] * 5000) + "]"
    with pytest.raises(LoadFailed, match=r"unknown key 'a'|nested too deeply"):
        parse_options(text, "m/model.toml")


def test_an_options_file_that_is_a_folder_is_refused(put: Callable[..., Path], root: Path) -> None:
    put("m/model.toml/x")
    with pytest.raises(LoadFailed, match=r"^m/model\.toml is a folder, wanted a file$"):
        apply_options(Tree(root), root / "m", Settings())


def test_the_documented_defaults_are_the_defaults() -> None:
    batching, runtime = BatchingOptions(), RuntimeOptions()
    defaults = {
        "max_rows": batching.max_rows,
        "delay_ms": round(batching.delay_s * 1e3),
        "max_queued_requests": batching.max_queued_requests,
        "max_queued_rows": batching.max_queued_rows,
        "max_queued_bytes": batching.max_queued_bytes,
        "default_timeout_s": round(batching.default_timeout_s),
        "queue_limit_s": round(batching.queue_limit_s),
        "max_timeout_s": round(batching.max_timeout_s),
        "priority_levels": batching.priority_levels,
        "aging_ms": round(batching.aging_s * 1e3),
        "execution_limit_s": round(batching.execution_limit_s),
        "instances": runtime.instances,
        "intra_op_threads": runtime.intra_op_threads,
        "tuning_budget_s": round(runtime.tuning_budget_s),
    }
    for name, default in defaults.items():
        assert f"(default {default}" in DESCRIPTIONS[name], name


def test_requests_that_name_no_priority_are_halfway_unless_the_owner_says_otherwise(apply: Apply) -> None:
    batching = apply("[batching]\npriority_levels = 3").batching
    assert (batching.priority_levels, batching.default_priority) == (3, 2)
    with pytest.raises(LoadFailed, match=r"'batching.default_priority' is 2, wanted at most 1"):
        apply("[batching]\ndefault_priority = 2")
