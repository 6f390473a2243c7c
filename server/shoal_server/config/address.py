"""Where something listens: HOST:PORT."""

import re
from typing import Final

_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+):(?P<port>[0-9]{1,5})", re.ASCII)
ADDRESS_FORM: Final = "HOST:PORT, such as 127.0.0.1:8001 or [::1]:8001 (port 0 takes any free one)"
_MAX_PORT: Final = 65535


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
