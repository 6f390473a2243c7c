"""A soak makes its servers within the test; what blocks the loop is found by shorter tests."""

import pytest
from blockbuster import BlockBuster


@pytest.fixture(autouse=True)
def _a_server_may_block_while_it_is_made(blockbuster: BlockBuster) -> None:
    blockbuster.deactivate()
