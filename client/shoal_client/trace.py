"""The W3C trace context of the current work, for servers to continue."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final

TRACE_HEADERS: Final = ("traceparent", "tracestate", "baggage")


def trace_headers(given: Callable[[], Mapping[str, str]] | None) -> dict[str, str]:
    """Return the headers of the current trace; none where there is none.

    OpenTelemetry's API is asked only if the process has imported it: without that there is no span to continue, and
    this package neither requires it nor pays for it.
    """
    headers: dict[str, str] = {}
    if "opentelemetry.context" in sys.modules:
        import_module("opentelemetry.propagate").inject(headers)  # by its name: only where it is in use
    if given is not None:
        headers.update(given())
    return {name: headers[name] for name in TRACE_HEADERS if headers.get(name)}
