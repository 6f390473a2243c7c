"""Runs of a loaded model: alone, together, failing, interrupted."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from time import monotonic

import numpy as np
import onnxruntime as ort
import pytest

from shoal_server.errors import ExecutionFailed
from shoal_server.lifecycle.ports import Interrupt
from shoal_server.options import RuntimeOptions
from shoal_server.runtime.ort_model import OrtModel
from shoal_testing import models, whole_models

Load = Callable[..., OrtModel]


def test_an_answer_is_bit_equal_to_the_runtimes_own(load: Load) -> None:
    model = load(models.mlp())
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(models.mlp(), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    for rows in (1, 2, 7, 64):
        x = random.normal(size=(rows, 64)).astype(np.float32)
        (bare,) = session.run(None, {"x": x})
        assert model.run([x], None)[0].tobytes() == bare.tobytes()


def test_several_threads_may_run_one_model(load: Load) -> None:
    model = load(models.mlp())
    random = np.random.default_rng(0)
    inputs = [random.normal(size=(rows % 5 + 1, 64)).astype(np.float32) for rows in range(200)]
    alone = [model.run([x], None)[0].tobytes() for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: model.run([x], None)[0].tobytes(), inputs))
    assert together == alone


def test_a_value_out_of_range_is_the_callers_fault_and_harms_nobody(load: Load) -> None:
    model = load(models.gather())
    with pytest.raises(ExecutionFailed) as failed:
        model.run([np.array([[1, 8]])], None)
    assert failed.value.caller_at_fault
    assert str(failed.value) == (
        "Gather node 'lookup': indices element out of data bounds, idx=8 must be within the inclusive range [-8,7]"
    )
    (vectors,) = model.run([np.array([[7]])], None)
    assert vectors[0, 0, 0] == 7


def test_shapes_that_do_not_go_together_are_the_callers_fault(load: Load) -> None:
    model = load(models.two_inputs_two_outputs())
    with pytest.raises(ExecutionFailed) as failed:
        model.run([np.ones((2, 3), np.float32), np.ones((5, 3), np.float32)], None)
    assert failed.value.caller_at_fault
    assert "Add node" in str(failed.value) or "Sub node" in str(failed.value)


class Stopper:
    """Ends a run from another thread as soon as it is told how."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def on_stop(self, interrupt: Interrupt) -> None:
        self.threads.append(threading.Thread(target=interrupt))
        self.threads[-1].start()


def test_a_run_can_be_interrupted_from_another_thread(load: Load) -> None:
    model = load(whole_models.endless())
    stopper = Stopper()
    with pytest.raises(ExecutionFailed, match=r"^the run was interrupted$") as failed:
        model.run([np.ones((1, 2), np.float32), np.array(1 << 40)], stopper)
    assert not failed.value.caller_at_fault
    for thread in stopper.threads:
        thread.join()
    (y,) = model.run([np.ones((1, 2), np.float32), np.array(2)], None)
    assert y.tolist() == [[3, 3]]


def test_an_interrupt_that_comes_too_late_does_nothing(load: Load) -> None:
    interrupts: list[Interrupt] = []

    class Keeper:
        def on_stop(self, interrupt: Interrupt) -> None:
            interrupts.append(interrupt)

    model = load(models.vector())
    x = np.ones(3, np.float32)
    model.run([x], Keeper())
    interrupts[0]()
    interrupts[0]()
    assert model.run([x], None)[0].tolist() == [2, 2, 2]


@pytest.mark.parametrize("threads", [1, 2])
def test_hundreds_of_runs_are_interrupted_under_load_and_no_other_run_is_harmed(
    load: Load, threads: int, seed: int
) -> None:
    """What a batch that nobody waits for goes through: it is stopped wherever it is, while others compute."""
    model = load(models.slow(layers=40, width=128), runtime=RuntimeOptions(intra_op_threads=threads))
    random = Random(seed)
    x = np.ones((32, 128), np.float32)
    (expected,) = model.run([x], None)
    runs_s = []
    for _ in range(5):  # one may be held up, and delays as long as that would stop none
        began_s = monotonic()
        model.run([x], None)
        runs_s.append(monotonic() - began_s)
    over = threading.Event()

    def compute() -> int:
        runs = 0
        while not over.is_set():
            np.testing.assert_array_equal(model.run([x], None)[0], expected)
            runs += 1
        return runs

    def interrupted(delay_s: float) -> bool:
        class Later:
            def on_stop(self, interrupt: Interrupt) -> None:
                self.timer = threading.Timer(delay_s, interrupt)
                self.timer.start()

        later = Later()
        try:
            model.run([x], later)
        except ExecutionFailed as error:
            return str(error) == "the run was interrupted"
        finally:
            later.timer.join()
        return False

    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(compute)
        tried = stopped = 0
        while tried < 300 or (stopped <= 30 and tried < 3000):  # on a busy machine many come too late
            stopped += interrupted(random.random() * 1.2 * min(runs_s))
            tried += 1
        over.set()
        assert others.result() > 10
    assert stopped > 30
    np.testing.assert_array_equal(model.run([x], None)[0], expected)
