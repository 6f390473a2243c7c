"""What a load generator is asked for, and the port that every generator implements.

An order is plain data: bytes to send, when, where, for how long. An engine turns it into tallies, one per window. The
engine of `processes.py` is Python over grpc.aio, that of `native_engine.py` a thread of native code.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from shoal_bench.arrivals import Arrivals
from shoal_bench.secure import Tls
from shoal_bench.tally import Tally


class EngineError(Exception):
    """The generator itself failed: what it measured until then stands, and nothing follows for the server."""


@dataclass(frozen=True, slots=True)
class Closed:
    """``concurrency`` callers, each of whom sends when its last call has ended; >= 1."""

    concurrency: int

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"concurrency is at least 1, got {self.concurrency}")


Load = Closed | Arrivals


@dataclass(frozen=True, slots=True)
class Payload:
    """A serialised ModelInferRequest, the model that it is for, and how often it is sent in proportion to others."""

    message: bytes
    model: str
    weight: float


@dataclass(frozen=True, slots=True)
class Order:
    """A load.

    ``target``: host:port; ``method``: as in ``/package.Service/Method``; ``processes``: how many send; ``seed``:
    decides arrivals and the choice of payloads; ``timeout_s``: each call's deadline, from its intended send time;
    ``in_time_s``: up to which latency an OK call counts as goodput; ``warm_up_s``: discarded at the start;
    ``window_s``: the length of a window; ``drain_s``: how long calls under way at the end are waited for;
    ``tls``: None for plaintext.
    """

    target: str
    method: str
    payloads: tuple[Payload, ...]
    load: Load
    processes: int
    seed: int
    timeout_s: float
    in_time_s: float
    warm_up_s: float
    window_s: float
    drain_s: float
    tls: Tls | None = None


class Running(Protocol):
    """A load that runs."""

    def windows(self) -> Iterator[Tally]:
        """Yield each window's tally once its time is over, all processes together; endless but for ``halt``.

        The first is the warm-up's. Calls count where they end, and are measured from when they were meant to start.

        Raises:
            EngineError: the generator failed.
        """
        ...

    def halt(self) -> None:
        """Let ``windows`` end soon; may be called from a signal handler."""
        ...

    def stop(self) -> Tally:
        """Send no more, wait for what is under way, and return the tally of all that ended since the last window."""
        ...


class Engine(Protocol):
    """A load generator; ``name`` is told with what it measured."""

    name: str

    def senders(self, order: Order) -> int:
        """Return how many processes or threads send, each worth one CPU at most."""
        ...

    def start(self, order: Order) -> AbstractContextManager[Running]:
        """Start the load; it ends with the context, whatever the reason.

        Raises:
            EngineError: the generator cannot start.
        """
        ...
