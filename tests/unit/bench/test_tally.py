from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_bench.result import Ended, Run, Window
from shoal_bench.tally import NOT_SENT, OK, Tally

ENDS = st.lists(
    st.tuples(st.sampled_from([OK, "UNAVAILABLE", "DEADLINE_EXCEEDED"]), st.floats(1e-5, 10), st.sampled_from("ab")),
    max_size=30,
)


def tally(ends: list[tuple[str, float, str]], duration_s: float = 1.0) -> Tally:
    made = Tally(duration_s)
    for status, latency_s, model in ends:
        if status == OK:
            made.succeeded(latency_s, 0.1, model)
        else:
            made.failed(status, latency_s, f"{status} says why")
    return made


@settings(max_examples=20)
@given(ENDS)
def test_a_tally_survives_json(ends: list[tuple[str, float, str]]) -> None:
    made = tally(ends)
    assert Tally.from_json(made.to_json()).to_json() == made.to_json()


@settings(max_examples=20)
@given(ENDS, ENDS)
def test_processes_are_added_side_by_side_and_windows_one_after_the_other(
    some: list[tuple[str, float, str]], others: list[tuple[str, float, str]]
) -> None:
    beside, then = tally(some), tally(some)
    beside.beside(tally(others))
    then.then(tally(others))
    assert (beside.duration_s, then.duration_s) == (1.0, 2.0)
    assert beside.statuses == then.statuses
    assert beside.throughput == 2 * then.throughput
    assert beside.latencies.count + beside.failures.count == beside.ended == len(some) + len(others)


def test_goodput_is_what_was_ok_in_time() -> None:
    made = tally([(OK, 0.05, "a"), (OK, 0.5, "a"), ("UNAVAILABLE", 0.001, "a")], duration_s=2.0)
    assert (made.throughput, made.goodput) == (1.0, 0.5)
    assert made.samples == {"UNAVAILABLE": "UNAVAILABLE says why"}


def test_what_was_not_sent_has_not_ended() -> None:
    assert Tally(1.0, Counter({OK: 3, NOT_SENT: 4})).ended == 3


def test_a_run_survives_json_and_counts_every_call() -> None:
    windows = [
        Window(tally([(OK, 0.05, "a")]), 0.001, 1 << 20, Counter({1: 3, 4: 1})),
        Window(tally([(OK, 0.15, "b"), ("UNAVAILABLE", 0.1, "b")])),
    ]
    run = Run(2, windows, tally([(OK, 0.5, "a")]), Ended.INTERRUPTED, "stopped by hand")
    again = Run.from_json(run.to_json())
    assert again.to_json() == run.to_json()
    assert run.to_json()["partial"]
    assert run.everything().ended == 4
    assert run.measured().throughput == 1.0
    assert run.mean_batch == 7 / 4
    assert run.server_cpu_us == 0.001 / 3 * 1e6
