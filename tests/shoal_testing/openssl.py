"""OpenSSL's own client, as far as a server's first frame."""

import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shoal_testing.certificates import Pair
from shoal_testing.http2 import PREFACE, SETTINGS, frame

_HEAD_BYTES: Final = 9


@dataclass(frozen=True, slots=True)
class Talk:
    """``heard``: the server has begun to speak HTTP/2, so it let the caller in. ``said`` is what openssl writes."""

    heard: bool
    said: str


def s_client(address: str, folder: Path, pair: Pair | None, *more: str) -> Talk:
    """Say hello by `openssl s_client`, trusting ``folder``'s ca.pem, and wait for the answer or the end.

    In TLS 1.3 a handshake is over for a client before the server has looked at its certificate; hence the first frame.
    """
    shows: list[str | Path] = []
    if pair is not None:
        certificate, key = pair.write(folder, "openssl")
        shows = ["-cert", certificate, "-cert_chain", certificate, "-key", key]
    trusts: list[str | Path] = ["-CAfile", folder / "ca.pem", "-verify_return_error", "-verify_hostname", "localhost"]
    with subprocess.Popen(  # noqa: S603 - fixed words and our own files
        ["openssl", "s_client", "-quiet", "-alpn", "h2", "-connect", address, *trusts, *shows, *more],  # noqa: S607
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with suppress(BrokenPipeError):  # it may have ended already
            process.stdin.write(PREFACE + frame(SETTINGS, 0, 0))
        head = b""
        while len(head) < _HEAD_BYTES and (piece := process.stdout.read(_HEAD_BYTES - len(head))):
            head += piece
        process.kill()
        said = process.stderr.read().decode(errors="replace")
    return Talk(len(head) == _HEAD_BYTES and head[3] == SETTINGS, said)
