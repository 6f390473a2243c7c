"""Bugs that are planted into the core, for the simulation to find: importing this makes them known."""

from shoal_testing.planted import answers, bursts, parts, pressure, sharing, slots, turns, versions
from shoal_testing.planted.planting import BUGS

__all__ = ["BUGS", "answers", "bursts", "parts", "pressure", "sharing", "slots", "turns", "versions"]
