"""Runs of our own that end with a time limit."""

from collections.abc import Sequence

from shoal_server.errors import ExecutionFailed
from shoal_server.runtime.made_up import Execute
from shoal_server.runtime.ort_session import OrtSession
from shoal_server.runtime.run_control import TimeLimit
from shoal_server.tensors.batch import Array


class OutOfTimeError(Exception):
    """What we wanted to find out took too long."""


def within(limit: TimeLimit, session: OrtSession) -> Execute:
    """Return what runs the session until the time is up, and then raises ``OutOfTimeError``."""

    def execute(inputs: Sequence[Array | None]) -> Sequence[Array]:
        try:
            return session.run(inputs, limit)
        except ExecutionFailed as error:
            if limit.over:
                raise OutOfTimeError from error
            raise

    return execute
