"""The PEM files of a listener, and their bytes."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal_server.security.validity import Validity
from shoal_server.transport.port import TlsMaterial

MOST_BYTES: Final = 1 << 20
"""Of a file: some hundreds of CAs, where a wrong path might be a disk."""


class UnusableMaterial(Exception):
    """The files cannot be used; ``str()`` names the file and says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where certificate, key and, with mTLS, the callers' CAs are; each PEM, at most 1 MiB."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """What the files held: fit for handshakes, but perhaps not at this time.

    ``digest`` is the same for the same bytes. ``about`` says for people whose certificate it is, and ``validities``
    when its certificates are valid.
    """

    tls: TlsMaterial
    digest: str
    about: str
    validities: tuple[Validity, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """The bytes of the files; ``digest`` is the same for the same bytes."""

    tls: TlsMaterial
    digest: str


def read(files: TlsFiles) -> Contents:
    """Return the bytes of the files.

    Raises:
        UnusableMaterial: one cannot be read, or is too large.
    """
    certificate, key = content_of(files.certificate), content_of(files.key)
    client_ca = content_of(files.client_ca) if files.client_ca is not None else b""
    digest = hashlib.sha256()
    for content in (certificate, key, client_ca):
        digest.update(hashlib.sha256(content).digest())
    return Contents(TlsMaterial(certificate, key, client_ca), digest.hexdigest())


def content_of(path: Path) -> bytes:
    """Return the bytes of one file.

    Raises:
        UnusableMaterial: it cannot be read, or is too large.
    """
    try:
        # Without O_NONBLOCK, a named pipe would hold whoever opens it until somebody writes.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnusableMaterial(f"{path} is not a regular file")
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UnusableMaterial(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > MOST_BYTES:
        raise UnusableMaterial(f"{path} has more than {MOST_BYTES} bytes: that is no certificate or key")
    return content
