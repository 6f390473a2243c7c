"""Starting a peer: its own Python, its own ports, the same model files."""

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shoal_bench.site import Site
from shoal_bench.target import Target, TargetError
from shoal_bench.watched import started

_HERE: Final = Path(__file__).parent
_READY_WITHIN_S: Final = 90.0
_INSTALL: Final = {
    "mlserver": "python3 -m venv {venv} && {venv}/bin/pip install mlserver onnxruntime",
    "kserve": "python3 -m venv {venv} && {venv}/bin/pip install kserve onnxruntime",
}
PEERS: Final = tuple(_INSTALL)


@contextmanager
def peer(name: str, venv: Path, repository: Path, models: Sequence[str], scratch: Path) -> Iterator[Site]:
    """Run a peer over the models of a repository (``MODEL/1/model.onnx``).

    Raises:
        TargetError: it is not installed there, or was not ready in time; says what it wrote.
    """
    python = venv / "bin" / "python"
    if not python.exists():
        raise TargetError(f"{name} is not installed in {venv}: {_INSTALL[name].format(venv=venv)}")
    files = {model: (repository / model / "1" / "model.onnx").resolve() for model in models}
    grpc_port, http_port, metrics_port = free_ports(3)
    if name == "mlserver":
        folder = scratch / name
        _write_mlserver(folder, files, grpc_port, http_port, metrics_port)
        command: list[str | Path] = [venv.absolute() / "bin" / "mlserver", "start", folder]
    else:
        pairs = [f"{model}={file}" for model, file in files.items()]
        ports = ["--grpc-port", str(grpc_port), "--http-port", str(http_port)]
        command = [python.absolute(), _HERE / "kserve_onnx.py", *pairs, *ports]
    with started(command, {"PYTHONPATH": str(_HERE)}, scratch) as process:
        address = f"127.0.0.1:{grpc_port}"
        try:
            with Target(address) as target:
                target.wait_until_ready(_READY_WITHIN_S, alive=(process,))
        except TargetError as error:
            raise TargetError(f"{name} did not get ready: {error}; it wrote: {process.said()}") from error
        yield Site(address, process, None, f"http://127.0.0.1:{metrics_port}/metrics" if name == "mlserver" else "")


def version_of(name: str, venv: Path) -> str | None:
    """Return the version of a peer's package, from the files of its environment; None where it is not there."""
    found = sorted(venv.glob(f"lib/python*/site-packages/{name}-*.dist-info"))
    return found[0].name.removeprefix(f"{name}-").removesuffix(".dist-info") if found else None


def _write_mlserver(folder: Path, files: "dict[str, Path]", grpc_port: int, http_port: int, metrics_port: int) -> None:
    folder.mkdir()
    settings = {
        "host": "127.0.0.1",
        "grpc_port": grpc_port,
        "http_port": http_port,
        "metrics_port": metrics_port,
        "debug": False,
        "parallel_workers": 0,  # in one process it is faster for small models than with the workers of its default
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    for model, file in files.items():
        (folder / model).mkdir()
        (folder / model / "model-settings.json").write_text(
            json.dumps({"name": model, "implementation": "mlserver_onnx.OnnxModel", "parameters": {"uri": str(file)}})
        )


def free_ports(count: int) -> list[int]:
    """Return ports that were free just now: these servers cannot choose their own."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
