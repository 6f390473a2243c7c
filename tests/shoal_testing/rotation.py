"""Certificates and CAs that are replaced under load."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from shoal_testing.caller import Caller
from shoal_testing.certificates import CALLER, LOCAL, Authority
from shoal_testing.triton import eventually
from shoal_testing.trusted import TrustedServer, credentials, infers


@dataclass(slots=True)
class Rotation:
    """A row of CAs. After ``rotate(k)`` the k-th certifies the server, which lets in callers of it and the one before.

    So a caller whose certificate is of the k-th is right from then until the (k + 2)-th comes. Callers trust all.
    """

    server: TrustedServer
    authorities: list[Authority]
    now: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def rotate(self, number: int) -> None:
        """Replace certificate, key and CA, and wait until a handshake shows the new ones."""
        newest = self.authorities[number]
        newest.issue(*LOCAL).write(self.server.files, "server")
        bundle = b"".join(authority.certificate for authority in self.authorities[max(number - 1, 0) : number + 1])
        self.server.files.joinpath("ca.pem").write_bytes(bundle)

        def shown() -> str:
            pair = newest.issue(CALLER)
            with Caller(self.server.running.address, credentials(newest.certificate, pair)) as caller:
                return infers(caller)

        assert eventually(shown, "OK") == "OK"
        self.now = number

    def caller(self, number: int) -> Caller:
        """Return a caller certified by the CA of that number."""
        trusted = b"".join(authority.certificate for authority in self.authorities)
        pair = self.authorities[number].issue(CALLER)
        return Caller(self.server.running.address, credentials(trusted, pair))

    def call_until(self, over: threading.Event) -> None:
        """Call without a pause, each time the CA changed with a new certificate, and count how the calls end."""
        while not over.is_set():
            number = self.now
            with self.caller(number) as caller:
                while self.now == number and not over.is_set():
                    self.outcomes[infers(caller)] += 1
