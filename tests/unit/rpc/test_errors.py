"""What a refusal tells a client's retry policy."""

import pytest

from shoal_server.errors import Bound, DeadlineExceeded, InvalidRequest, Overloaded, ShoalError, Unavailable
from shoal_server.rpc.errors import trailers_of


@pytest.mark.parametrize(
    ("error", "trailers"),
    [
        (Overloaded("full", Bound.ROWS, retry_after_s=0.0371), (("grpc-retry-pushback-ms", "38"),)),
        (Overloaded("full", Bound.ROWS, retry_after_s=0.0), (("grpc-retry-pushback-ms", "0"),)),
        (Overloaded("full", Bound.ROWS, retry_after_s=1e9), (("grpc-retry-pushback-ms", "60000"),)),
        (Overloaded("never", Bound.ROWS, retry_after_s=Overloaded.NEVER), (("grpc-retry-pushback-ms", "-1"),)),
        (Overloaded("who knows", Bound.ROWS), ()),
        (Unavailable("draining"), ()),
        (DeadlineExceeded("late"), ()),
        (InvalidRequest("wrong"), ()),
    ],
)
def test_only_what_a_retry_could_help_or_cannot_says_when_to_retry(
    error: ShoalError, trailers: tuple[tuple[str, str], ...]
) -> None:
    assert trailers_of(error) == trailers
