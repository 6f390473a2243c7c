"""The generated code under proto/ is what the `.proto` files say, and the generator notices when it is not."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

import generate

pytestmark = pytest.mark.skipif(
    find_spec("grpc_tools") is None, reason="grpcio-tools is not installed, so nothing can be generated to compare with"
)


@pytest.fixture
def copied_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The generator works in a copy of proto/, in another place."""
    root = tmp_path / "elsewhere"
    shutil.copytree(generate.ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(generate, "ROOT", root)
    return root


def test_the_generated_code_is_what_the_proto_files_say(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code = generate.main(["--check"])

    output = capsys.readouterr()
    assert exit_code == 0, f"run `python proto/generate.py`\n{output.out}{output.err}"


def test_the_same_bytes_come_out_in_another_place(copied_root: Path) -> None:
    for path in generate.generated_files(copied_root):
        (copied_root / path).unlink()

    assert generate.main([]) == 0

    original = Path(generate.__file__).parent
    for path in generate.generated_files(original):
        assert (copied_root / path).read_bytes() == (original / path).read_bytes(), path


def test_a_check_shows_what_would_change_and_changes_nothing(
    copied_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proto = copied_root / "shoal/health/health.proto"
    proto.write_text(proto.read_text(encoding="utf-8") + "message Added {}\n", encoding="utf-8")
    before = generate.generated_files(copied_root)

    assert generate.main(["--check"]) == 1

    assert "+class Added(_message.Message):" in capsys.readouterr().out
    assert generate.generated_files(copied_root) == before


def test_code_with_no_proto_file_behind_it_is_found_and_removed(
    copied_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orphan = copied_root / "shoal/health/former_pb2.py"
    orphan.write_text("FORMER = 1\n", encoding="utf-8")

    assert generate.main(["--check"]) == 1
    assert "-FORMER = 1" in capsys.readouterr().out

    assert generate.main([]) == 0
    assert not orphan.exists()
    assert generate.main(["--check"]) == 0


def test_a_well_known_type_of_protobuf_cannot_be_imported(
    copied_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied_root / "shoal/health/clock.proto").write_text(
        'syntax = "proto3"; import "google/protobuf/timestamp.proto"; message At { google.protobuf.Timestamp at = 1; }',
        encoding="utf-8",
    )

    assert generate.main(["--check"]) == 2

    assert "protoc refused a file" in capsys.readouterr().err


def test_a_tool_of_another_version_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(generate.TOOLS, "mypy-protobuf", "0.0.1")

    assert generate.main([]) == 2

    assert "generating needs mypy-protobuf 0.0.1; installed: " in capsys.readouterr().err
