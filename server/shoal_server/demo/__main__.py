"""Start a server, call it from many callers at once, compare what it says with scikit-learn, stop it."""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc.aio
import numpy as np
import typer

from shoal_server.demo.callers import Answer, Callers
from shoal_server.demo.models import DEMO_MODELS, DemoModel, model_file, write
from shoal_server.demo.process import DemoFailed, serving

_CALLERS: Final = 64
_SHOWN: Final = 3
_TOLERANCE: Final = 1e-5  # probabilities: float32 on the server, float64 in scikit-learn
_LIMIT_S: Final = 180.0


def main(arguments: Sequence[str]) -> int:
    """Run the demo and return its exit code: 0 if everything was as it should be."""
    parser = argparse.ArgumentParser(prog="python -m shoal_server.demo", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="a model repository to serve and to write what it lacks")
    parser.add_argument("--rounds", type=int, default=8, help="how often each test row is asked for; %(default)s")
    options = parser.parse_args(arguments)
    folder: Path | None = options.folder
    failures: tuple[Exception, ...] = ()
    try:
        with tempfile.TemporaryDirectory(prefix="shoal-demo-") as temporary:
            models = _models(folder or Path(temporary))
            asyncio.run(_demonstrate(folder or Path(temporary), models, options.rounds))
    except* DemoFailed as group:
        failures = group.exceptions
    if failures:
        typer.echo(f"the demo failed: {failures[0]}", err=True)
    return 1 if failures else 0


def _models(folder: Path) -> list[DemoModel]:
    typer.echo("training the demo models")
    models = [train() for train in DEMO_MODELS.values()]
    for model in models:
        if not model_file(folder, model.name).exists():
            write(model, folder)
        typer.echo(f"  {model.name}: right on {model.accuracy:.1%} of {len(model.rows)} test rows")
    return models


async def _demonstrate(folder: Path, models: Sequence[DemoModel], rounds: int) -> None:
    try:
        async with asyncio.timeout(_LIMIT_S), serving(folder) as server:
            typer.echo(f"\na server is ready on {server.address}")
            async with grpc.aio.insecure_channel(server.address) as channel:
                callers = Callers(channel, _CALLERS)
                began_s = time.monotonic()
                answers = await callers.ask_for_all(models, rounds)
                took_s = time.monotonic() - began_s
                _compare(models, answers, rounds)
                for model in models:
                    _show_batches(model.name, await callers.batch_sizes(model.name))
            typical_ms = statistics.median(answer.took_s for answer in answers) * 1000
            typer.echo(
                f"{len(answers) / took_s:,.0f} answers per second to this one client, {typical_ms:.1f} ms typically"
            )
            await server.stop()
            typer.echo("\nSIGTERM: the server finished and left with exit code 0")
    except TimeoutError:
        raise DemoFailed(f"it took longer than {_LIMIT_S:g} s") from None


def _compare(models: Sequence[DemoModel], answers: Sequence[Answer], rounds: int) -> None:
    """Hold every answer against scikit-learn's own, and print some."""
    typer.echo(f"{_CALLERS} callers asked {len(answers)} times, for one row each; some answers:")
    differing, furthest = 0, 0.0
    for model in models:
        labels, scores = model.classifier.predict(model.rows), model.classifier.predict_proba(model.rows)
        own = [answer for answer in answers if answer.model == model.name]
        for answer in own[:_SHOWN]:
            typer.echo(
                f"  {model.name}, row {answer.row}: {answer.label} ({answer.scores.max():.6f}), "
                f"scikit-learn: {labels[answer.row]} ({scores[answer.row].max():.6f})"
            )
        furthest = max(furthest, *(float(np.abs(answer.scores - scores[answer.row]).max()) for answer in own))
        differing += sum(answer.label != labels[answer.row] for answer in own)
    expected = rounds * sum(len(model.rows) for model in models)
    if differing or furthest > _TOLERANCE or len(answers) != expected:
        raise DemoFailed(
            f"of {expected} answers {len(answers)} came, {differing} have another class than scikit-learn's, "
            f"and probabilities differ by up to {furthest:.1e}"
        )
    typer.echo(f"all agree with scikit-learn; probabilities differ by at most {furthest:.1e}\n")


def _show_batches(model: str, sizes: dict[int, int]) -> None:
    rows, batches = sum(size * count for size, count in sizes.items()), sum(sizes.values())
    common = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    typer.echo(
        f"{model}: {rows} rows in {batches} batches, {rows / batches:.1f} rows each; most often "
        + ", ".join(f"{size} ({count} times)" for size, count in common)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
