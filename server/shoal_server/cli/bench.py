"""`shoal bench`: the load tests, which are a package of their own."""

from typing import Annotated, Final

import typer

from shoal_server.cli.failure import Failure

# Everything from the sub-command's name on is for the benchmarks' own command line, help and mistakes included.
context_settings: Final = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def command(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="What to measure, and how.")] = None,
) -> int:
    """Load-test a server: rates, latencies, capacity.

    COMMAND is run, capacity, compare, plot, peers, echo or micro; `shoal bench COMMAND --help` explains it.

    Example:
        shoal bench run steady
        shoal bench capacity steady --target inference.internal:8001 --model digits
    """
    try:
        from shoal_bench.cli import run  # noqa: PLC0415 - what it needs is not installed with the server
    except ImportError as error:
        raise Failure(
            f"the benchmarks are not installed: {error.name} is missing; pip install 'CHECKOUT[server,bench]'"
        ) from None
    return run(arguments or [], "shoal bench")
