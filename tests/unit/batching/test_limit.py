"""The adaptive limit against a simulated server: it finds what fits, keeps the rate, and follows changes."""

from random import Random

import pytest

from shoal_server.batching.limit import AdaptiveLimit, LimitBounds

BATCH, BASE_S, ROW_S = 8, 0.002, 0.0005


class Served:
    """One slot, batches of at most ``BATCH``, callers at random times; who finds the limit reached goes away."""

    def __init__(self, load: float, seed: int, *, seconds: float = 5.0, slower_after_s: float = 1e9) -> None:
        random = Random(seed)
        self.limit = AdaptiveLimit(LimitBounds())
        rate_hz = load * BATCH / (BASE_S + ROW_S * BATCH)
        waiting: list[float] = []
        batch: list[float] = []
        inside = self.done = 0
        self.latest_s: list[float] = []
        now, arrives_s, ends_s = 0.0, random.expovariate(rate_hz), float("inf")
        while now < seconds:
            if ends_s <= arrives_s:
                now, ends_s = ends_s, float("inf")
                for came_s in batch:
                    self.limit.on_sample(now - came_s, inside, dropped=False)
                    inside -= 1
                    self.done += 1
                    self.latest_s.append(now - came_s)
                batch = []
            else:
                now, arrives_s = arrives_s, arrives_s + random.expovariate(rate_hz)
                if inside < self.limit.limit:
                    inside += 1
                    waiting.append(now)
            if not batch and waiting:
                batch, waiting = waiting[:BATCH], waiting[BATCH:]
                slow = 3.0 if now > slower_after_s else 1.0
                ends_s = now + slow * (BASE_S + ROW_S * len(batch))
        self.rate_share = self.done / seconds / (BATCH / (BASE_S + ROW_S * BATCH))
        self.latest_s = sorted(self.latest_s)


@pytest.mark.parametrize("load", [1.5, 3.0, 10.0])
def test_under_overload_the_rate_is_kept_and_no_long_line_forms(load: float, seed: int) -> None:
    served = Served(load, seed, seconds=30.0)  # of a few seconds, one in a hundred has arrivals that are bad luck
    assert served.rate_share > 0.93
    assert served.latest_s[int(0.99 * len(served.latest_s))] < 0.08
    assert BATCH <= served.limit.limit < 64


def test_below_its_capacity_nobody_is_turned_away(seed: int) -> None:
    assert Served(0.3, seed).rate_share == pytest.approx(0.3, rel=0.1)


def test_a_model_that_becomes_slower_is_not_taken_for_a_queue_for_ever(seed: int) -> None:
    served = Served(3.0, seed, seconds=12.0, slower_after_s=6.0)
    assert served.rate_share > 0.93 * (0.5 + 0.5 / 3)


def test_what_is_dropped_shrinks_the_limit_to_its_least_and_not_below() -> None:
    limit = AdaptiveLimit(LimitBounds(least=4, start=10))
    assert limit.on_sample(1.0, 10, dropped=True) == 9
    for _ in range(100):
        limit.on_sample(1.0, 10, dropped=True)
    assert limit.limit == 4


def test_while_there_is_room_nothing_is_learned_and_times_of_zero_do_no_harm() -> None:
    limit = AdaptiveLimit(LimitBounds(start=64))
    for _ in range(50):
        limit.on_sample(0.001, 3, dropped=False)
        limit.on_sample(0.0, 64, dropped=False)
    assert limit.limit == 64


def test_the_limit_never_leaves_its_bounds(seed: int) -> None:
    random, bounds = Random(seed), LimitBounds(2, 5, 20)
    limit = AdaptiveLimit(bounds)
    for _ in range(5000):
        limit.on_sample(random.random() * 0.01, random.randint(1, 30), dropped=random.random() < 0.01)
        assert 2 <= limit.limit <= 20


def test_the_limit_describes_itself() -> None:
    limit = AdaptiveLimit(LimitBounds())
    limit.on_sample(0.005, 1, dropped=False)
    assert repr(limit) == "<AdaptiveLimit 64 requests, 5.00 ms at the least>"
