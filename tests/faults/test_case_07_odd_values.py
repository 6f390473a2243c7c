"""Case 7: numbers and strings at the edge of their types, bit by bit, in a batch as alone."""

import numpy as np

from shoal_server.tensors.text import decode_text
from shoal_testing.at_rest import wait_until_held
from shoal_testing.caller import Array, Caller, request_of
from shoal_testing.gated import gated
from shoal_testing.server import RunningServer

FLOATS = [0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC12345, 0x7FA00001]
"""Zeros, denormals, infinities, NaNs with payloads, a signalling NaN: the bits of FP32."""

TEXTS = [
    "",
    "\0",
    "a\0b\0\0",
    "\0" * 1000,
    "x" * 1_000_000,
    "魚" * 100_000,
    "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{COMBINING ACUTE ACCENT}",
    "\ufeff\ufffe\uffff\U0010ffff",
    "\u202e\x1b[31m\r\n\x7f",
]


def test_every_float_comes_back_bit_by_bit_from_a_batch_as_from_a_run_of_its_own(
    server: RunningServer, caller: Caller
) -> None:
    rows = [np.array([[bits, 0x3F800000]], np.uint32).view(np.float32) for bits in FLOATS]
    alone = [caller.infer(request_of("pair", x=row)).answer.raw_output_contents[0] for row in rows]
    assert alone == [row.tobytes() for row in rows]
    assert _together(server, caller, "pair", rows) == alone


def test_every_string_comes_back_letter_by_letter_from_a_batch_as_from_a_run_of_its_own(
    server: RunningServer, caller: Caller
) -> None:
    rows = [np.array([[text]], object) for text in TEXTS]
    alone = [caller.infer(request_of("text", x=row)).answer.raw_output_contents[0] for row in rows]
    assert [decode_text("y", raw, 1) for raw in alone] == [[text] for text in TEXTS]
    assert _together(server, caller, "text", rows) == alone


def test_ordinary_neighbours_of_odd_values_get_what_they_get_alone(server: RunningServer, caller: Caller) -> None:
    """Of a model that computes with them: nothing of a row reaches another one."""
    odd = [np.array([[bits] * 3], np.uint32).view(np.float32) for bits in FLOATS]
    ordinary = [np.array([[0.1 * number, 1 / 3, -number]], np.float32) for number in range(len(FLOATS))]
    with gated(server, "two") as gate:
        calls = [caller.begin(request_of("two", a=ordinary[0], b=ordinary[0]).SerializeToString())]
        gate.wait_for_run()
        for pair in zip(odd, ordinary, strict=True):
            calls += [caller.begin(request_of("two", a=row, b=row).SerializeToString()) for row in pair]
        wait_until_held(server, requests=len(calls))
        gate.open()
        answers = [call.outcome().answer for call in calls][2::2]
        assert len(gate.runs) == 2, "all but the first were one batch"
    alone = [caller.infer(request_of("two", a=row, b=row)).answer for row in ordinary]
    assert [answer.raw_output_contents for answer in answers] == [answer.raw_output_contents for answer in alone]


def _together(server: RunningServer, caller: Caller, model: str, rows: list[Array]) -> list[bytes]:
    """Return the raw answers of rows that ran as one batch."""
    with gated(server, model) as gate:
        first = caller.begin(request_of(model, x=rows[0]).SerializeToString())
        gate.wait_for_run()
        calls = []
        for row in rows:
            calls.append(caller.begin(request_of(model, x=row).SerializeToString()))
            wait_until_held(server, requests=1 + len(calls))
        gate.open()
        assert first.outcome().status == "OK"
        raw = [call.outcome().answer.raw_output_contents[0] for call in calls]
        assert [len(run) for run in gate.runs] == [1, len(rows)], "it was one batch"
    return raw
