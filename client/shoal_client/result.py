"""The answer to one inference."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shoal.inference.grpc_service_pb2 import InferParameter, ModelInferResponse
from shoal_client.datatypes import Array
from shoal_client.errors import InvalidInput

Parameter = bool | int | float | str
"""A value beside the tensors of a request or an answer."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a call went, on the client's clock, in seconds.

    Attributes:
        total_s: from the call to its result.
        coalesced_s: of that, waiting for others to travel with; 0 without coalescing.
        attempts: how often the request was sent.
        hedged: whether a second copy was sent because the first was slow.
        rows_together: rows of the request that travelled, those of other callers included; 0 without coalescing.
    """

    total_s: float
    coalesced_s: float = 0.0
    attempts: int = 1
    hedged: bool = False
    rows_together: int = 0


class Result(Mapping[str, Array]):
    """The outputs of one inference by name, in the server's order: ``result["scores"]``.

    Arrays of numbers are read-only where the server sent them raw: ``.copy()`` one to change it. BYTES are arrays of
    ``bytes`` objects (``text`` gives ``str``). BF16 is ``ml_dtypes.bfloat16`` where that package is installed, else the
    bits as ``uint16``.

    Attributes:
        model_name: the model that answered.
        model_version: the one version that computed this answer, as the server wrote it.
        id: the id of the request.
        parameters: what the server said beside the tensors.
        timings: where the time went.
    """

    __slots__ = ("_arrays", "id", "model_name", "model_version", "parameters", "timings")

    def __init__(  # noqa: PLR0913 - the parts of an answer
        self,
        arrays: Mapping[str, Array],
        *,
        model_name: str,
        model_version: str,
        id: str = "",  # noqa: A002 - the protocol's word
        parameters: Mapping[str, Parameter] | None = None,
        timings: Timings,
    ) -> None:
        self._arrays = dict(arrays)
        self.model_name = model_name
        self.model_version = model_version
        self.id = id
        self.parameters: Mapping[str, Parameter] = dict(parameters or {})
        self.timings = timings

    def __getitem__(self, name: str) -> Array:
        try:
            return self._arrays[name]
        except KeyError:
            raise KeyError(f"no output {name!r}; {self.model_name} gave {', '.join(self._arrays) or 'none'}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def text(self, name: str) -> Array:
        """Return a BYTES output as an array of ``str``.

        Raises:
            KeyError: there is no such output.
            TypeError: it has numbers.
            UnicodeDecodeError: an element is not UTF-8.
        """
        array = self[name]
        if array.dtype != object:
            raise TypeError(f"output {name!r} has no text but {array.dtype}")
        decoded = array.copy()
        decoded.ravel()[:] = [element.decode() for element in array.ravel().tolist()]
        return decoded

    def __repr__(self) -> str:
        outputs = ", ".join(f"{name}: {array.dtype}{list(array.shape)}" for name, array in self._arrays.items())
        return f"Result({self.model_name}, version {self.model_version}; {outputs})"


def write_parameter(name: str, value: object) -> InferParameter:
    """Return a parameter as a message; whole numbers beyond 63 bits travel unsigned.

    Raises:
        InvalidInput: the value is no bool, int, float or str, or a whole number that no field can hold.
    """
    if isinstance(value, bool):
        return InferParameter(bool_param=value)
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return InferParameter(int64_param=value)
        if 0 <= value < 2**64:
            return InferParameter(uint64_param=value)
        raise InvalidInput(f"the parameter '{name}' has at most 64 bits, got {value}")
    if isinstance(value, float):
        return InferParameter(double_param=value)
    if isinstance(value, str):
        return InferParameter(string_param=value)
    raise InvalidInput(f"the parameter '{name}' is a bool, int, float or str, got {type(value).__name__}")


def parameters_of(response: ModelInferResponse) -> dict[str, Parameter]:
    """Return an answer's parameters; one of a kind that we do not know yet is left out."""
    found: dict[str, Any] = {}
    for name, parameter in response.parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(parameter, kind)
    return found
