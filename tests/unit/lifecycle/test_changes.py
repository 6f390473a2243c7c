"""Who follows hears of every model that changed, once, however late he looks."""

import asyncio
from collections.abc import AsyncGenerator, Iterable

import pytest

from shoal_server.errors import Unavailable
from shoal_server.lifecycle.changes import Changes
from shoal_testing.virtual_time import run_virtual


def follow(changes: Changes) -> AsyncGenerator[Iterable[str], None]:
    following = changes.follow()
    assert isinstance(following, AsyncGenerator)
    return following


def test_a_follower_hears_at_once_and_then_of_what_changed_since_he_last_looked() -> None:
    async def test() -> None:
        changes = Changes()
        changes.tell("before anybody followed")
        following = follow(changes)
        assert list(await anext(following)) == []
        for model in ("m", "n", "m"):
            changes.tell(model)
        assert list(await anext(following)) == ["m", "n"]
        news = asyncio.ensure_future(anext(following))
        await asyncio.sleep(1)
        assert not news.done(), "nothing changed"
        changes.tell("n")
        assert list(await news) == ["n"]
        await following.aclose()

    run_virtual(test())


def test_whoever_follows_when_it_ends_or_comes_later_is_told_why() -> None:
    async def test() -> None:
        changes = Changes()
        following = follow(changes)
        await anext(following)
        waiting = asyncio.ensure_future(anext(following))
        await asyncio.sleep(1)
        changes.end(Unavailable("it stops"))
        with pytest.raises(Unavailable, match="it stops"):
            await waiting
        late = follow(changes)
        await anext(late)
        with pytest.raises(Unavailable, match="it stops"):
            await anext(late)
        assert not vars(changes)["_followers"]

    run_virtual(test())


def test_a_follower_who_is_slow_keeps_nothing_from_another_and_one_who_left_keeps_nothing() -> None:
    async def test() -> None:
        changes = Changes()
        slow, quick = follow(changes), follow(changes)
        await anext(slow)
        await anext(quick)
        changes.tell("m")
        assert list(await anext(quick)) == ["m"]
        changes.tell("n")
        assert list(await anext(quick)) == ["n"]
        assert list(await anext(slow)) == ["m", "n"]
        await slow.aclose()
        changes.tell("o")
        assert list(await anext(quick)) == ["o"]
        await quick.aclose()
        assert not vars(changes)["_followers"]

    run_virtual(test())
