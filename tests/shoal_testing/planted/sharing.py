"""Planted bugs of answers that are shared or kept."""
# ruff: noqa: SLF001 - a bug is planted in private parts

from typing import Any

import pytest

from shoal_server.batching import sharer
from shoal_server.batching.answer_cache import AnswerCache, KeptAnswer
from shoal_server.batching.flight import Flight
from shoal_server.batching.sharer import Sharer
from shoal_server.batching.ticket import Origin, Outputs
from shoal_server.tensors.batch import OutputBlock
from shoal_testing.fake_model import Kind, signature
from shoal_testing.planted.planting import nothing, planted


@planted(seen_by=86)
def a_failure_is_shared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flight, "fail", lambda self, error, _outcome=None: [one.fail(error) for one in self.followers])


@planted(seen_by=374)
def who_joins_while_it_ends_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    original = Sharer._over

    def hasty(self: Sharer, flight: Flight, now: float) -> None:
        if flight.answer is not None:
            flight.followers = [one for one in flight.followers if one.answered]
        original(self, flight, now)

    patch.setattr(Sharer, "_over", hasty)


@planted(seen_by=2)
def all_contents_are_alike(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sharer, "content_key", lambda _ticket: b"")


@planted(seen_by=9)
def failed_answers_are_kept(patch: pytest.MonkeyPatch) -> None:
    original = Flight.fail

    def kept(self: Flight, *rest: Any) -> bool:  # noqa: ANN401
        blocks = tuple(OutputBlock(spec, (0, 1), b"") for spec in signature(Kind.ROWS).outputs)
        self.kept = KeptAnswer(Outputs(Origin("m0", 1, 1), blocks, ()), 0)
        return original(self, *rest)

    patch.setattr(Flight, "fail", kept)


@planted(seen_by=2)
def another_version_s_answers_are_given(patch: pytest.MonkeyPatch) -> None:
    everything = AnswerCache(1 << 20, 1e9)
    patch.setattr(sharer, "AnswerCache", lambda *_: everything)
    patch.setattr(AnswerCache, "clear", nothing)


@planted(seen_by=5)
def those_whose_answers_are_known_are_not_settled(patch: pytest.MonkeyPatch) -> None:
    original = Sharer.answer_known

    def unsettled(self: Sharer) -> None:
        settled, self._settled = self._settled, nothing
        original(self)
        self._settled = settled

    patch.setattr(Sharer, "answer_known", unsettled)


@planted(seen_by=30)
def who_must_wait_less_may_join(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flight, "takes", lambda self, _ticket: bool(self._responder) and not self.deserted)
