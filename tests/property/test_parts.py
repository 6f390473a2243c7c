"""One request among others, whatever its rows, the slots, and the order in which its parts end."""

from hypothesis import given
from hypothesis import strategies as st

from shoal_server.options import BatchingOptions
from shoal_testing.core import Core, Sent, run_core, wait
from shoal_testing.fake_model import SERIALS, FakeModel, Poison, Speed
from shoal_testing.fakes import definition


@given(
    rows=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    max_rows=st.integers(1, 8),
    slots=st.integers(1, 3),
    runs_s=st.lists(st.sampled_from([0.001, 0.01, 0.02]), min_size=1, max_size=5),
    poisoned=st.sets(st.integers(0, 5), max_size=2),
    leavers=st.dictionaries(st.integers(0, 5), st.sampled_from([0.0, 0.005, 0.015, 0.05]), max_size=2),
    allowed=st.booleans(),
)
def test_everybody_gets_their_own_rows_in_order_and_is_answered_once(  # noqa: PLR0913 - what the core is to cope with
    *,
    rows: list[int],
    max_rows: int,
    slots: int,
    runs_s: list[float],
    poisoned: set[int],
    leavers: dict[int, float],
    allowed: bool,
) -> None:
    own = [list(range(index * 100, index * 100 + size)) for index, size in enumerate(rows)]
    poisons = {own[index][-1]: Poison.REFUSED for index in poisoned if index < len(own)}
    speeds = iter(lambda: runs_s.pop() if len(runs_s) > 1 else runs_s[0], None)

    async def test(core: Core) -> None:
        sent: list[Sent] = [core.send(numbers) for numbers in own]
        for index, after_s in leavers.items():
            if index < len(sent):
                core.loop.call_later(after_s, sent[index].cancel)
        await wait(60)
        assert all(len(run) <= max_rows for run in core.model.runs)
        for index, (one, numbers) in enumerate(zip(sent, own, strict=True)):
            if index in leavers and not one.responder.answers:
                continue
            if index in poisoned:
                assert str(one.error) == "poisoned"
            else:
                assert [int(cell) // SERIALS for cell in one.answer.array()[:, 0]] == numbers

    run_core(
        test,
        definition("m", batching=BatchingOptions(max_rows=max_rows, allowed_rows=(max_rows,) if allowed else ())),
        make=lambda core, *_: FakeModel(threads=core.threads, poisons=poisons, speed=Speed(1.0, jitter=speeds)),
        slots=slots,
    )
