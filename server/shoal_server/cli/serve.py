"""`shoal serve`: from settings to a server that runs, and what is said when it cannot."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import typer

from shoal_server import app
from shoal_server.cli.failure import MISUSED, Failure
from shoal_server.cli.flags import with_settings
from shoal_server.config import OPTIONS, ConfigError, Configuration, Settings
from shoal_server.errors import CannotListen, LoadFailed
from shoal_server.telemetry.json_log import JsonFormatter
from shoal_server.transport.choice import TransportMissing

new_event_loop: Callable[[], asyncio.AbstractEventLoop]
try:
    import uvloop
except ImportError:  # it is not made for every platform
    new_event_loop = asyncio.new_event_loop
else:
    new_event_loop = uvloop.new_event_loop  # on it, grpc.aio answers 1.6 times as many calls per second

_log = logging.getLogger("shoal")

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def _serve(configuration: Configuration) -> int:
    """Serve the models under a path until told to stop.

    PATH is one .onnx file, or a folder that holds NAME/VERSION/model.onnx for each model. The line that says `ready`
    and the address comes once requests are answered. SIGTERM or Ctrl-C lets those under way finish; twice, it does not.

    Example:
        shoal serve model.onnx
        shoal serve models --batching-delay-ms 2
        shoal serve models --address 0.0.0.0:8001 --tls-certificate server.pem --tls-key server.key

    Each flag may also stand in shoal.toml, or as a variable (--limits-max-rows: SHOAL_LIMITS__MAX_ROWS). Flags are
    strongest, then variables. `shoal config` shows what is in force.
    """
    settings = configuration.settings
    _log_to_stderr(settings)
    if configuration.file:
        _log.info("settings are read from %s", configuration.file)
    for remark in configuration.remarks:
        _log.warning("%s", remark)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(app.serve(settings, announce=typer.echo))
    except ConfigError as error:
        raise Failure(str(error), MISUSED) from error
    except CannotListen as error:
        flag = OPTIONS[error.setting].flag
        others = "unix:PATH" if "unix:" in str(error) else "HOST:PORT, where port 0 takes any free one"
        raise Failure(f"{error}; choose another by {flag} {others}") from error
    except (OSError, LoadFailed, TransportMissing) as error:
        raise Failure(str(error)) from error


def _log_to_stderr(settings: Settings) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.telemetry.log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


command = with_settings(_serve)
