"""How a model is best run, by what trials took: runs at once, threads in each, rows, and whether to wait. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from math import floor
from typing import Final

from shoal_server.lifecycle.ports import Tuning

WORTH_TRYING_S: Final = 2e-3
"""A run that takes no longer has one thread."""

QUICK_S: Final = 1e-3
"""A model whose full batch takes no longer is run by one thread of the server.

That runs more of these than the wire can bring. A second would take the interpreter's lock from the first and from the
loop, and take half of the rows that would have shared a batch.
"""

_AS_GOOD: Final = 0.98  # of the best throughput: within the noise of what was measured
_WORTHWHILE: Final = 0.95  # of that: more rows would keep a burst waiting for the rest, and pressed batches have it
_NO_SLOWER: Final = 0.99  # the same of sizings, as what that gives away is given away at all times
_MUCH_WORSE: Final = 0.9  # beyond the noise
_PRESSED: Final = 8  # times the rows that are as good as any, where callers wait anyway
_HANDLING_S: Final = 2e-4  # to gather, split and answer a batch, whatever its rows
_COLD_HANDLING_S: Final = 8e-4  # the same, where a long run has left nothing of the server in the processor's caches
_COOLING: Final = 1 / 50  # of a run that is added to the former, up to the latter
_CARRYING_S: Final = 1e-9  # of a processor, for each byte of a request; measured with 600 KB between long runs
_SAME: Final = 1.1  # times a run of one row: what a run of two takes where rows cost next to nothing
_WAIT_SHARE: Final = 1 / 20  # of a run, which a caller who is alone waits in vain


@dataclass(frozen=True, slots=True)
class Sizing:
    """``intra_op_threads`` within one run, and ``slots``: how many such runs fill the processor; both >= 1."""

    slots: int
    intra_op_threads: int

    def __str__(self) -> str:
        return f"{self.slots} x {_counted(self.intra_op_threads, 'thread')}"


@dataclass(frozen=True, slots=True)
class Trial:
    """What a run of so many rows took while as many were under way as the sizing says.

    ``run_s`` is what it takes where nobody else wants the processor, ``wall_s`` what it took, both in seconds;
    ``row_bytes`` is the size of a row's inputs.
    """

    sizing: Sizing
    rows: int
    run_s: float
    wall_s: float
    row_bytes: int = 0

    @property
    def rows_per_s(self) -> float:
        """Return the throughput, requests received, and batches gathered and answered."""
        return self.sizing.slots * self.rows / self.taking_s(self.rows, self.run_s)

    def taking_s(self, rows: int, run_s: float) -> float:
        """Return what a batch of so many such rows takes of its slot, if its run takes ``run_s``.

        The processor that carries its requests is one of the run's own, whose threads all wait for the slowest.
        """
        return _with_handling_s(run_s) + rows * self.row_bytes * _CARRYING_S

    def shorter(self, other: "Trial") -> "Trial":
        """Return what the shorter of both took, which are of one kind."""
        return replace(self, run_s=min(self.run_s, other.run_s), wall_s=min(self.wall_s, other.wall_s))


def worth_trying(cpus: float, run_s: float) -> tuple[Sizing, ...]:
    """Return what to try for a model whose run of one row takes ``run_s`` on one thread, the likeliest first."""
    most = max(1, floor(cpus))
    if run_s <= WORTH_TRYING_S:
        return (sized(cpus, 1),)
    doubled = (1 << step for step in range(1, most.bit_length()))
    return tuple(sized(cpus, threads) for threads in dict.fromkeys((1, most, *doubled)))


def sized(cpus: float, threads: int) -> Sizing:
    """Return how many runs of so many threads the processor has room for."""
    return Sizing(max(1, floor(cpus / threads)), threads)


def larger(trials: Sequence[Trial], most_rows: int) -> int:
    """Return the rows to try next, 0 where the last ones show that more do not pay; ``trials`` are of one sizing."""
    last = trials[-1]
    if last.rows >= most_rows:
        return 0
    flat = len(trials) > 2 and max(trial.rows_per_s for trial in trials[-2:]) * _AS_GOOD <= trials[-3].rows_per_s  # noqa: PLR2004 - two doublings in vain
    return 0 if flat else min(2 * last.rows, most_rows)


def worth_reaching(rows: int, most_rows: int) -> int:
    """Return up to how many rows to try what batches of ``rows`` would have while callers wait for long."""
    return min(_PRESSED * rows, most_rows)


def better(trials: Sequence[Trial], most_rows: int) -> Sizing:
    """Choose a sizing by throughput, and among what is as good, by how soon a caller who is alone has his answer.

    ``trials`` are those of every sizing that can still be had, each ascending by rows; ``most_rows`` what a batch may
    have.
    """
    by_sizing = _by_sizing(trials)
    # Where the time was up before the end, more rows might have paid: that is held against none of the others.
    fair_rows = min((tried[-1].rows for tried in by_sizing.values() if larger(tried, most_rows)), default=most_rows)
    peaks = {sizing: _peak(tried, fair_rows) for sizing, tried in by_sizing.items()}
    as_good = (sizing for sizing, peak in peaks.items() if peak >= max(peaks.values()) * _NO_SLOWER)
    return min(as_good, key=lambda sizing: by_sizing[sizing][0].run_s)


def tuned(sizing: Sizing, trials: Sequence[Trial], most_rows: int, beyond: Sequence[Trial] = ()) -> Tuning:
    """Choose how a model is run in a sizing, and tell what others took; ``trials`` and ``most_rows`` are as above.

    ``beyond`` are trials of that sizing with more rows, which show how many are as good as any.
    """
    by_sizing = _by_sizing(trials)
    own = by_sizing[sizing]
    rows = _paying_rows(own, most_rows)
    pressed_rows = _pressed_rows([*own, *beyond], rows)
    delay_s = _delay_s(sizing, own)
    pressed = f" ({pressed_rows} while callers wait for long)" if pressed_rows > rows else ""
    waits = f"waiting for {delay_s * 1e3:.1f} ms pays" if delay_s else "waiting never pays"
    told = _by_sizing([*trials, *beyond])
    measured = "; ".join(f"{tried_sizing}: {_figures(tried)}" for tried_sizing, tried in told.items())
    return Tuning(
        sizing.slots,
        sizing.intra_op_threads,
        rows,
        pressed_rows,
        delay_s,
        f"{sizing}, batches of up to {_counted(rows, 'row')}{pressed}, {waits}; rows/s by rows, {measured}",
    )


def untried(sizing: Sizing, why: str) -> Tuning:
    """Return what holds where nothing was measured: as many rows as may be, and no wait."""
    return Tuning(sizing.slots, sizing.intra_op_threads, reason=f"{sizing}: {why}")


def _by_sizing(trials: Sequence[Trial]) -> dict[Sizing, list[Trial]]:
    found: dict[Sizing, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.sizing, []).append(trial)
    return found


def _peak(trials: Sequence[Trial], most_rows: int) -> float:
    return max(trial.rows_per_s for trial in trials if trial.rows <= most_rows)


def _paying_rows(trials: Sequence[Trial], most_rows: int) -> int:
    """Return the fewest rows that are nearly as good as any; where trials ended while more still paid, as foretold."""
    best = _peak(trials, most_rows)
    fewest = next(trial.rows for trial in trials if trial.rows_per_s >= best * _WORTHWHILE)
    if fewest < trials[-1].rows:
        return fewest
    return _foretold_rows(trials[-2], trials[-1], most_rows) if len(trials) > 1 else most_rows


def _pressed_rows(trials: Sequence[Trial], rows: int) -> int:
    """Return up to how many rows a batch may have while there are always more than batches take.

    The fewest rows, which give away a little, are for the callers of a burst, who else would wait for each other. Where
    all wait for their turn anyway, nobody does so for longer. None is larger than one that was tried: what a model
    makes of more, and whether it takes more at all, is not known.
    """
    enough = max(trial.rows_per_s for trial in trials) * _MUCH_WORSE
    larger_ones = [trial for trial in trials if rows < trial.rows <= _PRESSED * rows]
    good = takewhile(lambda trial: trial.rows_per_s >= enough, larger_ones)
    return max((trial.rows for trial in good), default=rows)


def _foretold_rows(before: Trial, last: Trial, most_rows: int) -> int:
    """Return the fewest rows, doubled from the last trial's on, that are as good if a row more costs the same.

    All that may be would cost callers dearly where the last doubling brought a little: a batch of 64 rows of a network
    that takes 30 ms for one keeps everybody waiting for two seconds, and gives no more than one of four.
    """
    each_s = max(0.0, (last.run_s - before.run_s) / (last.rows - before.rows))

    def rows_per_s(rows: int) -> float:
        return rows / last.taking_s(rows, last.run_s + each_s * (rows - last.rows))

    rows = last.rows
    while rows < most_rows and rows_per_s(rows) < rows_per_s(most_rows) * _WORTHWHILE:
        rows = min(2 * rows, most_rows)
    return rows


def _with_handling_s(run_s: float) -> float:
    """Return what a batch takes of its slot.

    Measured under load, loop and I/O thread: some 0.15 ms for a batch of a network of 4 ms, 0.7 for one of 33 ms.
    """
    return run_s + min(_HANDLING_S + run_s * _COOLING, _COLD_HANDLING_S)


def _delay_s(sizing: Sizing, trials: Sequence[Trial]) -> float:
    """Return how long to wait for company.

    A free slot that starts at once wastes nothing while there is another. Where there is one, and a second row would
    have cost nothing, two callers who miss each other by a moment would take turns for ever, each at half the rate.
    """
    alone_s = trials[0].run_s
    both_s = next((trial.run_s for trial in trials if trial.rows == 2), alone_s * 2)  # noqa: PLR2004 - two rows
    pays = sizing.slots == 1 and alone_s > WORTH_TRYING_S and both_s <= alone_s * _SAME
    return alone_s * _WAIT_SHARE if pays else 0.0


def _figures(trials: Sequence[Trial]) -> str:
    return ", ".join(f"{trial.rows}: {trial.rows_per_s:.4g}" for trial in trials)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
