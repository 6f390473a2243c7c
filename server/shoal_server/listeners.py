"""Where a server listens: for everybody, for operators, for probes; each with routes and TLS of its own.

What reads certificates is imported where there are some, as cryptography takes a while.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from shoal_server.clock import Clock
from shoal_server.config import ConfigError, Settings, socket_path, split_address
from shoal_server.errors import CannotListen
from shoal_server.events import Event, Observer
from shoal_server.mailbox import Mailbox
from shoal_server.security.guard import guarded, without_admin, without_inference
from shoal_server.security.material import Material, TlsFiles, UnusableMaterial
from shoal_server.security.policy import AdminPolicy, well_formed
from shoal_server.transport.choice import Chosen, open_transport
from shoal_server.transport.port import ListenerOptions, MethodStatistics, Routes, Status, TlsMaterial, TlsRefused

if TYPE_CHECKING:
    from shoal_server.security.renewer import Renewer

_log: Final = logging.getLogger("shoal")

_SIDE_CALLS: Final = 1024  # at once, on the listeners of operators and probes
_HEALTH: Final = "/grpc.health.v1.Health/"
_PROBES: Final = frozenset(
    {"/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady"}
)


@dataclass(frozen=True, slots=True)
class Place:
    """One listener as planned: ``key`` is its setting, ``about`` how the `ready` line calls it."""

    key: str
    about: str
    options: ListenerOptions
    routes: Routes
    tls: TlsMaterial | None


class Listeners:
    """All listeners of one server. Made, started and stopped on one loop.

    Raises:
        ConfigError: the settings contradict each other, would serve other machines without TLS unasked, or name
            certificates that cannot be used. Reads files.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - its collaborators
        self,
        settings: Settings,
        routes: Routes,
        clock: Clock,
        mailbox: Mailbox,
        observer: Observer,
        transport: Chosen = "grpcio",
    ) -> None:
        check_settings(settings)
        files = tls_files(settings)
        material = None if files is None else _read(files, clock.epoch())
        self._places = places(settings, routes, None if material is None else material.tls, observer.observe)
        try:
            self._transports = [
                open_transport(
                    transport,
                    place.options,
                    place.routes,
                    clock,
                    mailbox,
                    max_bytes=settings.limits.max_bytes,
                    tls=place.tls,
                )
                for place in self._places
            ]
        except TlsRefused as problem:
            raise ConfigError(f"{settings.tls.certificate}: {problem}") from problem
        self._addresses: list[str] = []
        self._renewer: Renewer | None = None
        if files is not None and material is not None:
            self._renewer = self._renewing(files, material, clock, partial(mailbox.post, observer.observe))

    def _renewing(self, files: TlsFiles, material: Material, clock: Clock, tell: Callable[[Event], None]) -> "Renewer":
        from shoal_server.security.renewer import Renewer  # noqa: PLC0415 - see the module

        renew = [one.renew for one, place in zip(self._transports, self._places, strict=True) if place.tls]
        return Renewer(files, material, renew, clock, tell)

    async def start(self) -> str:
        """Bind and serve all of them; return the address of the one for everybody, as bound.

        Raises:
            CannotListen: an address cannot be bound.
        """
        for place, transport in zip(self._places, self._transports, strict=True):
            try:
                self._addresses.append(await transport.start())
            except OSError as error:
                raise CannotListen(str(error), place.key) from error
        if self._renewer is not None:
            self._renewer.start()
        return self._addresses[0]

    async def stop(self, grace_s: float) -> None:
        """End all of them, those for everybody first: refuse new calls, let the others end within ``grace_s``."""
        if self._renewer is not None:
            self._renewer.stop()
        for transport in self._transports:
            await transport.stop(grace_s)

    def statistics(self) -> Sequence[MethodStatistics]:
        """Return what all of them together counted so far; from any thread."""
        joined: dict[tuple[str, Status], MethodStatistics] = {}
        for transport in self._transports:
            for counted in transport.statistics():
                key = counted.method, counted.status
                joined[key] = joined[key].plus(counted) if key in joined else counted
        return tuple(joined.values())

    def unread(self) -> int:
        """Return how many calls all of them together refused unread; from any thread."""
        return sum(transport.unread() for transport in self._transports)

    @property
    def addresses(self) -> Sequence[str]:
        """Those that were bound, in the order of the `ready` line."""
        return tuple(self._addresses)

    def summary(self) -> str:
        """Say where what is served, for the `ready` line."""
        return ", ".join(
            f"{place.about} {address}{' with ' + _kind(place.tls) if place.tls else ''}".strip()
            for place, address in zip(self._places, self._addresses, strict=False)
        )


def tls_files(settings: Settings) -> TlsFiles | None:
    """Return where the certificates are; None where none are configured.

    Raises:
        ConfigError: some are named and others are missing.
    """
    tls = settings.tls
    if tls.certificate is None and tls.key is None:
        if tls.client_ca is not None:
            raise ConfigError("tls.client_ca asks callers for certificates, which takes tls.certificate and tls.key")
        return None
    if tls.certificate is None or tls.key is None:
        there, missing = ("certificate", "key") if tls.key is None else ("key", "certificate")
        raise ConfigError(f"tls.{there} is set and tls.{missing} is not; TLS takes both")
    return TlsFiles(tls.certificate, tls.key, tls.client_ca)


def check_settings(settings: Settings) -> None:
    """Look that nobody is let in, or has his fill, by what the settings do not say.

    Raises:
        ConfigError: they contradict each other, or open a plaintext port to other machines without ``insecure``.
    """
    for identity in settings.admin.identities:
        if not well_formed(identity):
            raise ConfigError(
                f"admin.identities: {identity!r} is no identity; wanted spiffe://DOMAIN/PATH, dns:NAME or "
                "subject:CN=NAME, as `shoal certs show FILE` prints it"
            )
    for key in ("quotas", "weights"):
        if settings.callers.by == "off" and getattr(settings.callers, key):
            raise ConfigError(
                f"callers.{key} is set, but callers.by is off, so that nobody would have any: say what tells callers "
                "apart (identity, address or metadata)"
            )
    if settings.admin.identities and settings.tls.client_ca is None:
        raise ConfigError(
            "admin.identities names who may call the admin service, but without tls.client_ca nobody has to show who "
            "they are"
        )
    if settings.tls.certificate is not None:
        return
    for key, address in (("address", settings.address), ("admin.address", settings.admin.address)):
        if not address or socket_path(address) is not None or is_loopback(split_address(address)[0]):
            continue
        if not settings.insecure:
            raise ConfigError(
                f"{key} {address} can be reached from other machines, and there is no TLS: set tls.certificate and "
                "tls.key (`shoal certs dev` makes some to try), or say --insecure if the network authenticates and "
                "encrypts"
            )
        _log.warning("%s %s is served without TLS to whoever reaches it, as `insecure` says", key, address)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host that is listened on; names other than localhost may be anything."""
    try:
        return ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def places(
    settings: Settings, routes: Routes, tls: TlsMaterial | None, tell: Callable[[Event], None]
) -> tuple[Place, ...]:
    """Return the listeners, the one for everybody first, then operators', then probes'."""
    policy = AdminPolicy(bool(tls and tls.client_ca), frozenset(map(_spelled, settings.admin.identities)))
    options = ListenerOptions(
        settings.address,
        settings.limits.max_message_bytes,
        settings.limits.max_metadata_bytes,
        max_calls=2 * settings.limits.max_requests,
        max_connection_age_s=settings.tls.max_connection_age_s,
        connection_grace_s=settings.grace_s,
        io_threads=settings.runtime.io_threads,
    )
    open_to_all = guarded(routes, policy, tell) if not settings.admin.address else without_admin(routes, tell)
    planned = [Place("address", "", options, open_to_all, tls)]
    side = replace(options, max_calls=_SIDE_CALLS, io_threads=1)
    if settings.admin.address:
        if tls is not None and tls.client_ca and not settings.admin.identities:
            _log.warning("nobody may call the admin service: admin.identities names nobody")
        at_admin = guarded(without_inference(routes), policy, tell)
        planned.append(Place("admin.address", "admin on", replace(side, address=settings.admin.address), at_admin, tls))
    if settings.probe.address:
        probes = _only(routes, lambda method: method.startswith(_HEALTH) or method in _PROBES)
        planned.append(Place("probe.address", "probes on", replace(side, address=settings.probe.address), probes, None))
    return tuple(planned)


def _only(routes: Routes, wanted: Callable[[str], bool]) -> Routes:
    """Return the routes of some methods."""
    return Routes(
        hot={method: route for method, route in routes.hot.items() if wanted(method)},
        cold={method: route for method, route in routes.cold.items() if wanted(method)},
        streams={method: route for method, route in routes.streams.items() if wanted(method)},
        first_message_only=frozenset(filter(wanted, routes.first_message_only)),
    )


def _spelled(identity: str) -> str:
    """Return an identity as certificates' are written: names without regard to case."""
    return identity.lower() if identity.startswith("dns:") else identity


def _read(files: TlsFiles, now_epoch_s: float) -> Material:
    from shoal_server.security.certificates import read_material  # noqa: PLC0415 - see the module

    try:
        return read_material(files, now_epoch_s)
    except UnusableMaterial as problem:
        raise ConfigError(str(problem)) from problem


def _kind(tls: TlsMaterial) -> str:
    return "mTLS" if tls.client_ca else "TLS"
