"""Counts of calls by method and status, for a transport that handles calls in Python."""

from collections.abc import Collection, Sequence
from typing import Final

from shoal_server.histogram import SECONDS, Histogram
from shoal_server.transport.port import MethodStatistics, Status

OTHER: Final = "_OTHER"
"""The method of calls that are not routed: whoever calls could make up any number of names."""


class _Counted:
    __slots__ = ("durations", "request_bytes", "response_bytes")

    def __init__(self) -> None:
        self.durations = Histogram(SECONDS)
        self.request_bytes = 0
        self.response_bytes = 0


class Meter:
    """Written on the loop, once per call that ends; ``read`` from any thread. Holds methods times statuses at most."""

    def __init__(self, methods: Collection[str]) -> None:
        """Take the full names of all methods that are routed, as in ``/inference.GRPCInferenceService/ModelInfer``."""
        self._counted: dict[str, dict[Status, _Counted]] = {method: {} for method in (*methods, OTHER)}

    def ended(self, method: str, status: Status, seconds: float, request_bytes: int, response_bytes: int) -> None:
        """Count a call that took so long from its arrival to its end."""
        by_status = self._counted[method]
        counted = by_status.get(status)
        if counted is None:
            counted = by_status[status] = _Counted()
        counted.durations.add(seconds)
        counted.request_bytes += request_bytes
        counted.response_bytes += response_bytes

    def read(self) -> Sequence[MethodStatistics]:
        """Return what was counted so far."""
        return [
            MethodStatistics(
                method.removeprefix("/"),
                status,
                counted.durations.read(),
                counted.request_bytes,
                counted.response_bytes,
            )
            for method, by_status in self._counted.items()
            for status, counted in list(by_status.items())
        ]
