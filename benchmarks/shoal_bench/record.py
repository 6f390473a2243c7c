"""What a figure was measured on."""

import os
import platform
import subprocess
from importlib.metadata import version


def machine() -> dict[str, object]:
    """Return the machine's and the software's description, for the record of a run."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return {
        "commit": commit.stdout.strip() or None,
        "cpus": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("shoal", "grpcio", "protobuf", "onnxruntime", "numpy", "uvloop")},
    }
