"""Rows of an output taken out of their batch, and put together again."""

from collections.abc import Sequence

from shoal_server.tensors.batch import WHOLE, OutputBlock, SplitError
from shoal_server.tensors.datatype import DataType


def kept(block: OutputBlock, start: int, rows: int) -> OutputBlock:
    """Return a block of these rows alone, to be read as a whole: it keeps nothing of their neighbours in memory.

    ``rows`` may be ``WHOLE``.
    """
    raw = bytes(block.raw(start, rows))
    return OutputBlock(block.spec, block.shape(rows), [raw] if block.datatype is DataType.BYTES else raw)


def joined(blocks: Sequence[OutputBlock]) -> OutputBlock:
    """Return the rows of one block or more of the same output, one after the other, to be read as a whole.

    Raises:
        SplitError: their rows do not have the same shape.
    """
    first = blocks[0]
    different = next((block.tail for block in blocks if block.tail != first.tail), None)
    if different is not None:
        raise SplitError(f"rows of output '{first.name}' have shapes {list(first.tail)} and {list(different)}")
    raws = [block.raw(0, WHOLE) for block in blocks]
    shape = (sum([block.shape(WHOLE)[0] for block in blocks]), *first.tail)
    return OutputBlock(
        first.spec, shape, [bytes(raw) for raw in raws] if first.datatype is DataType.BYTES else b"".join(raws)
    )
