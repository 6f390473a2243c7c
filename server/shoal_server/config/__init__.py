"""The settings of a server: what can be set, and reading it from file, environment and flags."""

from shoal_server.config.address import socket_path, split_address
from shoal_server.config.option import OPTIONS, Option
from shoal_server.config.reading import ConfigError, Configuration, load
from shoal_server.config.settings import Settings

__all__ = ["OPTIONS", "ConfigError", "Configuration", "Option", "Settings", "load", "socket_path", "split_address"]
