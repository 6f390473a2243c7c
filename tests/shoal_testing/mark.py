"""A stand-in for the record of a traced request, as the core knows it."""

from dataclasses import dataclass


@dataclass(eq=False)
class Mark:
    """Stands for a trace."""

    dispatched: bool = False
