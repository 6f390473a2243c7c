"""What operators want is recorded whole, once, and where it could not be, as soon as it can."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from shoal_server.errors import PreconditionFailed
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.record import Record
from shoal_testing.fake_executor import FakeWorkers, void
from shoal_testing.fakes import FakeStore
from shoal_testing.virtual_threads import VirtualThreads
from shoal_testing.virtual_time import run_virtual, virtual_loop

ONE, TWO = Desired((1,), 1), Desired((2,), 2)


def run_record(store: FakeStore, test: Callable[[Record], Coroutine[Any, Any, None]], write_s: float = 0.0) -> None:
    async def main() -> None:
        threads = VirtualThreads(virtual_loop())
        if write_s:
            store.before_write = lambda: void(threads.pause(write_s))
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


def test_changes_of_two_models_at_once_are_both_recorded() -> None:
    store = FakeStore()

    async def test(record: Record) -> None:
        await asyncio.gather(record.put("m", ONE), record.put("n", TWO), record.put("m", TWO))
        assert store.desired == {"m": TWO, "n": TWO}

    run_record(store, test, write_s=1.0)


def test_the_store_is_asked_for_one_thing_at_a_time() -> None:
    store = FakeStore(required=True)
    asked: list[str] = []
    prepare, write = store.prepare, store.write

    def prepared() -> None:
        asked.append("prepares")
        prepare()

    def written(desired: Mapping[str, Desired]) -> None:
        asked.append("writes")
        write(desired)
        asked.append("has written")

    store.prepare, store.write = prepared, written  # type: ignore[method-assign]

    async def test(record: Record) -> None:
        await asyncio.gather(record.put("m", ONE), record.prepare(), record.put("n", TWO))
        assert asked == ["writes", "has written", "prepares", "writes", "has written"]

    run_record(store, test, write_s=1.0)
