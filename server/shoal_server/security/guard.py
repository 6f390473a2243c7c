"""Puts the policy before the admin methods of a listener; the hot path is not touched."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from shoal_server.errors import PermissionDenied, Unauthenticated
from shoal_server.events import AdminDecided
from shoal_server.security.policy import REPOSITORY_CHANGES, AdminPolicy, is_admin
from shoal_server.transport.port import Call, Routes, Status, Stream

E = TypeVar("E", Call, Stream)

_STATUSES: Final = {Unauthenticated: Status.UNAUTHENTICATED, PermissionDenied: Status.PERMISSION_DENIED}
_STREAM: Final = "/inference.GRPCInferenceService/ModelStreamInfer"
_NOT_HERE: Final = "inference is served at the server's `address`, not at admin.address"
_ELSEWHERE: Final = "this method is for operators, and served at admin.address only"


def guarded(routes: Routes, policy: AdminPolicy, tell: Callable[[AdminDecided], None]) -> Routes:
    """Return the routes with each admin method behind the policy; each decision is told, on the loop."""
    assert not any(map(is_admin, routes.hot)), "the guard is not on the hot path"
    return replace(routes, cold=_behind(policy, tell, routes.cold), streams=_behind(policy, tell, routes.streams))


def without_admin(routes: Routes, tell: Callable[[AdminDecided], None]) -> Routes:
    """Return the routes of a listener beside which another one has the admin methods.

    The admin service is not there at all; the methods of the inference protocol say where they are.
    """

    async def elsewhere(call: Call) -> None:
        tell(AdminDecided(call.method, call.peer.identity, call.peer.address, allowed=False, reason=_ELSEWHERE))
        call.fail(Status.PERMISSION_DENIED, _ELSEWHERE)

    cold = {method: route for method, route in routes.cold.items() if not is_admin(method)}
    cold |= {method: elsewhere for method in REPOSITORY_CHANGES if method in routes.cold}
    streams = {method: route for method, route in routes.streams.items() if not is_admin(method)}
    return replace(routes, cold=cold, streams=streams)


def without_inference(routes: Routes) -> Routes:
    """Return the routes of the operators' own listener: all but inference, which says where it is served."""

    async def elsewhere(call: Call | Stream) -> None:
        call.fail(Status.UNIMPLEMENTED, _NOT_HERE)

    streams = {method: elsewhere if method == _STREAM else route for method, route in routes.streams.items()}
    return replace(routes, hot={}, cold={**routes.cold, **dict.fromkeys(routes.hot, elsewhere)}, streams=streams)


def _behind(
    policy: AdminPolicy, tell: Callable[[AdminDecided], None], routes: Mapping[str, Callable[[E], Awaitable[None]]]
) -> dict[str, Callable[[E], Awaitable[None]]]:
    return {method: _guard(policy, tell, route) if is_admin(method) else route for method, route in routes.items()}


def _guard(
    policy: AdminPolicy, tell: Callable[[AdminDecided], None], route: Callable[[E], Awaitable[None]]
) -> Callable[[E], Awaitable[None]]:
    async def behind(call: E) -> None:
        peer = call.peer
        refusal = policy.refusal(peer)
        tell(AdminDecided(call.method, peer.identity, peer.address, refusal is None, str(refusal or "")))
        if refusal is None:
            await route(call)
        else:
            call.fail(_STATUSES[type(refusal)], str(refusal))

    return behind
