"""A loaded model tells the SHA-256 of each file that it was made of."""

import hashlib
from pathlib import Path

from shoal_server.lifecycle.ports import FileDigest
from shoal_server.runtime.digests import digests
from shoal_server.runtime.resident import ProcessMemory
from shoal_testing import models


def digest(path: Path, name: str) -> FileDigest:
    content = path.read_bytes()
    return FileDigest(name, hashlib.sha256(content).hexdigest(), len(content))


def test_external_data_is_among_the_files_and_what_lies_beside_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    models.with_external_data(path)
    (tmp_path / "README").write_text("of no interest")
    wanted = (digest(path, "model.onnx"), digest(tmp_path / "weights.bin", "weights.bin"))
    assert digests(path, alone=False) == wanted
    assert digests(path, alone=True) == wanted[:1]


def test_a_file_that_is_no_model_is_digested_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff" * 10_000)
    assert digests(path, alone=False) == (digest(path, "model.onnx"),)


def test_the_peak_of_memory_is_counted_from_the_beginning() -> None:
    memory = ProcessMemory()
    begun = memory.begin()
    block = bytearray(64 << 20)
    block[::4096] = b"x" * len(block[::4096])
    del block
    found = memory.look()
    assert begun.now_bytes > 0
    assert found.peak_bytes >= begun.now_bytes + (50 << 20)
