"""The names of a server's models, for whoever has asked for one that is not there."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Final

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.cli.failure import Failure
from shoal_server.cli.remote import CallFailed, Remote

_INDEX: Final = "/inference.GRPCInferenceService/RepositoryIndex"
_SHOWN: Final = 20


def with_names(failure: CallFailed, model: str, names: Callable[[], Sequence[str] | None]) -> CallFailed:
    """Return the failure with the names that are meant, or that there are, where the model is not among them.

    ``names`` is asked for them only then; None means that the server does not tell.
    """
    if failure.status != "NOT_FOUND" or not model:
        return failure
    there = names()
    if there is None or model in there:
        return failure
    return CallFailed(failure.status, f"unknown model {model!r:.120}{_others(model, there)}")


def names_told(server: Remote) -> Sequence[str] | None:
    """Return the names of all models; None where the server does not tell."""
    try:
        index = server.call(_INDEX, pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse)
    except Failure:
        return None
    return sorted({entry.name for entry in index.models})


def _others(model: str, names: Sequence[str]) -> str:
    """Return the end of a sentence that says which models there are instead."""
    if not names:
        return "; there is none"
    near = get_close_matches(model, names, n=3)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"; there is {', '.join(names[:_SHOWN])}{more}"
