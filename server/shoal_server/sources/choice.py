"""What a path on the command line means."""

import os
from pathlib import Path

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.ports import Source
from shoal_server.sources.folder import FolderSource
from shoal_server.sources.naming import is_hidden, version_number
from shoal_server.sources.settings import CONFIG_FILE, NO_SETTINGS, OPTIONS_FILE, Settings
from shoal_server.sources.single import SingleSource
from shoal_server.sources.tree import because
from shoal_server.sources.versions import MODEL_FILE


def open_source(path: Path, defaults: Settings = NO_SETTINGS) -> Source:
    """Return the source that a path stands for; ``defaults`` hold where a model's own configuration is silent.

    A file is one model. A folder that holds a config.pbtxt, a model.toml, or versions with their files is one model too
    (``NAME``). Any other folder is a model repository, be it empty.

    Raises:
        LoadFailed: nothing is there, it cannot be read, or it is a folder with a model file and no models.
    """
    try:
        if path.is_file():
            return SingleSource.of_file(path, defaults)
        if not path.exists():
            raise LoadFailed(
                f"{path} does not exist, wanted a model repository (a folder of NAME/1/{MODEL_FILE}) or a model file"
            )
        if not path.is_dir():
            raise LoadFailed(f"{path} is neither a folder nor a regular file")
        with os.scandir(path) as entries:
            kinds = {entry.name: entry.is_dir() for entry in entries if not is_hidden(entry.name)}
        if _is_model(path, kinds):
            return SingleSource.of_folder(path, defaults)
    except OSError as error:
        raise LoadFailed(f"{path} cannot be read: {because(error)}") from error
    if not any(kinds.values()) and MODEL_FILE in kinds:
        raise LoadFailed(f"{path} has a {MODEL_FILE} and no models in folders: serve {path / MODEL_FILE} instead")
    return FolderSource(path, defaults)


def _is_model(path: Path, kinds: dict[str, bool]) -> bool:
    if CONFIG_FILE in kinds or OPTIONS_FILE in kinds:
        return True
    versions = [name for name, is_folder in kinds.items() if is_folder and version_number(name) is not None]
    return any((path / name / MODEL_FILE).exists() for name in versions)
