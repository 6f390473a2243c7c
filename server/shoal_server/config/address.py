"""Where something listens: HOST:PORT, or a Unix socket."""

import re
from typing import Final

_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+):(?P<port>[0-9]{1,5})", re.ASCII)
ADDRESS_FORM: Final = "HOST:PORT, such as 127.0.0.1:8001 or [::1]:8001 (port 0 takes any free one)"
LISTENER_FORM: Final = f"{ADDRESS_FORM}, or unix:PATH for a Unix socket"
_UNIX: Final = "unix:"
_MAX_PORT: Final = 65535
_MAX_PATH_BYTES: Final = 107  # sockaddr_un, unix(7)


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``; an IPv6 host keeps its brackets.

    Raises:
        ValueError: it has another form, or the port is above 65535.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise ValueError(f"an address is {ADDRESS_FORM}, got {address!r}")
    return match["host"], int(match["port"])


def check_address(address: str) -> str:
    """Return it as it is.

    Raises:
        ValueError: as of ``split_address``.
    """
    split_address(address)
    return address


def socket_path(address: str) -> str | None:
    """Return the path of ``unix:PATH``; None for another address.

    Raises:
        ValueError: there is no path, it is too long for a socket, or has NUL in it.
    """
    if not address.startswith(_UNIX):
        return None
    path = address.removeprefix(_UNIX)
    if not path or "\0" in path or len(path.encode(errors="surrogateescape")) > _MAX_PATH_BYTES:
        raise ValueError(f"a Unix socket is unix:PATH with a path of 1 to {_MAX_PATH_BYTES} bytes, got {address!r}")
    return path


def check_listener(address: str) -> str:
    """Return it as it is.

    Raises:
        ValueError: it is neither HOST:PORT nor unix:PATH.
    """
    if socket_path(address) is None:
        split_address(address)
    return address
