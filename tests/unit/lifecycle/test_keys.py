"""An operation that is asked for twice under one key."""

import asyncio

import pytest

from shoal_server.errors import Conflict, Unavailable
from shoal_server.lifecycle.definition import VersionPolicy
from shoal_server.lifecycle.requests import Rollback, Swap
from shoal_testing.fakes import definition
from shoal_testing.manager_rig import LOAD_S, ManagerRig, run_manager

FIRST = definition("m", 1, 2, 3, policy=VersionPolicy(specific=(1,)))


def test_a_key_whose_request_came_at_a_bad_time_can_be_used_again() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        begin = rig.manager.operations.begin
        swap = begin(Swap(model="m", version=2))
        with pytest.raises(Conflict):
            begin(Rollback(model="m", key="k"))
        await swap.result()
        assert (await begin(Rollback(model="m", key="k")).result()).after == 1

    run_manager(test, FIRST)


def test_what_came_of_an_operation_can_be_asked_by_its_key_until_the_server_has_stopped() -> None:
    async def test(rig: ManagerRig) -> None:
        await rig.manager.start()
        begin = rig.manager.operations.begin
        ended = begin(Swap(model="m", version=2, key="ended"))
        await ended.result()
        under_way = begin(Swap(model="m", version=3, key="under way"))
        await asyncio.sleep(LOAD_S / 2)
        await rig.manager.close()
        assert begin(Swap(model="m", version=2, key="ended")) is ended
        assert begin(Swap(model="m", version=3, key="under way")) is under_way
        with pytest.raises(Unavailable, match="the server is shutting down: nothing has changed"):
            await under_way.result()
        await asyncio.sleep(LOAD_S)

    run_manager(test, FIRST)
