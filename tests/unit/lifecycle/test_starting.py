"""Changes that are asked for before the server knows what there is and what operators wanted."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from shoal_server.errors import LoadFailed, Unavailable
from shoal_server.lifecycle.definition import ModelDefinition, VersionPolicy
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.requests import Swap
from shoal_testing.fakes import FakeStore, definition
from shoal_testing.manager_rig import LOAD_S, ManagerRig, run_manager

FIRST = definition("m", 1, 2, 3, policy=VersionPolicy(specific=(1,)))
STARTING = "the server is starting and does not know its models yet"


def slow_to_begin(rig: ManagerRig, pause: Callable[[], None]) -> None:
    """Have the state folder and the models take their time to be read."""
    read, scan = rig.store.read, rig.source.scan

    def slow_read() -> Mapping[str, Desired]:
        pause()
        return read()

    def slow_scan() -> Mapping[str, ModelDefinition | LoadFailed]:
        pause()
        return scan()

    rig.store.read = slow_read  # type: ignore[method-assign]
    rig.source.scan = slow_scan  # type: ignore[method-assign]


@pytest.mark.parametrize("at_s", [0.5, 1.5])
def test_a_change_before_the_record_and_the_models_are_read_is_refused_and_takes_nothing_off_the_record(
    at_s: float,
) -> None:
    recorded = {"m": Desired((2,), 2), "n": Desired((1,), 1)}
    store = FakeStore(recorded)

    async def test(rig: ManagerRig) -> None:
        slow_to_begin(rig, rig.pause(1.0))
        starting = rig.begin(rig.manager.start())
        await asyncio.sleep(at_s)
        with pytest.raises(Unavailable, match=STARTING):
            rig.manager.operations.begin(Swap(model="m", version=3))
        for change in (rig.manager.load, rig.manager.unload):
            with pytest.raises(Unavailable, match=STARTING):
                await change("m")
        await starting
        assert store.desired == recorded
        assert (rig.states("m"), rig.states("n")) == ({2: "ready"}, {1: "ready"})
        assert (await rig.manager.operations.begin(Swap(model="m", version=3)).result()).before == 2

    run_manager(test, FIRST, definition("n"), store=store)


def test_a_change_while_models_load_is_made_when_the_first_load_of_its_model_has_ended() -> None:
    async def test(rig: ManagerRig) -> None:
        starting = rig.begin(rig.manager.start())
        await asyncio.sleep(LOAD_S / 2)
        assert rig.states() == {1: "loading"}
        await rig.manager.load("m")
        await starting
        assert len(rig.loader.loaded) == 1

    run_manager(test, FIRST)
