"""Load generators by name: the one of this package, and any other class that follows ``order.Engine``."""

from importlib import import_module

from shoal_bench.order import Engine
from shoal_bench.processes import ProcessEngine
from shoal_bench.scenario import ScenarioError


def engine_named(name: str) -> Engine:
    """Return the generator ``python``, or an instance of ``MODULE:CLASS``, whose class takes no arguments.

    Raises:
        ScenarioError: there is no such generator.
    """
    if name == "python":
        return ProcessEngine()
    module, colon, kind = name.partition(":")
    if not (module and colon and kind):
        raise ScenarioError(f"there is no engine '{name}': it is python, or MODULE:CLASS")
    try:
        made = getattr(import_module(module), kind)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ScenarioError(f"the engine {name} cannot be had: {error}") from error
    if not hasattr(made, "start"):
        raise ScenarioError(f"{name} is no engine: it has no start()")
    engine: Engine = made
    return engine
