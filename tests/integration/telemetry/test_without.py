"""A server that was asked for no telemetry does not even import it."""

import subprocess
import sys

SCRIPT = """
import asyncio, sys
from pathlib import Path
from shoal_server.app import Server
from shoal_server.config import Settings

async def main():
    server = Server(Settings(models=Path(sys.argv[1]), address="127.0.0.1:0"))
    await server.start()
    assert await server.stop(5)

asyncio.run(main())
print([name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "prometheus_client", "wsgiref")])
"""


def test_nothing_of_opentelemetry_or_prometheus_is_imported(folder: object) -> None:
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]", done.stderr
