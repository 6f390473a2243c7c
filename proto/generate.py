"""Write the Python code of every `.proto` file under `shoal/` beside it, or check that it is there and current.

    python proto/generate.py            writes
    python proto/generate.py --check    changes nothing; prints a diff and exits 1 if anything would change

The code is committed, so only who changes a `.proto` needs this. It gives the same bytes wherever it runs, which is why
it insists on exact versions of its tools. They are old on purpose: generated code refuses a protobuf runtime older than
the compiler that wrote it and loads in the next major version too, so protoc 31.1 allows `protobuf>=6.31.1,<8`.

A `.proto` may import only others under `shoal/`: Google's well-known types live in the process-wide descriptor pool and
our messages do not (see shoal/descriptors.py).
"""

import argparse
import difflib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

TOOLS: Final = {"grpcio-tools": "1.76.0", "mypy-protobuf": "5.1.0"}
ROOT: Final = Path(__file__).resolve().parent

PROCESS_WIDE_POOL: Final = "from google.protobuf import descriptor_pool as _descriptor_pool\n"
OUR_POOL: Final = "from shoal import descriptors as _descriptor_pool\n"

# protoc starts a plugin as a program. One of our own needs neither PATH nor the wrapper of an entry point.
STUB_PLUGIN: Final = "#!{python}\nfrom mypy_protobuf.main import main\nmain()\n"


class CannotGenerateError(Exception):
    """A tool is missing or of another version, or refused a `.proto` file, or its output is not what it used to be."""


def require_tools() -> None:
    """Raise CannotGenerateError unless the tools are installed in exactly the versions of TOOLS."""
    for tool, wanted in TOOLS.items():
        try:
            found = version(tool)
        except PackageNotFoundError:
            found = "none"
        if found != wanted:
            raise CannotGenerateError(f"generating needs {tool} {wanted}; installed: {found}")


def generate() -> dict[str, str]:
    """Return the text of every generated file by its path below ROOT; raise CannotGenerateError."""
    require_tools()
    # Imported here because it is absent where nothing is generated.
    from grpc_tools import protoc  # type: ignore[import-untyped]  # noqa: PLC0415

    sources = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("shoal/**/*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder, "protoc-gen-mypy")
        plugin.write_text(STUB_PLUGIN.format(python=sys.executable), encoding="utf-8")
        plugin.chmod(0o700)
        out = Path(folder, "out")
        out.mkdir()
        flags = [f"-I{ROOT}", f"--python_out={out}", f"--plugin={plugin}", f"--mypy_out=quiet:{out}"]
        if protoc.main(["protoc", *flags, *sources]) != 0:
            raise CannotGenerateError("protoc refused a file; it has said why on stderr")
        return {name: into_our_pool(name, code) for name, code in generated_files(out).items()}


def into_our_pool(name: str, code: str) -> str:
    """Return a generated file changed so that its descriptors go into our pool; raise CannotGenerateError."""
    if name.endswith(".pyi"):
        return code
    if code.count(PROCESS_WIDE_POOL) != 1:
        raise CannotGenerateError(f"{name} does not import its descriptor pool in the one line that is known")
    return code.replace(PROCESS_WIDE_POOL, OUR_POOL)


def generated_files(root: Path) -> dict[str, str]:
    """Return the text of every generated file below a folder by its path there."""
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for pattern in ("*_pb2.py", "*_pb2.pyi")
        for path in root.rglob(pattern)
    }


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return the lines of a unified diff that turns the files found into those wanted; none if they are equal."""
    return [
        line
        for name in sorted(found.keys() | wanted.keys())
        for line in difflib.unified_diff(
            found.get(name, "").splitlines(),
            wanted.get(name, "").splitlines(),
            f"{name} (found)" if name in found else "/dev/null",
            f"{name} (wanted)" if name in wanted else "/dev/null",
            lineterm="",
        )
    ]


def write(found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Make the generated files below ROOT those wanted: write what differs, delete what no `.proto` stands behind."""
    for name in found.keys() - wanted.keys():
        (ROOT / name).unlink()
    for name, code in wanted.items():
        if found.get(name) != code:
            (ROOT / name).write_text(code, encoding="utf-8", newline="\n")


def main(arguments: Sequence[str]) -> int:
    """Return the exit code: 0 done or current, 1 not current, 2 could not generate."""
    parser = argparse.ArgumentParser(description="Generate the Python code of the .proto files.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if anything would change")
    check = parser.parse_args(arguments).check
    try:
        wanted = generate()
    except CannotGenerateError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    found = generated_files(ROOT)
    if not check:
        write(found, wanted)
        return 0
    diff = differences(found, wanted)
    sys.stdout.writelines(f"{line}\n" for line in diff)
    return 1 if diff else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
