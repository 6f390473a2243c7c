"""Calls by grpc-js, a client that shares no code with grpcio: a process of Node that a test tells what to call."""

import json
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final, Self

import grpc

WITHIN_S: Final = 15.0

_ROOT: Final = Path(__file__).parents[2]
_SCRIPT: Final = _ROOT / "tests" / "interop" / "grpc_js" / "caller.js"
_PACKAGES: Final = _ROOT / ".venv" / "interop" / "node_modules"
_FILES: Final = ("inference/grpc_service", "health/health", "admin/admin", "reflection/reflection")
_CODES: Final[Mapping[int, str]] = {code.value[0]: code.name for code in grpc.StatusCode}

Message = Mapping[str, Any] | str
"""What a call sends or gets: the fields of a message, bytes in base64; of a path in no proto file, base64 alone."""


def why_not_node() -> str | None:
    """Return why grpc-js cannot be used here; None where it can."""
    if shutil.which("node") is None:
        return "there is no node here"
    missing = [name for name in ("grpc-js", "proto-loader") if not (_PACKAGES / "@grpc" / name).is_dir()]
    return f"@grpc/{missing[0]} is not installed; `make interop` does it" if missing else None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended, and what came before."""

    status: str
    text: str
    trailers: Sequence[tuple[str, str | bytes]]
    messages: Sequence[Any]


class NodeCall:
    """A call under way."""

    def __init__(self, caller: "NodeCaller", number: int, events: SimpleQueue[dict[str, Any]]) -> None:
        self._caller = caller
        self._number = number
        self._events = events
        self._messages: list[Any] = []

    def write(self, message: Message) -> None:
        """Send a message on a stream."""
        self._caller.tell("write", self._number, message=message)

    def end(self) -> None:
        """Half-close a stream."""
        self._caller.tell("end", self._number)

    def cancel(self) -> None:
        """Leave."""
        self._caller.tell("cancel", self._number)

    def message(self) -> Any:  # noqa: ANN401 - as the proto file has it
        """Wait for a message; the call goes on, or has ended after it."""
        event = self._next()
        assert "message" in event, event
        self._messages.append(event["message"])
        return event["message"]

    def ended(self) -> Ended:
        """Wait for the end; what has come until then is all in it."""
        while "message" in (event := self._next()):
            self._messages.append(event["message"])
        trailers = [(name, bytes(value) if isinstance(value, list) else value) for name, value in event["trailers"]]
        return Ended(_CODES[event["code"]], event["text"], trailers, self._messages)

    def _next(self) -> dict[str, Any]:
        try:
            return self._events.get(timeout=WITHIN_S)
        except Empty:
            raise AssertionError(f"nothing within {WITHIN_S} s; node wrote {self._caller.complaint()}") from None


class NodeCaller:
    """A connection of its own to one server.

    ``ca`` makes it one of TLS, and ``shown`` are the paths of the certificate and the key that it then shows.
    ``options`` are channel options of grpc-js.
    """

    def __init__(
        self,
        address: str,
        ca: Path | None = None,
        shown: tuple[Path, Path] | None = None,
        options: Mapping[str, int | str] | None = None,
    ) -> None:
        settings: dict[str, Any] = {
            "packages": f"{_PACKAGES}/",
            "address": address,
            "folder": str(_ROOT / "proto"),
            "files": [f"shoal/{name}.proto" for name in _FILES],
            "options": {"grpc.max_receive_message_length": -1, "grpc.enable_http_proxy": 0, **(options or {})},
        }
        if ca is not None:
            settings["ca"] = str(ca)
        if shown is not None:
            settings["certificate"], settings["key"] = map(str, shown)
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            ["node", str(_SCRIPT), json.dumps(settings)],  # noqa: S607
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._numbers = count()
        self._events: dict[int, SimpleQueue[dict[str, Any]]] = {}
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def begin(
        self,
        path: str,
        message: Message | None = None,
        *,
        metadata: Sequence[tuple[str, str | bytes]] = (),
        deadline_s: float = WITHIN_S,
    ) -> NodeCall:
        """Begin a call; ``message`` is its only one, or None on a stream of requests."""
        number = next(self._numbers)
        self._events[number] = SimpleQueue()
        pairs = [[name, list(value) if isinstance(value, bytes) else value] for name, value in metadata]
        self.tell("begin", number, path=path, message=message, metadata=pairs, deadline_s=deadline_s)
        return NodeCall(self, number, self._events[number])

    def call(self, path: str, message: Message, **more: Any) -> Ended:  # noqa: ANN401 - those of begin
        """Make a call and wait for its end."""
        return self.begin(path, message, **more).ended()

    def tell(self, what: str, number: int, **more: object) -> None:
        """Have node do something about a call."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, "id": number, **more}) + "\n")

    def complaint(self) -> str:
        """Return what node has written to where errors go."""
        return "".join(self._errors)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            self._events[event["id"]].put(event)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(WITHIN_S)
        for reader in self._readers:
            reader.join(WITHIN_S)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
