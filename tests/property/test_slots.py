"""Fairness of the slots: whoever waits is served before anyone who came later is served twice."""

from hypothesis import given
from hypothesis import strategies as st

from shoal_server.batching.slots import Slots


class Model:
    """Has so many batches to run; takes a slot for each when it may."""

    def __init__(self, name: int, slots: Slots, log: list[int]) -> None:
        self.name = name
        self.slots = slots
        self.log = log
        self.wants = 0
        self.running = 0

    def pump(self) -> None:
        while self.wants and self.slots.free:
            self.slots.take()
            self.wants -= 1
            self.running += 1
            self.log.append(self.name)
        if self.wants:
            self.slots.wait(self.pump)

    def end_one(self) -> None:
        self.running -= 1
        self.slots.give_back()
        self.pump()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 3), st.integers(1, 5)),
        st.tuples(st.just("end"), st.integers(0, 3), st.just(0)),
    ),
    max_size=60,
)


@given(st.integers(1, 3), STEPS)
def test_nobody_who_waits_is_overtaken_twice_by_the_same(total: int, steps: list[tuple[str, int, int]]) -> None:
    slots, log = Slots(total), list[int]()
    models = [Model(name, slots, log) for name in range(4)]
    waiting_since: dict[int, int] = {}
    for kind, name, wanted in steps:
        model = models[name]
        if kind == "ask":
            model.wants += wanted
            model.pump()
        elif model.running:
            model.end_one()
        assert slots.free == total - sum(one.running for one in models)
        assert not slots.free or not any(one.wants for one in models)
        for other in models:
            since = waiting_since.setdefault(other.name, len(log))
            if not other.wants or other.name in log[since:]:
                waiting_since[other.name] = len(log)
                continue
            served = log[since:]
            assert all(served.count(name) <= 2 for name in served), f"{other.name} was overtaken: {served}"
