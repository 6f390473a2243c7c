"""Operators' changes in any order, with all that may happen meanwhile, against a naive account of what is wanted.

``tests/sim/test_operations.py`` does the same at random, and comes further.
"""

from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from shoal_server.lifecycle.requests import Load, Rollback, SetLabel, Swap, Unload
from shoal_testing.fake_model import Kind
from shoal_testing.machines import run_for_long, run_quickly
from shoal_testing.wanted_rig import KEEP_WARM_S, LOADS_S, MEANWHILE_S, MODELS, PRESENT, WRITES_S, Break, WantedRig

MODEL: Final = st.sampled_from(MODELS)
VERSION: Final = st.sampled_from([*PRESENT] * 4 + [5])
NOW_AND_THEN: Final = st.sampled_from([False] * 4 + [True])
KEY: Final = st.sampled_from([""] * 5 + ["a", "b"])
BREAKS: Final = st.none() | st.tuples(st.sampled_from(MEANWHILE_S), MODEL, VERSION)


class OperationsMachine(RuleBasedStateMachine):
    """Everything that may happen is a rule."""

    rig: WantedRig

    @initialize(
        policy=st.sampled_from([(4,), (1, 2)]),
        load_s=st.sampled_from(LOADS_S),
        write_s=st.sampled_from(WRITES_S),
        required=st.booleans(),
    )
    def begin(self, policy: tuple[int, ...], load_s: float, write_s: float, *, required: bool) -> None:
        self.rig = WantedRig(policy, load_s, write_s, required=required)

    @rule(model=MODEL, version=VERSION, keep_warm_s=st.sampled_from(KEEP_WARM_S), allow=NOW_AND_THEN, breaks=BREAKS)
    def swap(self, model: str, version: int, keep_warm_s: float | None, breaks: Break | None, *, allow: bool) -> None:
        request = Swap(model=model, version=version, keep_warm_s=keep_warm_s, allow_signature_change=allow)
        self.rig.operate(request, breaks)

    @rule(model=MODEL, version=VERSION, key=KEY, expected=st.sampled_from(PRESENT), dry_run=NOW_AND_THEN)
    def swap_with_care(self, model: str, version: int, key: str, expected: int, *, dry_run: bool) -> None:
        self.rig.operate(Swap(model=model, version=version, key=key, expected=expected, dry_run=dry_run))

    @rule(model=MODEL, version=VERSION, key=KEY, dry_run=NOW_AND_THEN)
    def load(self, model: str, version: int, key: str, *, dry_run: bool) -> None:
        self.rig.operate(Load(model=model, version=version, key=key, dry_run=dry_run))

    @rule(model=MODEL, version=VERSION, force=st.booleans(), dry_run=NOW_AND_THEN)
    def unload(self, model: str, version: int, *, force: bool, dry_run: bool) -> None:
        self.rig.operate(Unload(model=model, version=version, force=force, dry_run=dry_run))

    @rule(data=st.data(), breaks=BREAKS, dry_run=NOW_AND_THEN)
    def roll_back(self, data: st.DataObject, breaks: Break | None, *, dry_run: bool) -> None:
        model = data.draw(st.sampled_from(self.rig.replaced or MODELS))
        self.rig.operate(Rollback(model=model, dry_run=dry_run), breaks)

    @rule(model=MODEL, label=st.sampled_from(["blue", "green"]), version=st.integers(0, 5), dry_run=NOW_AND_THEN)
    def set_label(self, model: str, label: str, version: int, *, dry_run: bool) -> None:
        self.rig.operate(SetLabel(model=model, label=label, version=version, dry_run=dry_run))

    @rule(model=MODEL)
    def follow_the_policy(self, model: str) -> None:
        self.rig.follow_the_policy(model)

    @rule(model=MODEL)
    def unload_all(self, model: str) -> None:
        self.rig.unload_all(model)

    @rule(model=MODEL, version=st.sampled_from(PRESENT))
    def break_or_mend_a_file(self, model: str, version: int) -> None:
        self.rig.break_or_mend(model, version)

    @rule(model=MODEL, version=st.sampled_from(PRESENT))
    def begin_or_finish_writing_a_file(self, model: str, version: int) -> None:
        self.rig.begin_or_finish_writing(model, version)

    @rule(model=MODEL, version=st.sampled_from(PRESENT), kind=st.sampled_from([Kind.ROWS, Kind.OPTIONAL]))
    def write_a_file_anew(self, model: str, version: int, kind: Kind) -> None:
        self.rig.write_anew(model, version, kind)

    @precondition(lambda self: self.rig.serving)
    @rule(data=st.data())
    def engine_breaks(self, data: st.DataObject) -> None:
        self.rig.break_engine(*data.draw(st.sampled_from(self.rig.serving)))

    @rule(load_s=st.sampled_from(LOADS_S), write_s=st.sampled_from(WRITES_S))
    def machine_becomes_slower_or_faster(self, load_s: float, write_s: float) -> None:
        self.rig.become(load_s=load_s, write_s=write_s)

    @rule(trouble=st.sampled_from(["", "", "early", "late"]))
    def disk_fills_or_is_emptied(self, trouble: str) -> None:
        self.rig.trouble(trouble)

    @rule(seconds=st.sampled_from([1.1, 31.7, 300.3]))
    def time_passes(self, seconds: float) -> None:
        self.rig.rest(seconds)

    @rule()
    def restart(self) -> None:
        self.rig.restart()

    def teardown(self) -> None:
        if hasattr(self, "rig"):
            self.rig.close()


def test_what_is_wanted_and_served_is_what_a_naive_account_of_all_operations_says() -> None:
    run_quickly(OperationsMachine, examples=25, steps=40)


@pytest.mark.slow
def test_what_is_wanted_and_served_is_what_a_naive_account_of_all_operations_says_for_long() -> None:
    run_for_long(OperationsMachine, examples=2000, steps=60)
