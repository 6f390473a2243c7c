"""Operators' changes at random, with all that may happen meanwhile, against a naive account of what is wanted.

Loads fail, files change, engines break, the store is slow or full, what is kept warm has been for long enough, others
ask at the same time, and the server is started again. ``tests/property/test_operations.py`` finds short examples.
"""

from collections.abc import Callable
from random import Random

import pytest

from shoal_server.lifecycle.requests import Load, Request, Rollback, SetLabel, Swap, Unload
from shoal_testing.fake_model import Kind
from shoal_testing.wanted_rig import KEEP_WARM_S, LOADS_S, MEANWHILE_S, MODELS, PRESENT, WRITES_S, Break, WantedRig


class Walk:
    """One life of a server, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.steps: list[str] = []
        self.rig = WantedRig(
            random.choice([(4,), (1, 2)]),
            random.choice(LOADS_S),
            random.choice(WRITES_S),
            required=random.random() < 0.7,
        )

    def go(self, steps: int) -> None:
        """Take so many steps; what fails says which they were."""
        kinds: dict[Callable[[], str], int] = {
            self.operation: 70,
            self.whole_model: 7,
            self.file: 12,
            self.engine: 5,
            self.surroundings: 8,
            self.time: 6,
            self.restart: 3,
        }
        try:
            for step in self.random.choices([*kinds], [*kinds.values()], k=steps):
                self.steps.append(step())
            self.rig.close()
        except BaseException as error:
            error.add_note("; ".join(self.steps))
            raise

    def operation(self) -> str:
        request, breaks = self.request(), self.breaks()
        self.steps.append(f"{request!r} {breaks or ''}")
        self.rig.operate(request, breaks)
        return "done"

    def request(self) -> Request:
        random = self.random
        model = random.choice(MODELS)
        version = random.choice([*PRESENT] * 5 + [5])
        key = random.choice(["a", "b"]) if random.random() < 0.1 else ""
        expected = random.randint(1, 4) if random.random() < 0.1 else 0
        dry_run = random.random() < 0.12
        served = [number for name, number in self.rig.serving if name == model]
        chance = random.random()
        if chance < 0.45:
            return Swap(
                model=model,
                version=version,
                key=key,
                expected=expected,
                dry_run=dry_run,
                keep_warm_s=random.choice(KEEP_WARM_S),
                allow_signature_change=random.random() < 0.35,
            )
        if chance < 0.6:
            version = random.choice([*(set(PRESENT) - {*served}), version])
            return Load(model=model, version=version, key=key, expected=expected, dry_run=dry_run)
        if chance < 0.72:
            version = random.choice([*served, version])
            force = random.random() < 0.5
            return Unload(model=model, version=version, key=key, expected=expected, dry_run=dry_run, force=force)
        if chance < 0.86:
            model = random.choice(self.rig.replaced or MODELS)
            return Rollback(model=model, key=key, expected=expected, dry_run=dry_run)
        labelled = random.choice([*served, *range(6)])
        return SetLabel(model=model, label=random.choice(["blue", "green"]), version=labelled, dry_run=dry_run)

    def breaks(self) -> Break | None:
        if not self.rig.serving or self.random.random() < 0.8:
            return None
        return (self.random.choice(MEANWHILE_S), *self.random.choice(self.rig.serving + self.rig.answering))

    def whole_model(self) -> str:
        model = self.random.choice(MODELS)
        if self.random.random() < 0.75:
            self.rig.follow_the_policy(model)
            return f"{model} follows its policy"
        self.rig.unload_all(model)
        return f"{model} is unloaded"

    def file(self) -> str:
        model, version = self.random.choice(MODELS), self.random.choice(PRESENT)
        chance = self.random.random()
        if chance < 0.5:
            kind = self.random.choice([Kind.ROWS, Kind.OPTIONAL])
            self.rig.write_anew(model, version, kind)
            return f"{model}/{version} is written anew as {kind}"
        if chance < 0.8:
            self.rig.break_or_mend(model, version)
            return f"{model}/{version} is broken or mended"
        self.rig.begin_or_finish_writing(model, version)
        return f"{model}/{version} is half written or whole"

    def engine(self) -> str:
        if not self.rig.serving:
            return "nothing serves"
        model, version = self.random.choice(self.rig.serving + 2 * self.rig.answering)
        self.rig.break_engine(model, version)
        return f"the engine of {model}/{version} breaks"

    def surroundings(self) -> str:
        if self.random.random() < 0.5:
            load_s, write_s = self.random.choice(LOADS_S), self.random.choice(WRITES_S)
            self.rig.become(load_s=load_s, write_s=write_s)
            return f"a load takes {load_s:g} s, a write {write_s:g} s"
        trouble = self.random.choice(["", "", "", "early", "late"])
        self.rig.trouble(trouble)
        return f"the store has trouble: {trouble!r}"

    def time(self) -> str:
        seconds = self.random.choice([1.1, 4.2, 31.7, 300.3])
        self.rig.rest(seconds)
        return f"{seconds:g} s pass"

    def restart(self) -> str:
        self.rig.restart()
        return "it is started again"


@pytest.mark.parametrize("group", range(4))
def test_whatever_operators_do_is_what_a_naive_account_says(group: int, seed: int) -> None:
    for offset in range(7):
        Walk(seed + group * 7 + offset).go(100)


@pytest.mark.slow
def test_whatever_operators_do_for_long_is_what_a_naive_account_says(seed: int) -> None:
    for offset in range(200):
        Walk(seed + offset).go(300)
