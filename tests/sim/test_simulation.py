"""The whole core under seeded traffic, trouble and swaps; ``shoal_testing.simulation`` says what is held to be true."""

import pytest

from shoal_testing import simulate as command
from shoal_testing.drawing import drawn
from shoal_testing.simulation import simulate

SEEDS_PER_TEST = 20


@pytest.mark.parametrize("group", range(5))
def test_the_core_keeps_its_promises_under_known_seeds(group: int) -> None:
    for seed in range(group * SEEDS_PER_TEST, (group + 1) * SEEDS_PER_TEST):
        simulate(drawn(seed))


@pytest.mark.parametrize("group", range(5))
def test_the_core_keeps_its_promises_under_seeds_never_seen(group: int, seed: int) -> None:
    for offset in range(SEEDS_PER_TEST):
        simulate(drawn(seed + group * SEEDS_PER_TEST + offset))


@pytest.mark.slow
@pytest.mark.parametrize("group", range(4))
def test_the_core_keeps_its_promises_for_long(group: int, seed: int) -> None:
    for offset in range(2500):
        simulate(drawn(seed + group * 2500 + offset))


def test_a_later_part_that_is_run_as_the_whole_of_its_request_is_not_told_of_again() -> None:
    simulate(drawn(9352))  # which found it


def test_a_seed_always_plays_out_in_the_same_way() -> None:
    def course(seed: int) -> list[object]:
        requests = simulate(drawn(seed)).requests
        return [
            (one.submitted_s, type(one.sent.refusal), [(at.at_s, type(at.error)) for at in one.sent.responder.answers])
            for one in requests
        ]

    for seed in (3, 14, 15):
        assert course(seed) == course(seed)


def test_the_scenarios_reach_everything_that_can_become_of_a_request() -> None:
    became: set[str] = set()
    for seed in range(60):
        for one in simulate(drawn(seed)).requests:
            error = one.sent.refusal or next((answer.error for answer in one.sent.responder.answers), None)
            waited = "waiting" if one.stands else "known"
            where = "refused" if one.batcher is None else waited if one.submitted_s is None else "running"
            what = type(error).__name__ if error else "ok" if one.sent.responder.answers else "left"
            became.add(f"{where}: {what}")
    assert became == {
        "refused: NotFound",
        "refused: Unavailable",
        "refused: InvalidRequest",
        "refused: Overloaded",
        "refused: DeadlineExceeded",
        "waiting: DeadlineExceeded",
        "waiting: Unavailable",
        "waiting: left",
        "known: ok",  # from the cache
        "known: left",
        "known: InternalError",
        "running: left",
        "running: DeadlineExceeded",  # in parts, of which some had run
        "running: ok",
        "running: ExecutionFailed",
        "running: InternalError",
    }


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_command_plays_seeds_and_says_so(
    processes: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SHARD", 2)
    assert command.main(["--seeds", "5", "--start", "5", "--processes", processes]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("5 seeds, ")  # a slow machine has progress before it


def test_the_command_names_the_seed_that_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing_at_6(scenario: object) -> object:
        if scenario == drawn(6):
            raise AssertionError("found")
        return simulate(drawn(5))

    monkeypatch.setattr(command, "simulate", failing_at_6)
    monkeypatch.setattr(command, "REPORT_EVERY_S", 0.0)
    monkeypatch.setattr(command, "SHARD", 1)
    assert command.main(["--seeds", "5", "--start", "5", "--processes", "1"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[0].startswith(f"1 of 5 seeds, {len(drawn(5).arrivals)} requests, ")
    assert said.out.splitlines()[1:] == ["seed 6 failed; repeat with --start 6 --seeds 1"]
    assert "AssertionError: found" in said.err
