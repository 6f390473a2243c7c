"""A request of a simulation, and what became of it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shoal_server.batching.batcher import Batcher
from shoal_server.batching.ticket import Ticket
from shoal_testing.core import Sent
from shoal_testing.line import Standing
from shoal_testing.scenario import Arrival


@dataclass(eq=False)
class Tracked:
    """A request as the simulation knows it."""

    arrival: Arrival
    sent: Sent
    cells: np.ndarray[Any, Any]
    """What it sends as ``x``."""
    batcher: Batcher | None = None
    stands: list[Standing] = field(default_factory=list)
    """Its ticket in the line, or what stands there for it."""
    left_s: float | None = None
    least_s: float = 0.0
    """What the model almost surely took for a full batch, by its own figures, when it was last about to be answered."""
    refusal_was_right: str = ""
    """Why it was rightly refused; empty where nothing speaks for it."""

    @property
    def ticket(self) -> Ticket:
        assert self.sent.admission is not None
        return self.sent.admission.ticket

    @property
    def submitted_s(self) -> float | None:
        """When it was dispatched first."""
        return next((one.submitted_s for one in self.stands if one.submitted_s is not None), None)

    @property
    def has_waited(self) -> bool:
        """Whether not all of it was dispatched."""
        parts = -(-self.ticket.rows // self.batcher.options.max_rows) if self.batcher and self.ticket.key else 1
        return len(self.stands) < parts or any(one.submitted_s is None for one in self.stands)
