"""A kind of model: how to build one, what to ask it, and whether its rows may be computed together."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Inputs = dict[str, Array]
"""A request's inputs by name; strings are arrays of ``object``."""

Draw = Callable[[np.random.Generator, int], Inputs]


@dataclass(frozen=True, slots=True)
class Kind:
    """``draw`` makes a request of so many rows up; a model that has none ignores their number.

    ``batched`` is what the server has to find out, and ``because`` a part of the reason that it has to give.
    """

    name: str
    model: Callable[[], bytes] | None
    draw: Draw
    batched: bool
    because: str = ""
    fragile: bool = False
    """Whether one of the versions of ONNX Runtime that we support would end the process on a request of no rows."""
    save: Callable[[Path], None] | None = None
    """Writes the model to a path, where it is not ``model`` that makes it: more than one file, say."""

    def write(self, path: Path) -> None:
        """Put the model where a repository has it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.model is not None:
            path.write_bytes(self.model())
        elif self.save is not None:
            self.save(path)


def floats(random: np.random.Generator, *shape: int) -> Array:
    """Return ordinary numbers, FP32."""
    return random.standard_normal(shape).astype(np.float32)


def weight(random: np.random.Generator, *shape: int) -> Array:
    """Return weights that keep what goes through them of about the size it has, FP32."""
    scale: float = np.sqrt(np.prod(shape[:-1]))
    return (random.standard_normal(shape) / scale).astype(np.float32)
