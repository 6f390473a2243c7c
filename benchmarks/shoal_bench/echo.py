"""A bare grpc.aio server that answers every call with the same bytes: what Python gRPC costs by itself.

`python -m shoal_bench.echo SIZE_BYTES` listens on a free port of 127.0.0.1 and prints it in a `ready` line.
"""

import sys

import grpc
import grpc.aio
import uvloop


class _Echo(grpc.GenericRpcHandler):
    def __init__(self, answer: bytes) -> None:
        async def unary(_message: bytes, _context: object) -> bytes:
            return answer

        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(unary)

    def service(self, _details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return self._handler


async def serve(answer: bytes) -> None:
    """Answer every call with ``answer`` until the process is told to stop."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Echo(answer),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"ready on 127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(bytes(int(sys.argv[1]))))
