import pytest

from shoal_server.runtime.sizing import Sizing, choose, quick, sized, threads_worth_trying


@pytest.mark.parametrize(
    ("cpus", "run_s", "threads"),
    [
        (8, 0.001, 1),  # too short to be worth it
        (8, 0.1, 8),
        (1.9, 0.1, 1),  # there is no second processor
        (0.5, 0.1, 1),
        (2, 0.002, 1),
        (2.5, 0.0021, 2),
    ],
)
def test_threads_are_tried_where_a_run_is_long_and_processors_are_many(cpus: float, run_s: float, threads: int) -> None:
    assert threads_worth_trying(cpus, run_s) == threads


@pytest.mark.parametrize(
    ("parallel_run_s", "sizing"),
    [
        (0.050, Sizing(1, 2)),
        (0.066, Sizing(1, 2)),
        (0.067, Sizing(2, 1)),  # less than one and a half times as fast
        (0.200, Sizing(2, 1)),
    ],
)
def test_threads_are_kept_where_they_pay(parallel_run_s: float, sizing: Sizing) -> None:
    assert choose(2, 0.1, 2, parallel_run_s) == sizing


@pytest.mark.parametrize(("cpus", "threads", "slots"), [(8, 2, 4), (8, 3, 2), (0.5, 1, 1), (2.9, 1, 2), (2, 4, 1)])
def test_runs_share_the_processor(cpus: float, threads: int, slots: int) -> None:
    assert sized(cpus, threads) == Sizing(slots, threads)


@pytest.mark.parametrize(("full_batch_s", "sizing"), [(0.0002, Sizing(1, 1)), (0.001, Sizing(1, 1)), (0.0011, None)])
def test_a_model_whose_full_batches_are_over_at_once_keeps_to_one_thread(
    full_batch_s: float, sizing: Sizing | None
) -> None:
    assert quick(full_batch_s) == sizing
