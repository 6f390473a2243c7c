"""The pool in which the descriptors of Shoal's messages live."""

from typing import Final

from google.protobuf.descriptor_pool import DescriptorPool

_POOL: Final = DescriptorPool()


def Default() -> DescriptorPool:  # noqa: N802 - the generated code calls it by this name
    """Return the pool of every message under `shoal`; the same one each time.

    It is not protobuf's process-wide pool: that one refuses a second file that declares `inference.ModelInferRequest`,
    and tritonclient and kserve each bring one. So no message of ours is an instance of theirs; bytes pass between them.
    (protobuf's slow pure-Python implementation registers every class with the process-wide pool all the same: there,
    `shoal` and tritonclient exclude each other, as tritonclient and kserve do everywhere.)
    """
    return _POOL
