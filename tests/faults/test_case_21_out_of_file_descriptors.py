"""Case 21: no file descriptor is left: who is connected is served, and when some are free again, everybody is."""

import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from shoal.inference import grpc_service_pb2 as pb
from shoal_testing import models
from shoal_testing.caller import Caller, request_of
from shoal_testing.process import server_process
from shoal_testing.refusals import assert_refused
from shoal_testing.triton import eventually

LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
LIMIT = 100
MOST_LINES = 20  # gRPC itself writes one a second, the native transport one in half a minute
REQUEST = request_of("pair", x=np.array([[1, 2]], np.float32))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process can be set on Linux alone")
def test_out_of_file_descriptors_the_connected_are_served_and_later_everybody(tmp_path: Path) -> None:
    models.save(tmp_path / "models", "pair", models.identity("FP32", ["N", 2]))
    load = pb.RepositoryModelLoadRequest(model_name="pair").SerializeToString()
    with server_process("models", "--log-level", "warning", folder=tmp_path) as server:
        address = server.ready_address()
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        host, _colon, port = address.rpartition(":")
        with Caller(address) as connected:

            def descriptors() -> int:
                """Count them; whoever is connected is served all the while."""
                assert connected.infer(REQUEST).status == "OK"
                return server.descriptors()

            assert connected.infer(REQUEST).status == "OK"
            with ExitStack() as strangers:
                sockets = [
                    strangers.enter_context(socket.create_connection((host, int(port)), 5)) for _ in range(2 * LIMIT)
                ]
                assert eventually(descriptors, LIMIT) == LIMIT
                server.wait_for_error("File descriptor limit reached")
                for leaving in sockets[:50]:  # one takes the place of each, and then there is none left again
                    leaving.close()
                    assert {connected.infer(REQUEST).status for _ in range(30)} == {"OK"}
                assert eventually(descriptors, LIMIT) == LIMIT
                assert_refused(connected.call(load, LOAD), "INVALID_ARGUMENT", "pair", "too many open files")
                assert connected.infer(REQUEST).status == "OK", "what was loaded serves on"
            # Sockets that their callers have closed go one by one, and until then a load finds none free.
            assert eventually(lambda: descriptors() < LIMIT / 2, wanted=True)
            with Caller(address) as newcomer:
                assert newcomer.infer(REQUEST).status == "OK"
            assert connected.call(load, LOAD).status == "OK"
        told = [line for line in server.errors if "File descriptor limit reached" in line]
        assert len(told) <= MOST_LINES, "an operator is told, and no disk is filled"
