"""A naive account of a server under its operators' changes: its models, its record, its keys, and the time."""

from dataclasses import dataclass, field

from shoal_server.lifecycle.requests import Request
from shoal_testing.wanted_account import Account
from shoal_testing.wanted_wish import INVALID, REFUSED, Done, Refused, Wish


@dataclass
class World:
    """What surrounds the models: the time, the store, and how long a load and a record take.

    ``trouble`` is what the store has: "" for none, "early" where it can be foreseen, "late" where it cannot.
    """

    now_s: float
    load_s: float
    keep_warm_s: float
    required: bool
    write_s: float = 0.0
    trouble: str = ""
    models: dict[str, Account] = field(default_factory=dict)
    recorded: dict[str, Wish] = field(default_factory=dict)
    remembered: dict[str, Wish] = field(default_factory=dict)
    keys: dict[str, tuple[Request, Done | str]] = field(default_factory=dict)
    breaking: list[tuple[float, str, int]] = field(default_factory=list)
    """At which times the engines of which versions break."""

    def start(self) -> None:
        """A server starts and knows what was recorded."""
        self.remembered = dict(self.recorded)
        self.keys = {}
        loads = [account.start(self.recorded.get(name, Wish())) for name, account in self.models.items()]
        self.pass_time(self.load_s if any(loads) else 0.0)
        for account in self.models.values():
            account.started()

    def pass_time(self, seconds: float) -> None:
        """Time passes: engines break, and what was kept warm has been for long enough."""
        end_s = self.now_s + seconds
        while True:
            times_s = [at_s for at_s, _model, _version in self.breaking]
            times_s += [until_s for account in self.models.values() for until_s in account.due()]
            if not times_s or min(times_s) > end_s:
                break
            self.now_s = max(self.now_s, min(times_s))
            for at_s, model, version in [*self.breaking]:
                if at_s <= self.now_s:
                    self.breaking.remove((at_s, model, version))
                    self.models[model].stop({version})
            for account in self.models.values():
                account.cool()
        self.now_s = end_s

    def operate(self, request: Request) -> Done | str:
        """Return what an operator's change does, or the name of its error."""
        if request.key and request.key in self.keys:
            known, outcome = self.keys[request.key]
            return outcome if known == request else INVALID
        try:
            outcome = self.models[request.model].operate(request)
        except Refused as refused:
            outcome = refused.name
        if request.key:
            self.keys[request.key] = request, outcome
        return outcome

    def foresee(self) -> None:
        if self.required and self.trouble == "early":
            raise Refused(REFUSED)

    def put(self, model: str, wish: Wish) -> bool:
        """Return whether a restarted server would know of it."""
        changed = {name: other for name, other in self.remembered.items() if name != model}
        if wish != Wish():
            changed[model] = wish
        if changed == self.recorded:
            self.remembered = changed
            return True
        self.pass_time(self.write_s)
        if self.trouble and self.required:
            raise Refused(REFUSED)
        self.remembered = changed
        if not self.trouble:
            self.recorded = changed
        return not self.trouble
