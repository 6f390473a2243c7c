"""Operating the models of a Shoal server (shoal.admin.v1)."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypedDict, Unpack

from google.protobuf.message import DecodeError, Message

from shoal.admin import admin_pb2 as pb
from shoal_client.call import Call
from shoal_client.caller import Caller
from shoal_client.errors import InvalidInput, ProtocolError
from shoal_client.following import OnStep, Operation, messages
from shoal_client.knowledge import Knowledge
from shoal_client.operation import LabelChange, ModelEvent, ModelStatus, event_of, model_of
from shoal_client.options import ClientOptions, check_timeout

ADMIN: Final = "/shoal.admin.v1.AdminService/"
_WATCH_S: Final = 3600.0
_LONGEST_KEY: Final = 128
_MOST_VERSION: Final = 2**63


@dataclass(frozen=True, slots=True)
class _Change:
    expected_current_version: int = 0
    dry_run: bool = False
    idempotency_key: str = ""
    timeout_s: float | None = None
    on_step: OnStep | None = None


class ChangeArguments(TypedDict, total=False):
    """What every change of a model takes.

    Attributes:
        expected_current_version: refuse with ``PreconditionFailed`` unless this version answers now; 0: whichever does.
        dry_run: do everything but change what is served.
        idempotency_key: the same key is the same operation, however often it is sent; by default a new one.
        timeout_s: how long to follow it; by default the client's ``operation_timeout_s``. The server goes on after it.
        on_step: called with each ``Step`` as it begins and as it ends; in a ``Client`` from that client's own thread.
    """

    expected_current_version: int
    dry_run: bool
    idempotency_key: str
    timeout_s: float | None
    on_step: OnStep | None


class AsyncAdmin:
    """Changes which versions of models are loaded, and which one answers. Get it from ``AsyncClient.admin``.

    Changes carry an idempotency key, so they are safe to send again, and are where the connection breaks. ``drain``
    has none and is sent once. All errors are those of ``shoal_client.errors``: ``PermissionDenied`` and
    ``Unauthenticated`` (mTLS) where the server does not know you as an operator, ``Conflict`` while another change of
    the model is under way, ``PreconditionFailed`` where ``expected_current_version`` does not hold.
    """

    def __init__(self, caller: Caller, knowledge: Knowledge, options: ClientOptions, target: str) -> None:
        self._caller = caller
        self._knowledge = knowledge
        self._options = options
        self._only = caller.the_one(target)

    def swap(
        self,
        model: str,
        version: int,
        *,
        keep_warm_s: float | None = None,
        allow_signature_change: bool = False,
        **change: Unpack[ChangeArguments],
    ) -> Operation:
        """Load a version, let it answer in the place of the one that does, and retire that one.

        Args:
            model: the model.
            version: the version that is to answer.
            keep_warm_s: how long the version that is replaced stays loaded, in seconds; None: as the server is
                configured; with 0 the operation ends when it is unloaded.
            allow_signature_change: take a version whose inputs or outputs would break callers of the one that answers.
            change: see ``ChangeArguments``.
        """
        request = pb.SwapVersionRequest(
            model=model, version=_version(version), allow_signature_change=allow_signature_change
        )
        if keep_warm_s is not None:
            request.keep_warm_s = keep_warm_s
        return self._operation("SwapVersion", request, model, change)

    def load(self, model: str, version: int, **change: Unpack[ChangeArguments]) -> Operation:
        """Load a version beside the one that answers; it is called by its number or a label."""
        return self._operation(
            "LoadVersion", pb.LoadVersionRequest(model=model, version=_version(version)), model, change
        )

    def unload(self, model: str, version: int, *, force: bool = False, **change: Unpack[ChangeArguments]) -> Operation:
        """Withdraw a version and unload it after its last request; with ``force`` even the one that answers."""
        request = pb.UnloadVersionRequest(model=model, version=_version(version), force=force)
        return self._operation("UnloadVersion", request, model, change)

    def rollback(self, model: str, **change: Unpack[ChangeArguments]) -> Operation:
        """Let the version answer again that the last swap replaced."""
        return self._operation("Rollback", pb.RollbackRequest(model=model), model, change)

    async def set_label(self, model: str, label: str, version: int, **change: Unpack[ChangeArguments]) -> LabelChange:
        """Let a label stand for a version (0: for none), so that requests may name it in the place of a number."""
        given, key = _given(change)
        request = pb.SetLabelRequest(model=model, label=label, version=_version(version))
        _fill(request.change, given, key)
        answer = await self._knowledge.ask(
            ADMIN + "SetLabel",
            request,
            pb.SetLabelResponse,
            model=model,
            timeout_s=given.timeout_s,
            only=self._only,
        )
        return LabelChange(answer.previous_version, answer.changed, answer.recorded)

    async def list(self, model: str = "", *, timeout_s: float | None = None) -> tuple[ModelStatus, ...]:
        """Return every model, or one, with its versions, labels and states."""
        answer = await self._knowledge.ask(
            ADMIN + "ListModels",
            pb.ListModelsRequest(model=model),
            pb.ListModelsResponse,
            model=model,
            timeout_s=timeout_s,
            only=self._only,
        )
        return tuple([model_of(found) for found in answer.models])

    async def watch(self, model: str = "") -> AsyncGenerator[ModelEvent, None]:
        """Yield every model, or one, as it is, and again whenever it changes; until the caller leaves.

        Where the connection breaks, it begins anew as the retry policy allows: all models are told once more.

        Raises:
            CallError: the watch cannot be had, or not any more.
        """
        call = Call(
            ADMIN + "WatchModels",
            pb.WatchModelsRequest(model=model).SerializeToString(),
            _WATCH_S,
            model,
            only=self._only,
        )
        async with aclosing(messages(self._caller, call, endless=True)) as answers:
            async for message in answers:
                try:
                    yield event_of(pb.ModelEvent.FromString(message))
                except DecodeError:
                    raise ProtocolError("the server answered with something that is no ModelEvent") from None

    async def drain(self, *, wait_s: float = 0.0, undo: bool = False, timeout_s: float | None = None) -> int:
        """Let nobody in any more (or again, with ``undo``) and return how many requests are still inside.

        Args:
            wait_s: how long to wait for those inside, in seconds.
            undo: let callers in again.
            timeout_s: the time of the call; by default ``wait_s`` and the client's ``timeout_s``.
        """
        answer = await self._knowledge.ask(
            ADMIN + "Drain",
            pb.DrainRequest(wait_s=wait_s, undo=undo),
            pb.DrainResponse,
            timeout_s=self._options.timeout_s + wait_s if timeout_s is None else timeout_s,
            idempotent=False,
            only=self._only,
        )
        return answer.requests

    def _operation(self, method: str, request: "_Request", model: str, change: ChangeArguments) -> Operation:
        given, key = _given(change)
        _fill(request.change, given, key)
        message: Message = request
        timeout_s = self._options.operation_timeout_s if given.timeout_s is None else check_timeout(given.timeout_s)
        call = Call(ADMIN + method, message.SerializeToString(), timeout_s, model, only=self._only)
        return Operation(self._caller, call, key, given.on_step)


_Request = pb.SwapVersionRequest | pb.LoadVersionRequest | pb.UnloadVersionRequest | pb.RollbackRequest


def _given(change: ChangeArguments) -> tuple[_Change, str]:
    given = _Change(**change)
    key = given.idempotency_key or uuid.uuid4().hex
    if len(key) > _LONGEST_KEY:
        raise InvalidInput(f"an idempotency key has at most {_LONGEST_KEY} characters, got {len(key)}")
    return given, key


def _fill(change: pb.Change, given: _Change, key: str) -> None:
    change.idempotency_key = key
    change.expected_current_version = _version(given.expected_current_version)
    change.dry_run = given.dry_run


def _version(version: int) -> int:
    if not 0 <= version < _MOST_VERSION:
        raise InvalidInput(f"a version is a whole number from 0, got {version!r:.40}")
    return version
