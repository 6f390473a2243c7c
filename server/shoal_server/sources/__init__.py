"""Where models come from: folders and files, and what their owners configured."""

from shoal_server.sources.choice import open_source
from shoal_server.sources.folder import FolderSource
from shoal_server.sources.settings import Settings
from shoal_server.sources.single import SingleSource
from shoal_server.sources.state_folder import StateFolder, default_state

__all__ = ["FolderSource", "Settings", "SingleSource", "StateFolder", "default_state", "open_source"]
