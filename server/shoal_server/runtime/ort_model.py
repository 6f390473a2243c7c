"""A model version in memory, as the core sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shoal_server.lifecycle.ports import FileDigest, RunControl, Tuning
from shoal_server.runtime import heap
from shoal_server.runtime.batch_probe import Finding
from shoal_server.runtime.model_files import Snapshot, snapshot
from shoal_server.runtime.ort_session import OrtSession
from shoal_server.tensors.batch import Array
from shoal_server.tensors.invariance import NOT_FOUND_OUT, InvarianceFinding
from shoal_server.tensors.lengths import Lengths
from shoal_server.tensors.spec import Signature


@dataclass(frozen=True, slots=True)
class Origin:
    """The files of a version, as they were when it was loaded."""

    path: Path
    version: int
    files: Snapshot

    def is_current(self) -> bool:
        """Whether they are still the same."""
        return snapshot(self.path, self.version) == self.files


class OrtModel:
    """Implements ``lifecycle.ports.LoadedModel``.

    ``timings`` are rows (where lengths vary, padded cells) and seconds of runs during the load.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - all that loading found out
        self,
        session: OrtSession,
        finding: Finding,
        tuning: Tuning,
        origin: Origin,
        files: Sequence[FileDigest],
        timings: Sequence[tuple[int, float]] = (),
        invariance: InvarianceFinding = NOT_FOUND_OUT,
        lengths: Lengths | None = None,
    ) -> None:
        self.signature = Signature(
            tuple(tensor.spec for tensor in session.inputs),
            tuple(tensor.spec for tensor in session.outputs),
            finding.batched,
            lengths,
        )
        self.batching_reason = f"{'batched' if finding.batched else 'not batched'}: {finding.reason}"
        self.tuning = tuning
        self.files = files
        self.timings = tuple(timings)
        self.invariance = invariance
        self.steady = not session.operators.turning
        self._session = session
        self._origin = origin

    @property
    def tuning_reason(self) -> str:
        """Why it is run by so many threads, in batches of so many rows."""
        return self.tuning.reason

    def run(self, inputs: Sequence[Array | None], control: RunControl | None) -> Sequence[Array]:
        """Compute the outputs, in the signature's order, from the inputs in the signature's order.

        Raises:
            ExecutionFailed: ONNX Runtime refused the input, failed, or was stopped.
        """
        return self._session.run(inputs, control)

    def is_current(self) -> bool:
        """Whether the files that it was loaded from are still the same. Blocking."""
        return self._origin.is_current()

    def close(self) -> None:
        """Give the memory back; no run is under way and none follows."""
        self._session.close()
        heap.give_back(self._origin.files.size_bytes)
