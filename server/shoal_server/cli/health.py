"""`shoal health`: may traffic be sent there?"""

from typing import Annotated

import typer

from shoal.health import health_pb2 as pb
from shoal_server.cli.failure import FAILED
from shoal_server.cli.remote import Address, Remote, Timeout
from shoal_server.cli.tls_flags import UNSAID, TlsFlags, with_tls


@with_tls
def command(
    address: Address = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="Ask about one model, not the whole server.")] = "",
    timeout_s: Timeout = 5.0,
    tls: TlsFlags = UNSAID,
) -> int:
    """Ask whether a server, or one of its models, is ready.

    The exit code is 0 if so and 1 if not. Where no address is given, and probe.address is configured, it asks there.

    Example:
        shoal health
        shoal health --address inference.internal:8001 --model digits
    """
    with Remote(address, timeout_s, tls, "probe.address") as server:
        answer = server.call(
            "/grpc.health.v1.Health/Check", pb.HealthCheckRequest(service=model), pb.HealthCheckResponse
        )
    typer.echo(pb.HealthCheckResponse.ServingStatus.Name(answer.status))
    return 0 if answer.status == pb.HealthCheckResponse.SERVING else FAILED
