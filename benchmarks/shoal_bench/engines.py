"""Load generators by name: those of this package, and any other class that follows ``order.Engine``."""

import re
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from shoal_bench.order import Engine
from shoal_bench.processes import ProcessEngine
from shoal_bench.scenario import ScenarioError

_HOST_AND_PORT: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:/\[\]]+):\d+")


def engine_for(name: str, target: str) -> Engine:
    """Return the generator of that name for a target; of the name ``auto``, the best that is to be had for it.

    Raises:
        ScenarioError: there is no such generator, or it cannot reach such a target.
    """
    plain = _HOST_AND_PORT.fullmatch(target) is not None
    if name == "auto":
        name = "native" if plain and find_spec("shoal_native") is not None else "python"
    if name == "native" and not plain:
        raise ScenarioError(f"the engine native needs a target HOST:PORT, not '{target}'; --engine python takes it")
    return engine_named(name)


def engine_named(name: str) -> Engine:
    """Return the generator ``native`` or ``python``, or an instance of ``MODULE:CLASS``, made without arguments.

    Raises:
        ScenarioError: there is no such generator.
    """
    if name == "native":
        try:
            from shoal_bench.native_engine import NativeEngine  # noqa: PLC0415 - only this needs the crate
        except ImportError as error:
            raise ScenarioError(f"the engine native cannot be had: {error} (`make native` builds it)") from error
        return NativeEngine()
    if name == "python":
        return ProcessEngine()
    module, colon, kind = name.partition(":")
    if not (module and colon and kind):
        raise ScenarioError(f"there is no engine '{name}': it is auto, native, python or MODULE:CLASS")
    try:
        made = getattr(import_module(module), kind)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ScenarioError(f"the engine {name} cannot be had: {error}") from error
    for wanted in ("name", "senders", "start"):
        if not hasattr(made, wanted):
            raise ScenarioError(f"{name} is no engine: it has no '{wanted}'")
    engine: Engine = made
    return engine
