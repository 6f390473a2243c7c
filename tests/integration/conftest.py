"""What all tests against a real server share."""

import pytest
from blockbuster import BlockBuster


@pytest.fixture(autouse=True)
def _a_server_may_block_while_it_is_made(blockbuster: BlockBuster) -> None:
    """Building it reads a few small files, on the loop, before it listens."""
    for function in blockbuster.functions.values():
        function.can_block_in("shoal_server/app.py", "__init__")
