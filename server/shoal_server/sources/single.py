"""One model on its own: an ``.onnx`` file anywhere, or one model's folder."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from shoal_server.errors import LoadFailed, NotFound
from shoal_server.lifecycle.definition import ModelDefinition, VersionPolicy
from shoal_server.sources.model_folder import define, describe_folder, read_settings
from shoal_server.sources.naming import name_fault, name_from, version_number
from shoal_server.sources.settings import NO_SETTINGS, Settings
from shoal_server.sources.tree import Tree, because
from shoal_server.sources.versions import Versions, model_file, require_whole

_ONLY_VERSION: Final = 1


class SingleSource:
    """One model under one name (the port ``lifecycle.ports.Source``); made by ``of_file`` or ``of_folder``."""

    def __init__(self, name: str, define_now: Callable[[], ModelDefinition]) -> None:
        self.name = name
        self._define_now = define_now

    @classmethod
    def of_file(cls, path: Path, defaults: Settings = NO_SETTINGS) -> "SingleSource":
        """Return a source that has one file as its one model.

        A file in Triton's layout, ``NAME/VERSION/FILE``, is that version of NAME, with NAME's configuration, and no
        other version. Any other file is version 1 of a model called as the file without its ending; what lies beside it
        is not read, since nothing says that it belongs to it.
        """
        path = path.absolute()
        version, model = version_number(path.parent.name), path.parent.parent.name
        if version is not None and name_fault(model) is None:
            return cls(model, lambda: _in_layout(path, model, version, defaults))
        name = name_from(path.stem)
        return cls(name, lambda: _alone(path, name, defaults))

    @classmethod
    def of_folder(cls, path: Path, defaults: Settings = NO_SETTINGS) -> "SingleSource":
        """Return a source that has one folder in Triton's layout as its one model, called as the folder."""
        folder = path.absolute()
        name = name_from(folder.name if folder.name not in ("", "..") else folder.resolve().name)
        return cls(name, lambda: describe_folder(Tree(folder, name), folder, name, defaults))

    def scan(self) -> Mapping[str, ModelDefinition | LoadFailed]:
        """Return the model, or why it cannot be described."""
        try:
            return {self.name: self._define_now()}
        except LoadFailed as error:
            return {self.name: error}

    def describe(self, model: str) -> ModelDefinition:
        """Return the model as it is now.

        Raises:
            NotFound: it is not called that.
            LoadFailed: it cannot be understood.
        """
        if model != self.name:
            raise NotFound(f"unknown model {model!r:.120}")
        return self._define_now()


def _in_layout(path: Path, model: str, version: int, defaults: Settings) -> ModelDefinition:
    folder = path.parent.parent
    tree = Tree(folder, model)
    settings = replace(read_settings(tree, folder, model, defaults), file_name=path.name, policy=VersionPolicy())
    return define(model, settings, Versions({version: model_file(tree, path.parent, path.name)}, {}))


def _alone(path: Path, name: str, defaults: Settings) -> ModelDefinition:
    """Define a model by its file alone; it was named by the operator, so links are followed wherever they lead."""
    try:
        if not path.is_file():
            raise LoadFailed(f"{path} is no file" if path.exists() else f"{path} is gone")
        require_whole(path, path.stat().st_size, str(path))
    except OSError as error:
        raise LoadFailed(f"{path} cannot be read: {because(error)}") from error
    return define(name, defaults, Versions({_ONLY_VERSION: path}, {}))
