"""`shoal health`: may traffic be sent there?"""

from typing import Annotated, Final

import typer

from shoal.health import health_pb2 as pb
from shoal_server.cli.failure import FAILED
from shoal_server.cli.model_names import names_told, with_names
from shoal_server.cli.remote import Address, CallFailed, Remote, Timeout
from shoal_server.cli.tls_flags import UNSAID, TlsFlags, with_tls

_CHECK: Final = "/grpc.health.v1.Health/Check"


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
        try:
            answer = server.call(_CHECK, pb.HealthCheckRequest(service=model), pb.HealthCheckResponse)
        except CallFailed as failure:
            raise with_names(failure, model, lambda: names_told(server)) from failure
    typer.echo(pb.HealthCheckResponse.ServingStatus.Name(answer.status))
    return 0 if answer.status == pb.HealthCheckResponse.SERVING else FAILED
