"""Which versions of a model are there, whole, in its folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal_server.errors import LoadFailed
from shoal_server.sources.copying import content_fault, unfinished
from shoal_server.sources.naming import version_number
from shoal_server.sources.tree import Tree, because

MODEL_FILE: Final = "model.onnx"
"""What a version's file is called unless its owner says otherwise (Triton's name)."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What a model's folder has: complete versions with their files, others with the reason, remarks on the rest."""

    complete: Mapping[int, Path]
    refused: Mapping[int, str]
    remarks: tuple[str, ...] = ()


def find_versions(tree: Tree, folder: Path, file_name: str = MODEL_FILE) -> Versions:
    """Look through the version folders of one model.

    Raises:
        LoadFailed: the model's folder cannot be read.
    """
    complete: dict[int, Path] = {}
    refused: dict[int, str] = {}
    remarks: list[str] = []
    for name in tree.names(folder):
        number = version_number(name)
        if number is not None:
            try:
                complete[number] = model_file(tree, folder / name, file_name)
            except LoadFailed as error:
                refused[number] = str(error)
        elif name.isdecimal():
            shown = tree.name(folder / name)
            remarks.append(f"{shown} is ignored: a version is a whole number above 0, without leading zeros")
    return Versions(dict(sorted(complete.items())), dict(sorted(refused.items())), tuple(remarks))


def model_file(tree: Tree, folder: Path, file_name: str = MODEL_FILE) -> Path:
    """Return the model file of one version, which a regular, non-empty, whole file within the tree must be.

    It may lie in a folder of its name, beside its external data: ``1/model.onnx/model.onnx``, as in Triton.

    Raises:
        LoadFailed: it is not there, not complete or not within the tree; the text says why.
    """
    path = _find(tree, folder, file_name)
    if tree.is_folder(path):
        path = _find(tree, path, MODEL_FILE)
    size_bytes = tree.require_file(path)
    require_whole(path, size_bytes, tree.name(path))
    return path


def _find(tree: Tree, folder: Path, file_name: str) -> Path:
    """Return the file or folder of that name in a folder where nothing is being copied to."""
    tree.require_inside(folder)
    names = tree.names(folder)
    sign = unfinished(names)
    if sign is not None:
        raise LoadFailed(f"{tree.name(folder)} is still being copied: it has {sign!r:.120}")
    if file_name not in names:
        other = next((name for name in names if name.endswith(".onnx")), None)
        raise LoadFailed(f"{tree.name(folder)} has no {file_name}" + (f"; it has {other!r:.120}" if other else ""))
    return folder / file_name


def require_whole(path: Path, size_bytes: int, shown: str) -> None:
    """Check that nothing speaks against a file being a whole model.

    Raises:
        LoadFailed: something does, or it cannot be read.
    """
    try:
        fault = content_fault(path, size_bytes)
    except OSError as error:
        raise LoadFailed(f"{shown} cannot be read: {because(error)}") from error
    if fault is not None:
        raise LoadFailed(f"{shown} {fault}")
