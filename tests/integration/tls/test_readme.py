"""The README's section on certificates, run as it is written; only the port is one that is free."""

import os
import re
import subprocess
import sys
from pathlib import Path

from shoal_testing import models
from shoal_testing.process import server_process

README = Path(__file__).parents[3] / "README.md"
COMMAND = ".venv/bin/shoal "


def test_the_section_on_certificates_works_by_copy_and_paste(tmp_path: Path) -> None:
    making, asking = blocks("sh")
    [script] = blocks("python")
    models.save(tmp_path / "models", "digits", models.identity())
    # `certs dev` and `serve` of the first block; the server takes whatever port is free.
    certs_dev, serve = lines(making)
    shell(certs_dev, tmp_path)
    assert serve == "serve models"
    with server_process("models", folder=tmp_path) as server:
        address = server.ready_address()
        said = [shell(line, tmp_path, SHOAL_ADDRESS=address) for line in lines(asking)]
        assert "digits" in said[0]
        assert said[1] == "SERVING\n"
        assert "spiffe://shoal.dev/caller" in said[2]
        port = address.rpartition(":")[2]
        ready = run([sys.executable, "-c", script.replace("8001", port)], tmp_path)
        assert ready == "True\n"


def blocks(language: str) -> list[str]:
    """Return the blocks of a language in the section."""
    section = README.read_text().partition("\n## Certificates\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def lines(block: str) -> list[str]:
    """Return what follows `shoal` in each line, without the remarks."""
    return [line.removeprefix(COMMAND).partition("  #")[0].rstrip() for line in block.splitlines()]


def shell(arguments: str, folder: Path, **variables: str) -> str:
    return run(["sh", "-c", f'"{sys.executable}" -m shoal_server {arguments}'], folder, **variables)


def run(words: list[str], folder: Path, **variables: str) -> str:
    """Return what a program prints that ends with 0."""
    environment = {**os.environ, **variables}  # noqa: TID251 - what a shell passes on
    done = subprocess.run(  # noqa: S603 - the README's own words
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=15, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
