"""What a model, a version and a file may be called, and what was probably meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST_BYTES = 255  # the longest name of a folder on every common file system
_VERSION = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_LONGEST_TEXT = 200
_LARGEST_VERSION = (1 << 63) - 1  # versions are int64 in the protocol
_BESIDE_MODELS = frozenset({"lost+found"})  # a mounted volume's own folder, not a model


def is_hidden(name: str) -> bool:
    """Whether a folder of this name in a repository is passed over without a word."""
    return name.startswith(".") or name in _BESIDE_MODELS


def name_fault(name: str) -> str | None:
    """Return what forbids ``name`` as the name of a model, or None.

    Allowed are 1 to 255 bytes of printable characters: no slash or backslash, no leading dot, no space at either end.
    So a name is always one folder's, and safe to print.
    """
    if not name or name != name.strip():
        return "it begins or ends with a space" if name else "it is empty"
    if len(name) > _LONGEST_BYTES or len(name.encode(errors="replace")) > _LONGEST_BYTES:
        return f"it is longer than {_LONGEST_BYTES} bytes"
    if not name.isprintable():
        return "it has characters that cannot be printed"
    if "/" in name or "\\" in name:
        return "it has a slash"
    if name.startswith("."):
        return "it begins with a dot"
    return None


def file_name_fault(name: str) -> str | None:
    """Return what forbids ``name``, which a configuration gives, as the name of a file beside it, or None."""
    return name_fault(name.removeprefix("."))


def name_from(stem: str) -> str:
    """Return a model's name made from a file's: what a name may not have is replaced by underscores."""
    name = "".join(char if char.isprintable() and char not in "/\\" else "_" for char in stem).strip(" .")
    return name.encode()[:_LONGEST_BYTES].decode(errors="ignore").strip() or "model"


def version_number(name: str) -> int | None:
    """Return the version that a folder is by its name, a whole number above 0 without leading zeros; or None."""
    if _VERSION.fullmatch(name) is None:
        return None
    number = int(name)
    return number if number <= _LARGEST_VERSION else None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a suggestion to append to a complaint about an unknown name, empty where nothing known is like it."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def printable(text: str) -> str:
    """Return a bounded text in which nothing disturbs a terminal."""
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:_LONGEST_TEXT])
    return shown + ("..." if len(text) > _LONGEST_TEXT else "")
