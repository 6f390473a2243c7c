"""What operators want is recorded whole, once, and where it could not be, as soon as it can."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shoal_server.errors import PreconditionFailed
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.record import Record
from shoal_testing.fake_executor import FakeWorkers
from shoal_testing.fakes import FakeStore
from shoal_testing.virtual_threads import VirtualThreads
from shoal_testing.virtual_time import run_virtual, virtual_loop

ONE, TWO = Desired((1,), 1), Desired((2,), 2)


def run_record(store: FakeStore, test: Callable[[Record], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        threads = VirtualThreads(virtual_loop())
        record = Record(store, FakeWorkers(threads))
        await record.read()
        await test(record)
        threads.close()

    run_virtual(main())


def test_what_is_written_already_is_not_written_again() -> None:
    store = FakeStore({"m": ONE})

    async def test(record: Record) -> None:
        assert await record.put("m", ONE) == ""
        assert store.writes == 0
        assert await record.put("m", TWO) == ""
        assert await record.put("m", TWO) == ""
        assert store.writes == 1

    run_record(store, test)


def test_a_change_of_one_model_keeps_the_others_and_one_that_wants_nothing_is_left_out() -> None:
    store = FakeStore({"m": ONE, "n": ONE})

    async def test(record: Record) -> None:
        await record.put("m", TWO)
        assert store.desired == {"m": TWO, "n": ONE}
        await record.put("n", Desired())
        assert store.desired == {"m": TWO}

    run_record(store, test)


def test_what_could_not_be_written_is_written_with_the_next_change_even_if_that_changes_nothing() -> None:
    store = FakeStore({"m": ONE})

    async def test(record: Record) -> None:
        store.trouble = "the disk is full"
        assert await record.put("m", TWO) == "the disk is full"
        assert await record.put("m", TWO) == "the disk is full", "it still is not recorded"
        store.trouble = ""
        assert await record.put("m", TWO) == ""
        assert store.desired == {"m": TWO}

    run_record(store, test)


def test_going_back_to_what_is_written_needs_no_store() -> None:
    store = FakeStore({"m": ONE})

    async def test(record: Record) -> None:
        store.trouble = "the disk is full"
        assert await record.put("m", TWO) == "the disk is full"
        assert await record.put("m", ONE) == ""
        store.trouble = ""
        assert await record.put("n", TWO) == ""
        assert store.desired == {"m": ONE, "n": TWO}

    run_record(store, test)


def test_where_it_must_be_written_a_failure_leaves_what_was_wanted_before() -> None:
    store = FakeStore({"m": ONE}, required=True)

    async def test(record: Record) -> None:
        store.trouble = "the disk is full"
        with pytest.raises(PreconditionFailed, match="the disk is full"):
            await record.put("m", TWO)
        with pytest.raises(PreconditionFailed, match="the disk is full"):
            await record.prepare()
        store.trouble = ""
        await record.put("n", TWO)
        assert store.desired == {"m": ONE, "n": TWO}

    run_record(store, test)
