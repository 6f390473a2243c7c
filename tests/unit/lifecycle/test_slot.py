import asyncio
import itertools

import pytest

from shoal_server.errors import ShoalError, Unavailable
from shoal_server.lifecycle.ports import FileDigest
from shoal_server.lifecycle.slot import VersionSlot
from shoal_server.lifecycle.states import TRANSITIONS, IllegalTransition, VersionState
from shoal_testing.fake_model import FakeModel
from shoal_testing.fakes import definition
from shoal_testing.virtual_time import run_virtual

ROAD = [
    VersionState.QUEUED,
    VersionState.LOADING,
    VersionState.WARMING,
    VersionState.READY,
    VersionState.DRAINING,
    VersionState.UNLOADING,
    VersionState.UNLOADED,
]
LEGAL = {*itertools.pairwise(ROAD), *((state, VersionState.FAILED) for state in ROAD[:3])}


class Engine:
    def hurry(self) -> None:
        pass

    def fail_waiting(self, error: ShoalError) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def slot_in(state: VersionState) -> VersionSlot[Engine]:
    slot = VersionSlot[Engine]("m", 3, 1, definition("m", 3))
    slot.state = state
    return slot


@pytest.mark.parametrize(
    ("reason", "told"), [("", "unloaded"), ("unloaded", "unloaded"), ("it hangs", "unloaded: it hangs")]
)
def test_a_version_that_does_not_serve_says_its_state_once_and_a_reason_that_says_more(reason: str, told: str) -> None:
    slot = slot_in(VersionState.UNLOADED)
    slot.reason = reason
    with pytest.raises(Unavailable) as caught:
        slot.serving()
    assert str(caught.value) == f"version 3 of model 'm' is {told}"


@pytest.mark.parametrize(
    ("before", "after"), list(itertools.product(VersionState, VersionState)), ids=lambda state: state.value
)
def test_a_version_moves_as_the_table_says_and_an_illegal_move_changes_nothing(
    before: VersionState, after: VersionState
) -> None:
    slot = slot_in(before)
    slot.reason = "old"
    if (before, after) in LEGAL:
        slot.move(after, "new")
        assert (slot.state, slot.reason) == (after, "new")
    else:
        with pytest.raises(IllegalTransition, match=f"m/3: {before.value} -> {after.value}"):
            slot.move(after, "new")
        assert (slot.state, slot.reason) == (before, "old")


def test_every_state_has_its_row_in_the_table() -> None:
    assert set(TRANSITIONS) == set(VersionState)


@pytest.mark.parametrize("state", [state for state in VersionState if state is not VersionState.READY])
def test_only_a_ready_version_is_leased(state: VersionState) -> None:
    slot = slot_in(state)
    slot.engine = Engine()
    with pytest.raises(Unavailable, match=f"version 3 of model 'm' is {state.value}$"):
        slot.lease()
    assert slot.leases == 0


def test_a_refused_lease_gives_the_reason_where_there_is_one() -> None:
    slot = slot_in(VersionState.FAILED)
    slot.reason = "the file is broken"
    with pytest.raises(Unavailable, match="version 3 of model 'm' is failed: the file is broken"):
        slot.lease()


def test_a_ready_version_without_an_engine_is_not_leased() -> None:
    with pytest.raises(Unavailable):
        slot_in(VersionState.READY).lease()


def test_leases_are_counted_and_given_back_in_any_number() -> None:
    slot = slot_in(VersionState.READY)
    slot.engine = engine = Engine()
    assert [slot.lease() for _ in range(3)] == [engine] * 3
    assert repr(slot) == "<VersionSlot m/3 ready, 3 leases>"
    slot.release(2)
    slot.release()
    assert slot.leases == 0
    with pytest.raises(AssertionError, match="released once"):
        slot.release()


def test_draining_waits_for_the_last_lease_and_tells_everyone_who_waits() -> None:
    async def main() -> None:
        slot = slot_in(VersionState.READY)
        slot.engine = Engine()
        await slot.drained()
        slot.lease()
        slot.lease()
        waiting = [asyncio.ensure_future(slot.drained()) for _ in range(3)]
        await asyncio.sleep(1)
        slot.release()
        await asyncio.sleep(1)
        assert not any(waiter.done() for waiter in waiting)
        waiting[0].cancel()
        await asyncio.sleep(0)
        slot.release()
        await asyncio.gather(*waiting[1:])

    run_virtual(main())


def test_a_lease_taken_in_the_moment_of_draining_is_waited_for_too() -> None:
    async def main() -> None:
        slot = slot_in(VersionState.READY)
        slot.engine = Engine()
        slot.lease()
        waiting = asyncio.ensure_future(slot.drained())
        await asyncio.sleep(1)
        slot.release()
        slot.lease()
        slot.release()
        slot.lease()
        await asyncio.sleep(1)
        assert not waiting.done()
        slot.release()
        await waiting

    run_virtual(main())


def test_the_digest_is_that_of_the_model_file_and_none_where_nothing_is_loaded() -> None:
    slot = slot_in(VersionState.READY)
    assert slot.digest == ""
    slot.loaded = FakeModel()
    slot.loaded.files = (FileDigest("model.onnx", "aa", 1), FileDigest("weights", "bb", 2))
    assert slot.digest == "aa"
    slot.loaded.files = ()
    assert slot.digest == ""
