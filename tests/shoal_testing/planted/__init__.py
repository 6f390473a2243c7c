"""Bugs that are planted into the core, for the simulation to find: importing this makes them known."""

from shoal_testing.planted import answers, bursts, parts, sharing, slots, turns, versions
from shoal_testing.planted.planting import PLANTS

__all__ = ["PLANTS", "answers", "bursts", "parts", "sharing", "slots", "turns", "versions"]
