"""Commands that are typed wrong, and outputs that nobody reads or that cannot be written."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from shoal_server.cli.root import run
from shoal_testing.fake_admin import FakeAdmin

Ask = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["models", "swap", "digits"], "Missing argument 'VERSION'. (`shoal models swap --help` explains)"),
        (["models", "swap", "digits", "0"], "`shoal models swap --help` explains"),
        (["models", "swop"], "`shoal models --help` explains"),
        (["models", "--json", "swap", "digits", "2"], "write options behind the command: shoal models swap ..."),
        (["models", "swap", "digits", "2", "--idempotency-key", "k" * 129], "at most 128 characters, not 129"),
        (["models", "label", "digits", "a"], "say either the VERSION"),
        (["models", "label", "digits", "a", "2", "--remove"], "say either the VERSION"),
        (["drain", "--undo", "--wait-s", "1"], "--undo waits for nobody"),
    ],
)
def test_what_is_typed_wrong_is_one_line_and_nothing_is_asked(
    fake: FakeAdmin, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert fake.requests == {}


@pytest.mark.parametrize(
    "arguments", [["models"], ["models", "--json"], ["models", "swap", "digits", "2"], ["models", "watch", "--json"]]
)
def test_a_reader_who_leaves_early_makes_no_failure(served: tuple[str, FakeAdmin], arguments: list[str]) -> None:
    address, fake = served
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-m", "shoal_server", *arguments, "--address", address],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        timeout=15,
    )
    os.close(writing)
    assert (result.returncode, result.stderr) == (0, b"")
    assert fake.requests, "it was done all the same"


def test_watching_ends_when_nobody_reads_any_more(served: tuple[str, FakeAdmin]) -> None:
    address, fake = served
    fake.watching.clear()
    test_a_reader_who_leaves_early_makes_no_failure((address, fake), ["models", "watch", "--json"])


def test_an_output_that_cannot_be_written_is_one_line(served: tuple[str, FakeAdmin]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device, no path of ours
        result = subprocess.run(  # noqa: S603 - our own command line
            [sys.executable, "-m", "shoal_server", "models", "--address", served[0]],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=15,
        )
    assert result.returncode == 1
    assert result.stderr == b"shoal: the output cannot be written: No space left on device\n"
