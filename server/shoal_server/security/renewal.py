"""Which contents of the files to use: pure, one decision per look at them."""

from typing import Final

from shoal_server.security.material import Material, UnusableMaterial

PATIENCE_LOOKS: Final = 2
"""How often what is unusable may be seen before it is refused: certificate and key are seldom written at once."""


class Renewal:
    """Told of each look at the files; answers with what to do, where there is something to do.

    What cannot be used is refused once, when it has been seen unchanged more than ``PATIENCE_LOOKS`` times, and is
    taken after all if time makes it valid.
    """

    def __init__(self, digest: str) -> None:
        self._used = digest
        self._doubted = ""
        self._looks = 0

    def unchanged(self, digest: str) -> bool:
        """Whether these are the contents in use, so that nobody needs to look at them closer."""
        if digest != self._used:
            return False
        self._doubted, self._looks = "", 0
        return True

    def decide(self, digest: str, found: Material | UnusableMaterial) -> Material | UnusableMaterial | None:
        """Return the material that is in use from now on, the refusal to tell, or None.

        ``digest`` tells contents apart, or problems of files that cannot be read.
        """
        if isinstance(found, Material):
            self._used, self._doubted, self._looks = digest, "", 0
            return found
        if digest != self._doubted:
            self._doubted, self._looks = digest, 0
        self._looks += 1
        return found if self._looks == PATIENCE_LOOKS + 1 else None
