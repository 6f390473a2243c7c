"""Case 16: 2,000 connections are opened, used, and end by RST in the middle of a request."""

import gc
from random import Random

import numpy as np

from shoal_testing.at_rest import descriptors, eventually, tasks, wait_until_held
from shoal_testing.caller import INFER, Caller, request_of
from shoal_testing.gated import gated
from shoal_testing.http2 import RawHttp2, grpc_message
from shoal_testing.server import RunningServer

CONNECTIONS = 2000
AT_ONCE = 200
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
WATCH = "/grpc.health.v1.Health/Watch"

MESSAGE = request_of("pair", x=np.array([[5, 6]], np.float32)).SerializeToString()


def test_resets_in_the_middle_of_requests_give_everything_back(
    server: RunningServer, caller: Caller, seed: int
) -> None:
    random = Random(seed)
    assert caller.call(MESSAGE).status == "OK"
    gc.collect()
    before = descriptors(), tasks(server)
    with gated(server, "pair") as gate:
        for _ in range(CONNECTIONS // AT_ONCE):
            connections = [_used(server.address, random) for _ in range(AT_ONCE)]
            for connection in random.sample(connections, AT_ONCE):
                connection.reset()
        wait_until_held(server, waiting=0)
        gate.open()
    eventually(
        server,
        lambda: (descriptors(), tasks(server)),
        lambda now: now[0] <= before[0] and now[1] <= before[1],
        f"file descriptors and tasks were {before}",
    )


def _used(address: str, random: Random) -> RawHttp2:
    """Return a connection that has got as far with one or two calls as chance would have it."""
    connection = RawHttp2(address)
    whole = grpc_message(MESSAGE)
    for _ in range(random.randrange(3)):
        match random.randrange(5):
            case 0:
                connection.begin(INFER)
            case 1:
                connection.write(connection.begin(INFER), whole[: random.randrange(len(whole))])
            case 2:
                connection.write(connection.begin(STREAM), whole * 2 + whole[:10])
            case 3:
                connection.write(connection.begin(WATCH), grpc_message(b""), end=True)
            case _:
                connection.write(connection.begin(INFER), whole, end=True)
    return connection
