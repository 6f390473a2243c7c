"""The admin service of a server, as the commands see it."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

from google.protobuf.message import Message

from shoal.admin import admin_pb2 as pb
from shoal_server.cli.failure import Failure
from shoal_server.cli.model_names import with_names
from shoal_server.cli.remote import CallFailed, Remote
from shoal_server.cli.tls_flags import TlsFlags

M = TypeVar("M", bound=Message)

_SERVICE: Final = "/shoal.admin.v1.AdminService"
_REFUSED: Final = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED"})
_NOT_OFFERED: Final = "UNIMPLEMENTED"


class Admin:
    """A connection to the admin service of one server, open between ``with`` and its end. Blocking."""

    def __init__(self, address: str | None, timeout_s: float | None, tls: TlsFlags) -> None:
        self._remote = Remote(address, timeout_s, tls, "admin.address")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remote.__exit__(kind, error, at)

    def call(self, method: str, request: Message, answer: type[M], model: str = "") -> M:
        """Return the answer to one call; ``method`` is as in ``ListModels``, ``model`` the one that it is about.

        Raises:
            Failure: no server is there, it has no such service, or (as CallFailed) it did not answer OK.
        """
        try:
            return self._remote.call(f"{_SERVICE}/{method}", request, answer)
        except CallFailed as error:
            raise _explained(with_names(error, model, self._names)) from error

    def stream(self, method: str, request: Message, answer: type[M], model: str = "") -> Iterator[M]:
        """Yield the answers to one call; raises as ``call`` does."""
        try:
            yield from self._remote.stream(f"{_SERVICE}/{method}", request, answer)
        except CallFailed as error:
            raise _explained(with_names(error, model, self._names)) from error

    def _names(self) -> Sequence[str] | None:
        # By the service itself: where operators have a listener of their own, there is no other.
        try:
            answer = self.call("ListModels", pb.ListModelsRequest(), pb.ListModelsResponse)
        except Failure:
            return None
        return [model.name for model in answer.models]


def known_models(address: str | None, timeout_s: float, tls: TlsFlags) -> dict[str, pb.Model] | None:
    """Return what the admin service of a server tells of each model; None where there is none, or none for us.

    Raises:
        CallFailed: it did not answer for another reason.
    """
    try:
        with Admin(address, timeout_s, tls) as server:
            answer = server.call("ListModels", pb.ListModelsRequest(), pb.ListModelsResponse)
    except Failure as error:
        if isinstance(error, CallFailed) and error.status not in _REFUSED:
            raise
        return None
    return {model.name: model for model in answer.models}


def _explained(error: CallFailed) -> Failure:
    if error.status != _NOT_OFFERED:
        return error
    return Failure(
        "the server there offers no admin service (it is none of Shoal's, an older one, or offers it at another "
        f"address): {error}"
    )
