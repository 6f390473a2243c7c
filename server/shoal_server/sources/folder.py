"""A model repository: a folder of models in Triton's layout, ``NAME/VERSION/model.onnx``, configured or not."""

import os
from collections.abc import Mapping
from pathlib import Path

from shoal_server.errors import LoadFailed, NotFound
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.sources.model_folder import describe_folder
from shoal_server.sources.naming import is_hidden, name_fault
from shoal_server.sources.settings import NO_SETTINGS, Settings
from shoal_server.sources.tree import Tree, because


class FolderSource:
    """Every model of one repository (the port ``lifecycle.ports.Source``).

    Each folder is a model, but hidden ones (a leading dot) and ``lost+found``; files at the top are of no interest. The
    repository may be a symbolic link, and be pointed elsewhere between two scans; links in it must not lead out of it.
    Nothing is kept from one call to the next.
    """

    def __init__(self, root: Path, defaults: Settings = NO_SETTINGS) -> None:
        self._root = root.absolute()
        self._defaults = defaults

    def scan(self) -> Mapping[str, ModelDefinition | LoadFailed]:
        """Return every model of the repository, by name, or why one cannot be described.

        A name that no model may have stands in its escaped form.

        Raises:
            LoadFailed: the repository itself cannot be read.
        """
        try:
            with os.scandir(self._root) as entries:
                names = sorted(entry.name for entry in entries if _may_be_model(entry))
        except OSError as error:
            raise LoadFailed(f"model repository {self._root} cannot be read: {because(error)}") from error
        tree = Tree(self._root)
        return {ascii(name)[1:-1] if name_fault(name) else name: self._found(tree, name) for name in names}

    def describe(self, model: str) -> ModelDefinition:
        """Return one model as it is now.

        Raises:
            NotFound: the repository has no folder of that name; no other place is ever looked at.
            LoadFailed: the folder's content cannot be understood, or the repository is gone.
        """
        if name_fault(model) is None and not is_hidden(model):
            folder = self._root / model
            try:
                if folder.is_dir() or (folder.is_symlink() and not folder.exists()):
                    return describe_folder(Tree(self._root), folder, model, self._defaults)
                self._root.stat()
            except OSError as error:
                raise LoadFailed(f"model '{model}' cannot be read: {because(error)}") from error
        raise NotFound(f"unknown model {model!r:.120}")

    def _found(self, tree: Tree, name: str) -> ModelDefinition | LoadFailed:
        fault = name_fault(name)
        if fault is not None:
            return LoadFailed(f"folder {name!a:.120} is no model: {fault}")
        try:
            return describe_folder(tree, tree.root / name, name, self._defaults)
        except LoadFailed as error:
            return error


def _may_be_model(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder, or a link that leads nowhere, which its owner should hear of."""
    if is_hidden(entry.name):
        return False
    return entry.is_dir() or (entry.is_symlink() and not entry.is_file())
