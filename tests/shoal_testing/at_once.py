"""In a simulation, requests that come together and ask alike: offered to be answered at once, and looked at closely."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING

from shoal_server.batching.batcher import Batcher
from shoal_server.batching.ticket import Outputs
from shoal_server.service import Asked
from shoal_testing.expected_refusal import named, reason_to_refuse
from shoal_testing.fake_model import FakeModel, Poison, decoded
from shoal_testing.fakes import Answered
from shoal_testing.mark import Mark
from shoal_testing.scattered import in_place
from shoal_testing.scenario import Arrival

if TYPE_CHECKING:
    from shoal_testing.simulation import Simulation


class FakeBurst:
    """A ``batching.burst.Burst`` over each one's only input.

    ``left`` are the numbers of those who have left, ``marks`` the records of those that are traced, by their numbers.
    It demands that everyone is answered once, in order, and knows by then that it is dispatched.
    """

    def __init__(
        self,
        elements: Sequence[bytes],
        *,
        earliest_s: float = inf,
        left: frozenset[int] = frozenset(),
        marks: Mapping[int, Mark] | None = None,
        breaks: bool = False,
    ) -> None:
        self.marks = marks or {}
        self.earliest_s = earliest_s
        self.size_bytes = 100 * len(elements)
        self.answers: list[Answered] = []
        self.batches: list[int] = []
        """The requests of each batch that was answered."""
        self.tried = 0
        """How many were computed, even if in vain."""
        self._elements = elements
        self._left = left
        self._breaks = breaks

    def __len__(self) -> int:
        return len(self._elements)

    def elements(self, number: int, start: int, stop: int) -> bytes:
        assert number == 0, "there is one input"
        self.tried = max(self.tried, stop)
        return b"".join(self._elements[start:stop])

    def traced(self, start: int, stop: int) -> Sequence[Mark]:
        return [mark for number, mark in self.marks.items() if start <= number < stop]

    def succeed(self, outputs: Outputs, start: int, stop: int, rows: int) -> int:
        if self._breaks:
            raise ValueError("cannot be encoded")
        assert start == len(self.answers), f"from {start} on, where {len(self.answers)} were answered"
        assert start < stop <= len(self), "nobody else can be answered"
        assert all(mark.dispatched for mark in self.traced(start, stop)), "it is answered and was never dispatched"
        self.answers += [Answered(0.0, None, outputs, number * rows, rows) for number in range(stop - start)]
        self.batches.append(stop - start)
        return sum(number not in self._left for number in range(start, stop))


def alike(arrivals: Sequence[Arrival]) -> Iterable[Sequence[Arrival]]:
    """Return the requests of one instant, those together that ask alike."""
    groups: dict[object, list[Arrival]] = {}
    for one in arrivals:
        groups.setdefault((one.model, one.version, one.rows, one.width) if _is_plain(one) else one, []).append(one)
    return groups.values()


def _is_plain(one: Arrival) -> bool:
    return not (one.bias or one.malformed or one.breaks_encoder or one.priority or one.timeout_s is not None)


class AtOnce:
    """Offers those of one instant, and holds what becomes of them against what must be true."""

    def __init__(self, simulation: "Simulation") -> None:
        self.answered: Counter[Batcher] = Counter()
        self.left = 0
        self.tried: set[int] = set()
        """Numbers of rows that were computed in vain, and whose requests then went the long way."""
        self._simulation = simulation

    def offer(self, group: Sequence[Arrival]) -> Sequence[Arrival]:
        """Offer some that are ``alike``; return those who were not answered."""
        if not _is_plain(group[0]):
            return group
        simulation = self._simulation
        core, now = simulation.core, simulation.core.loop.time()
        sent = [simulation.tensors(one) for one in group]
        refusals = [reason_to_refuse(simulation, one, cells) for one, (_, cells) in zip(group, sent, strict=True)]
        name, datatype, shape, data = sent[0][0][0]
        asked = Asked(group[0].model, group[0].version, ((name, datatype, shape),), (), [len(data)])
        deadlines = [inf if one.within_s is None else now + one.within_s for one in group]
        burst = FakeBurst(
            [in_place(tensors[0].data) for tensors, _ in sent],
            earliest_s=min(deadlines),
            left=frozenset(number for number, one in enumerate(group) if one.cancel_after_s == 0.0),
            marks={
                number: simulation.marks[id(one)] for number, one in enumerate(group) if id(one) in simulation.marks
            },
        )
        burst.size_bytes = sum(one.size_bytes for one in group)
        entry = core.manager.catalog.models.get(group[0].model)
        version = named(entry, group[0].version) if entry is not None else None
        slot = entry.versions.get(version) if entry is not None and version is not None else None
        batcher = slot.engine if slot is not None else None
        could = batcher is not None and batcher.running < batcher.instances
        waiting = list(simulation.lines.of(batcher)) if batcher is not None else []
        answered = core.service.infer_now(asked, burst)
        assert answered == len(burst.answers), f"{answered} answered, by its own account; {len(burst.answers)} were"
        for one, (_, cells) in list(zip(group, sent, strict=True))[answered : burst.tried]:
            self.tried |= {one.number * 1000 + row for row in range(len(cells))}
        waits = burst.traced(answered, len(burst))
        assert not any(mark.dispatched for mark in waits), "it was not answered, and no batch will tell of it"
        if not answered:
            return group
        assert batcher is not None, "nobody serves it"
        assert could, "as many batches as may be were running"
        assert not waiting, f"{waiting} were passed over"
        assert max(burst.batches) * group[0].rows <= batcher.options.max_rows, "a batch over max_rows"
        self.answered[batcher] += answered
        self.left += sum(one.cancel_after_s == 0.0 for one in group[:answered])
        for one, refusal, deadline_s, (_, cells), answer in zip(
            group[:answered], refusals, deadlines, sent, burst.answers, strict=False
        ):
            assert refusal == ("", ""), f"{one} was to be refused: {refusal}"
            assert deadline_s > now, f"{one} is late"
            assert one.poison not in {Poison.REFUSED, Poison.CRASH}, f"{one}: poison made an answer"
            self._look(one, batcher, cells.tolist(), answer)
        return group[answered:]

    def _look(self, one: Arrival, batcher: Batcher, cells: list[list[int]], answer: Answered) -> None:
        """It is the rows of this request, computed by the version that was asked."""
        assert answer.outputs is not None
        assert answer.outputs.origin == batcher.origin, f"{one}: {answer.outputs.origin} is not {batcher.origin}"
        assert isinstance(batcher.runner, FakeModel)
        kind = self._simulation.plans[one.model].kind
        found = [[decoded(kind, cell) for cell in row] for row in answer.array()]
        assert found == [[(cell, batcher.runner.serial) for cell in row] for row in cells], f"{one}: {found}"
