"""`python -m shoal_bench.mixed_lengths_oracle`: texts of real lengths, against an offline loop that knows them all.

The model is a transformer of MiniLM's size, the lengths are those of real paragraphs. The oracle has every text before
it begins, sorts them by length, cuts them into batches of the best size that it finds, and runs bare ONNX Runtime. The
server gets the same texts one by one from callers, each with one text, and declares nothing but `[lengths]`; beside it
the same model without that is measured, whose batches are of equal lengths only. Every run has one thread, and on both
sides as many run at once as there are processors.

Rounds alternate over the sides. What counts is the CPU time per text, which other processes on the machine change
little; texts per second are told, too. All answers are held against those of the texts alone.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any, Final

import grpc.aio
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import uvloop

from shoal.inference import grpc_service_pb2 as pb
from shoal_bench.load import closed_loop
from shoal_bench.positive import count
from shoal_bench.process import SERVE, MeasuredProcess, running
from shoal_bench.record import machine
from shoal_bench.transformer import LAYERS, LONGEST, NAME, VOCABULARY, WIDTH, transformer

_EQUAL: Final = "equal-lengths"
_SERVICE: Final = "/inference.GRPCInferenceService"
_RUNTIME: Final = "[runtime]\nintra_op_threads = 1\n"
MODEL_TOML: Final = f"""{_RUNTIME}
[lengths]
max_length = {LONGEST}

[lengths.inputs]
input_ids = {{ axis = 1, pad = 0 }}
attention_mask = {{ axis = 1, generate = "mask" }}
"""
_ORACLE_CELLS: Final = (64, 128, 256, 512, 1024, 2048)
_ORACLE_ROWS: Final = 64
_WARM_UP_TEXTS: Final = 100
LEAST_RATIO: Final = 0.95
MOST_PADDED: Final = 1.1
MOST_APART: Final = 1e-5

Ids = npt.NDArray[np.int64]
Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Options:
    """``texts`` for each side and round, ``in_flight`` callers, ``rounds``, ``layers`` and ``width`` of the model."""

    texts: int
    in_flight: int
    rounds: int
    layers: int = LAYERS
    width: int = WIDTH


@dataclass(frozen=True, slots=True)
class Side:
    """One side of one round: texts per second, CPU milliseconds per text, computed cells over those of the texts.

    ``apart`` is the largest difference of any element of an answer from that of the text alone.
    """

    rate: float
    cpu_ms: float
    padded: float
    apart: float


Round = dict[str, Side]


def real_lengths(random: np.random.Generator, texts: int) -> list[int]:
    """Return lengths in the shares in which real paragraphs have them, in random order."""
    found = json.loads(resources.files("shoal_bench").joinpath("text_lengths.json").read_text())
    counts = {int(length): count for length, count in found["paragraphs_by_length"].items()}
    shares = np.array(list(counts.values())) / sum(counts.values())
    return [int(length) for length in random.choice(list(counts), texts, p=shares)]


class Oracle:
    """Bare ONNX Runtime, as many runs at once as there are processors, and all texts before it begins."""

    def __init__(self, model: Path, texts: Sequence[Ids]) -> None:
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._texts = texts
        self.alone = [self._run([text])[0] for text in texts]
        self._cells = min(_ORACLE_CELLS, key=lambda cells: self.sorted(cells).cpu_ms)

    @property
    def cells(self) -> int:
        """Cells of its batches, found by trying."""
        return self._cells

    def sorted(self, cells: int = 0) -> Side:
        """Compute all texts in batches of neighbours by length."""
        order = sorted(range(len(self._texts)), key=lambda number: len(self._texts[number]))
        batches: list[list[int]] = [[]]
        for number in order:
            rows = len(batches[-1]) + 1
            if batches[-1] and (rows * len(self._texts[number]) > (cells or self._cells) or rows > _ORACLE_ROWS):
                batches.append([])
            batches[-1].append(number)
        return self._measured(batches)

    def one_by_one(self) -> Side:
        """Compute each text alone."""
        return self._measured([[number] for number in range(len(self._texts))])

    def _measured(self, batches: Sequence[Sequence[int]]) -> Side:
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        # The largest first, so that all threads are done at about the same time.
        batches = batches[::-1]
        answers = list(self._threads.map(self._run, [[self._texts[number] for number in batch] for batch in batches]))
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        apart = max(
            float(np.abs(answer - self.alone[number]).max())
            for batch, rows in zip(batches, answers, strict=True)
            for number, answer in zip(batch, rows, strict=True)
        )
        own = sum(len(text) for text in self._texts)
        padded = sum(len(batch) * max(len(self._texts[number]) for number in batch) for batch in batches)
        texts = len(self._texts)
        return Side(texts / took_s, cpu_s / texts * 1e3, padded / own, apart)

    def _run(self, texts: Sequence[Ids]) -> Embeddings:
        longest = max(len(text) for text in texts)
        ids = np.zeros((len(texts), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        embeddings: Embeddings = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return embeddings


class Served:
    """One of the server's two models, called by many callers with one text each."""

    def __init__(self, model: str, process: MeasuredProcess, channel: grpc.aio.Channel, oracle: Oracle) -> None:
        self._model = model
        self._process = process
        self._channel = channel
        self._oracle = oracle

    async def measure(self, texts: Sequence[Ids], in_flight: int) -> Side:
        """Have all texts computed once."""
        requests = [self._request(text) for text in texts]
        infer = self._method("ModelInfer")
        answers: dict[int, bytes] = {}
        numbers = iter(range(len(texts)))

        async def call() -> None:
            number = next(numbers)
            answers[number] = await infer(requests[number])

        cells, padded_cells = await self._cells()
        cpu_s = self._process.cpu_s()
        load = await closed_loop(call, len(texts), in_flight)
        cpu_ms = (self._process.cpu_s() - cpu_s) / len(texts) * 1e3
        cells_after, padded_after = await self._cells()
        padded = (padded_after - padded_cells) / (cells_after - cells) if cells_after > cells else 1.0
        apart = max(self._apart(number, answer) for number, answer in answers.items())
        return Side(load.rate, cpu_ms, padded, apart)

    def _apart(self, number: int, answer: bytes) -> float:
        response = pb.ModelInferResponse.FromString(answer)
        embedding = np.frombuffer(response.raw_output_contents[0], np.float32)
        return float(np.abs(embedding - self._oracle.alone[number]).max())

    def _request(self, text: Ids) -> bytes:
        request = pb.ModelInferRequest(model_name=self._model)
        # Without a declaration nobody makes the mask up.
        arrays = (
            {"input_ids": text} if self._model == NAME else {"input_ids": text, "attention_mask": np.ones_like(text)}
        )
        for name, array in arrays.items():
            request.inputs.add(name=name, datatype="INT64", shape=[1, len(array)])
            request.raw_input_contents.append(array.tobytes())
        return request.SerializeToString()

    async def _cells(self) -> tuple[int, int]:
        """Return the cells of all texts so far, and those computed for them; 0 where nothing is declared."""
        answer = await self._method("ModelConfig")(pb.ModelConfigRequest(name=self._model).SerializeToString())
        parameters = pb.ModelConfigResponse.FromString(answer).config.parameters
        if "shoal.lengths.cells" not in parameters:
            return 0, 0
        cells, padded = (int(parameters[f"shoal.lengths.{name}cells"].string_value) for name in ("", "padded_"))
        return cells, padded

    def _method(self, name: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(f"{_SERVICE}/{name}")
        return method


async def measure(options: Options, progress: Callable[[str], None]) -> list[Round]:
    """Run the server and the rounds; ``progress`` is told of each round."""
    random = np.random.default_rng(0)
    lengths = real_lengths(random, options.texts)
    texts: list[Ids] = [random.integers(0, VOCABULARY, length) for length in lengths]
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch)
        file = _write(models, transformer(options.layers, options.width))
        oracle = await asyncio.to_thread(Oracle, file, texts)
        progress(f"{len(texts)} texts of {sum(lengths) / len(lengths):.0f} ids; the oracle takes {oracle.cells} cells")
        async with (
            running(*SERVE, str(models), "--address", "127.0.0.1:0") as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            served = {name: Served(name, server, channel, oracle) for name in (NAME, _EQUAL)}
            for side in served.values():
                await side.measure(texts[:_WARM_UP_TEXTS], options.in_flight)
            rounds = []
            for number in range(1, options.rounds + 1):
                done: Round = {"oracle": await asyncio.to_thread(oracle.sorted)}
                done["padded"] = await served[NAME].measure(texts, options.in_flight)
                done["equal lengths"] = await served[_EQUAL].measure(texts, options.in_flight)
                done["one by one"] = await asyncio.to_thread(oracle.one_by_one)
                rounds.append(done)
                progress(f"round {number}: " + ", ".join(f"{name} {side.cpu_ms:.2f} ms" for name, side in done.items()))
    return rounds


def _write(models: Path, model: onnx.ModelProto) -> Path:
    """Write the model twice, with a declaration and without; return the file."""
    for name, options in ((_EQUAL, _RUNTIME), (NAME, MODEL_TOML)):
        version = models / name / "1"
        version.mkdir(parents=True)
        models.joinpath(name, "model.toml").write_text(options)
        onnx.save(model, version / "model.onnx")
    return models / NAME / "1" / "model.onnx"


def verdict(rounds: Sequence[Round]) -> str:
    """Return the medians over the rounds, and which of the targets are met."""
    lines = [f"{'':15}{'texts/s':>9}{'CPU ms/text':>13}{'cells':>8}{'apart':>10}"]
    for name in rounds[0]:
        sides = [done[name] for done in rounds]
        lines.append(
            f"{name:15}{median(s.rate for s in sides):9.0f}{median(s.cpu_ms for s in sides):13.2f}"
            f"{median(s.padded for s in sides):8.3f}{max(s.apart for s in sides):10.1e}"
        )
    ratios = [done["oracle"].cpu_ms / done["padded"].cpu_ms for done in rounds]
    padded = max(done["padded"].padded for done in rounds)
    apart = max(done["padded"].apart for done in rounds)
    ratio = f"median {median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}"
    for what, figure, met in (
        (f"oracle's CPU time over the server's (>= {LEAST_RATIO})", ratio, median(ratios) >= LEAST_RATIO),
        (f"most computed cells over those of the texts (<= {MOST_PADDED})", f"{padded:.3f}", padded <= MOST_PADDED),
        (f"furthest answer from that of its text alone (<= {MOST_APART:g})", f"{apart:.1e}", apart <= MOST_APART),
    ):
        lines.append(f"{what}: {figure}: {'met' if met else 'MISSED'}")
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the command line, measure, print, and write the record if one is asked for."""
    parser = argparse.ArgumentParser(prog="python -m shoal_bench.mixed_lengths_oracle", description=__doc__)
    parser.add_argument("--texts", type=count, default=1000, metavar="N", help="per side and round (default 1000)")
    parser.add_argument("--in-flight", type=count, default=64, metavar="N", help="callers at once (default 64)")
    parser.add_argument("--rounds", type=count, default=5, metavar="N", help="rounds, all sides in turn (default 5)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write all figures, with the machine's, as JSON")
    given = parser.parse_args()
    options = Options(given.texts, given.in_flight, given.rounds)
    rounds = uvloop.run(measure(options, progress=_say))
    _say(verdict(rounds))
    if given.record:
        record: dict[str, Any] = {"options": asdict(options), "machine": machine()}
        record["rounds"] = [{name: asdict(side) for name, side in done.items()} for done in rounds]
        given.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
