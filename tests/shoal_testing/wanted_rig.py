"""A manager that is held, change for change, against a naive account of what is wanted and served."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final

from shoal_server.errors import Conflict, NotFound, ShoalError, Unavailable
from shoal_server.events import VersionChanged
from shoal_server.lifecycle.definition import VersionPolicy
from shoal_server.lifecycle.desired import Desired
from shoal_server.lifecycle.requests import Request, SetLabel
from shoal_server.lifecycle.states import VersionState
from shoal_testing.fake_model import Kind
from shoal_testing.fakes import FakeStore, definition
from shoal_testing.manager_rig import LOAD_S, ManagerRig
from shoal_testing.virtual_time import VirtualTimeLoop
from shoal_testing.wanted_account import Account
from shoal_testing.wanted_wish import Done, Wish
from shoal_testing.wanted_world import World

PRESENT: Final = (1, 2, 3, 4)
MODELS: Final = ("m", "n")

# No sum of the other times is one of these, so that nothing happens at the very moment at which one is over.
KEEP_WARM_S: Final = (None, 0.0, 10.0113, 10.0113, 301.0717)
_KEPT_S: Final = 45.0371

LOADS_S: Final = (LOAD_S, 2.1)
WRITES_S: Final = (0.0, 6.0)

MEANWHILE_S: Final = (0.05, 1.1, 4.5)
"""When something else happens: during a load, a slow load, a slow record, or after the change."""

_REST_S: Final = 4.7
_CALLED: Final = ("", "stable", "previous", "blue", "green", "nobody", "1", "2", "3", "4", "5")

Break = tuple[float, str, int]
"""After how many seconds the engine of which version breaks."""


class WantedRig:
    """Two models that follow the same ``policy``; after each change the manager comes to rest."""

    def __init__(self, policy: tuple[int, ...], load_s: float, write_s: float, *, required: bool) -> None:
        self.loop = VirtualTimeLoop()
        self.store = FakeStore(required=required)
        self.world = World(self.loop.time(), load_s, _KEPT_S, required, write_s)
        for name in MODELS:
            kinds = {**dict.fromkeys(PRESENT, Kind.ROWS), PRESENT[-1]: Kind.OPTIONAL}
            self.world.models[name] = Account(self.world, name, PRESENT, policy, kinds)
        self.rig: ManagerRig
        self._policy = VersionPolicy(specific=policy)
        self._start()

    @property
    def serving(self) -> list[tuple[str, int]]:
        """What should serve."""
        return [(name, version) for name, account in self.world.models.items() for version in sorted(account.serving)]

    @property
    def answering(self) -> list[tuple[str, int]]:
        """What should answer calls without a version."""
        return [(name, account.answering) for name, account in self.world.models.items() if account.answering]

    @property
    def replaced(self) -> list[str]:
        """The models that can be rolled back."""
        return [name for name, account in self.world.models.items() if account.wish.previous]

    def operate(self, request: Request, breaks: Break | None = None) -> None:
        """Hold an operation, and whoever asks at the same time, against the account."""
        if breaks is not None:
            self._break_later(*breaks)
        began_s = self.loop.time()
        expected = self.world.operate(request)
        ended_s = self.world.now_s
        rivals = [(model, at_s) for model in MODELS for at_s in MEANWHILE_S]

        async def operate() -> None:
            refusals = [asyncio.create_task(self._refused(*rival)) for rival in rivals]
            outcome = await self._outcome(request)
            assert outcome == expected, f"{request}: {outcome}, and not {expected}; {self.world}"
            self._assert_time(ended_s)
            refused = [rival for rival, refusal in zip(rivals, refusals, strict=True) if await refusal]
            assert refused == [(model, at_s) for model, at_s in rivals if model == request.model if at_s < took_s]

        took_s = ended_s - began_s
        self.loop.run_until_complete(operate())
        self.world.pass_time(self.loop.time() - self.world.now_s)
        self.rest()

    def follow_the_policy(self, model: str) -> None:
        self._whole_model(self.rig.manager.load(model), self.world.models[model].follow_policy())

    def unload_all(self, model: str) -> None:
        self._whole_model(self.rig.manager.unload(model), self.world.models[model].unload_all())

    def break_or_mend(self, model: str, version: int) -> None:
        """A file cannot be loaded any more, or can again."""
        self.world.models[model].broken ^= {version}
        self._script()

    def begin_or_finish_writing(self, model: str, version: int) -> None:
        """A version is half written, and then whole."""
        self.world.models[model].refused ^= {version}
        self._script()

    def write_anew(self, model: str, version: int, kind: Kind) -> None:
        self.world.models[model].write_anew(version, kind)
        slot = self.rig.manager.keeper.entry(model).versions.get(version)
        for loaded in self.rig.loader.loaded:
            if slot is not None and slot.loaded is loaded:
                loaded.current = False
        self._script()

    def break_engine(self, model: str, version: int) -> None:
        self._break_later(MEANWHILE_S[0], model, version)
        self.rest()

    def become(self, *, load_s: float, write_s: float) -> None:
        """The machine becomes slower or faster."""
        self.world.load_s, self.world.write_s = load_s, write_s
        self._script()

    def trouble(self, trouble: str) -> None:
        """The disk is full, or not any more."""
        self.world.trouble = trouble
        self._script()

    def restart(self) -> None:
        self._stop()
        self._start()

    def rest(self, seconds: float = _REST_S) -> None:
        """Let time pass, and look."""
        self._assert_time(self.world.now_s)
        self.world.now_s = self.loop.time()
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.world.pass_time(self.loop.time() - self.world.now_s)
        self._look()

    def close(self) -> None:
        self._stop()
        self.loop.close()

    def _start(self) -> None:
        async def start() -> None:
            self.rig = ManagerRig([], store=self.store, keep_warm_s=_KEPT_S)
            self._script()
            await self.rig.manager.start()

        self.loop.run_until_complete(start())
        self.world.start()
        self.rest()

    def _stop(self) -> None:
        self.loop.run_until_complete(self.rig.manager.close())
        assert all(model.closed for model in self.rig.loader.loaded)
        self.rig.threads.close()

    def _script(self) -> None:
        """Have the rig do as the account says that the files and the store are."""
        rig, world = self.rig, self.world
        for name, account in world.models.items():
            described = definition(name, *PRESENT, policy=self._policy)
            whole = {number: path for number, path in described.versions.items() if number not in account.refused}
            refused = dict.fromkeys(account.refused, "half written")
            rig.source.models[name] = replace(described, versions=whole, refused=refused)
            for version in PRESENT:
                rig.kinds[name, version] = account.kinds[version]
                rig.scripts[name, version] = rig.slowly(world.load_s - LOAD_S, broken=version in account.broken)
        self.store.trouble = "the disk is full" if world.trouble else ""
        self.store.trouble_comes_late = world.trouble == "late"
        self.store.before_write = rig.slowly(world.write_s)

    def _break_later(self, after_s: float, model: str, version: int) -> None:
        self.loop.call_later(after_s, self._break, model, version)
        self.world.breaking.append((self.loop.time() + after_s, model, version))

    def _break(self, model: str, version: int) -> None:
        slot = self.rig.manager.keeper.entry(model).versions.get(version)
        if slot is not None and slot.state is VersionState.READY:
            assert slot.engine is not None
            slot.engine.broken("hangs")

    async def _outcome(self, request: Request) -> Done | str:
        try:
            result = await self.rig.manager.operations.begin(request).result()
        except ShoalError as error:
            return type(error).__name__
        kept = result.kept_until_s is not None
        return Done(result.before, result.after, result.changed, result.recorded, kept)

    async def _refused(self, model: str, after_s: float) -> bool:
        """Ask for something that changes nothing, at the same time as others; return whether that was refused."""
        await asyncio.sleep(after_s)
        try:
            nothing = SetLabel(model=model, label="rival", version=0, dry_run=True)
            result = await self.rig.manager.operations.begin(nothing).result()
        except Conflict:
            return True
        assert not result.changed
        return False

    def _whole_model(self, work: Coroutine[Any, Any, None], expected: str) -> None:
        async def attempt() -> str:
            try:
                await work
            except ShoalError as error:
                return type(error).__name__
            return ""

        outcome = self.loop.run_until_complete(attempt())
        assert outcome == expected, f"{outcome}, and not {expected}; {self.world}"
        self.rest()

    def _assert_time(self, now_s: float) -> None:
        late_s = self.loop.time() - now_s
        assert abs(late_s) < 1e-6, f"{late_s:g} s longer than the account says; {self.world}"

    def _look(self) -> None:
        """Hold everything that can be seen against the account."""
        for name, account in self.world.models.items():
            self._look_at(name, account)
        recorded = {name: _desired(wish) for name, wish in self.world.recorded.items()}
        assert self.store.desired == recorded, f"{self.store.desired} is recorded, and not {recorded}"
        serving = [slot for slot in self.rig.manager.catalog.slots() if slot.state is VersionState.READY]
        loaded = {id(model) for model in self.rig.loader.loaded if not model.closed}
        assert loaded == {id(slot.loaded) for slot in serving}, "what is in memory"
        told = {(event.model, event.version) for event in self.rig.observer.of(VersionChanged)}
        listed = {(name, version) for name, account in self.world.models.items() for version in account.listed}
        assert told <= listed, "nobody is told of a version that was only tried"

    def _look_at(self, name: str, account: Account) -> None:
        entry = self.rig.manager.keeper.entry(name)
        assert entry.desired == _desired(account.wish), f"{entry.desired}; {account}"
        ready = {slot.version: slot for slot in entry.versions.values() if slot.state is VersionState.READY}
        assert ready.keys() == account.serving.keys(), f"{list(ready)} serve; {account}"
        until_s = {version: slot.kept_until_s for version, slot in ready.items() if slot.kept_until_s is not None}
        assert until_s.keys() == account.warm.keys(), f"{list(until_s)} are kept warm; {account}"
        assert all(abs(until_s[version] - account.warm[version]) < 1e-6 for version in until_s), f"{until_s}; {account}"
        for version, slot in ready.items():
            assert slot.loaded is not None
            takes_more = len(slot.loaded.signature.inputs) > 1
            assert takes_more == (account.serving[version] is Kind.OPTIONAL), f"the file of {version}; {account}"
        for called in _CALLED:
            reached = self._reached(name, called)
            assert reached == account.reached(called), f"{called!r} reaches {reached}; {account}"

    def _reached(self, model: str, version: str) -> int | str:
        try:
            return self.rig.slot(version, model).version
        except (NotFound, Unavailable) as error:
            return type(error).__name__


def _desired(wish: Wish) -> Desired:
    versions = None if wish.versions is None else tuple(sorted(wish.versions))
    return Desired(versions, wish.current, wish.previous, dict(wish.labels))
