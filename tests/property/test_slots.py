"""Fairness of the slots, whatever is wished for and ends: none idles, none starves, equal times for equal wishes."""

from hypothesis import given
from hypothesis import strategies as st

from shoal_server.batching.slots import MOST_OWED_S, Slots

LONGEST_S = 0.5


class Model:
    """Has so many batches to run; takes a slot for each when it may."""

    def __init__(self, name: int, slots: Slots, log: list[int]) -> None:
        self.name = name
        self.slots = slots
        self.log = log
        self.wants = 0
        self.running = 0
        self.used_s = 0.0
        self.account = slots.account(self.pump)

    def pump(self) -> None:
        while self.wants and self.slots.free:
            self.slots.take(self.account)
            self.wants -= 1
            self.running += 1
            self.log.append(self.name)
        if self.wants:
            self.slots.wait(self.account)

    def end_one(self, took_s: float) -> None:
        self.running -= 1
        self.used_s += took_s
        self.slots.give_back(self.account, took_s)
        self.pump()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 3), st.integers(1, 5), st.just(0.0)),
        st.tuples(st.just("end"), st.integers(0, 3), st.just(0), st.floats(0.001, LONGEST_S)),
    ),
    max_size=80,
)


@given(st.integers(1, 3), STEPS)
def test_no_slot_is_free_while_somebody_waits(total: int, steps: list[tuple[str, int, int, float]]) -> None:
    slots, log = Slots(total), list[int]()
    models = [Model(name, slots, log) for name in range(4)]
    for kind, name, wanted, took_s in steps:
        model = models[name]
        if kind == "ask":
            model.wants += wanted
            model.pump()
        elif model.running:
            model.end_one(took_s)
        assert slots.free == total - sum(one.running for one in models)
        assert not slots.free or not any(one.wants for one in models)


@given(st.lists(st.floats(0.001, LONGEST_S), min_size=2, max_size=4), st.integers(1, 2), st.integers(10, 200))
def test_models_that_always_wait_have_slots_for_equal_times(takes_s: list[float], total: int, batches: int) -> None:
    slots, log = Slots(total), list[int]()
    models = [Model(name, slots, log) for name in range(len(takes_s))]
    for model in models:
        model.wants = 10_000
        model.pump()
    for _ in range(batches):
        running = next(model for model in models if model.running)
        running.end_one(takes_s[running.name])
    used_s = [model.used_s for model in models]
    assert max(used_s) - min(used_s) <= 2 * total * LONGEST_S + 1e-9


@given(st.lists(st.floats(0.001, 100.0), min_size=1, max_size=60))
def test_nobody_who_waits_is_passed_over_for_longer_than_what_is_owed_and_a_batch_of_each(takes_s: list[float]) -> None:
    slots, log = Slots(1), list[int]()
    models = [Model(name, slots, log) for name in range(3)]
    for model in models:
        model.wants = 10_000
        model.pump()
    waited_s = [0.0, 0.0, 0.0]
    for took_s in takes_s:
        running = next(model for model in models if model.running)
        others = min(took_s, MOST_OWED_S)
        running.end_one(took_s)
        now_running = next(model for model in models if model.running)
        for name in range(3):
            waited_s[name] = 0.0 if name == now_running.name else waited_s[name] + others
        assert max(waited_s) <= 6 * MOST_OWED_S + 1e-9
