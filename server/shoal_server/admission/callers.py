"""What each caller may have: his quotas, and no more of the server than he leaves free for others. Pure."""

from typing import Final, NamedTuple

from shoal_server.admission.bucket import TokenBucket
from shoal_server.errors import Bound, Overloaded
from shoal_server.options import CallerOptions, QuotaOptions

MOST_CALLERS: Final = 4096
"""Callers who are told apart at once; further ones who have no quota of their own are counted together."""

_OTHERS: Final = ""


class Room(NamedTuple):
    """What the server has left, in requests, rows and bytes."""

    requests: int
    rows: int
    size_bytes: int


class _Caller:
    """One caller's account."""

    __slots__ = ("quota", "requests", "requests_bucket", "rows", "rows_bucket", "size_bytes")

    def __init__(self, quota: QuotaOptions, now: float) -> None:
        self.quota = quota
        self.requests = 0
        self.rows = 0
        self.size_bytes = 0
        self.requests_bucket = _bucket(quota.requests_per_s, quota.burst_s, now)
        self.rows_bucket = _bucket(quota.rows_per_s, quota.burst_s, now)

    def idle(self, now: float) -> bool:
        """Whether forgetting it changes nothing."""
        buckets = (self.requests_bucket, self.rows_bucket)
        return not self.requests and all(bucket is None or bucket.full(now) for bucket in buckets)


class Callers:
    """Accounts of all callers. ``release`` follows each ``admit``, with the same figures."""

    def __init__(self, options: CallerOptions) -> None:
        self._options = options
        self._accounts: dict[str, _Caller] = {}

    def __len__(self) -> int:
        return len(self._accounts)

    def admit(self, caller: str, rows: int, size_bytes: int, now: float, room: Room) -> str:
        """Count a request in; return the account to ``release`` it from.

        Raises:
            Overloaded: a quota is used up, or the caller holds his share; nothing was counted.
        """
        name, account = self._account(caller, now)
        quota = account.quota
        if quota.concurrency and account.requests >= quota.concurrency:
            raise Overloaded(f"the quota of {quota.concurrency} requests at once is used up", Bound.QUOTA)
        if account.requests and (
            account.requests >= room.requests
            or account.rows + rows > room.rows
            or account.size_bytes + size_bytes > room.size_bytes
        ):
            raise Overloaded("the server is overloaded, and its caller holds his share of it", Bound.SHARE)
        amounts = ((account.requests_bucket, 1, "requests"), (account.rows_bucket, rows, "rows"))
        for bucket, amount, unit in amounts:
            wait_s = bucket.wait_s(now, amount) if bucket is not None else 0.0
            if bucket is not None and wait_s:
                more = f", {amount} at once exceed it" if wait_s == Overloaded.NEVER else ""
                raise Overloaded(
                    f"the quota of {bucket.rate:g} {unit} a second is used up{more}", Bound.QUOTA, retry_after_s=wait_s
                )
        for bucket, amount, _unit in amounts:
            if bucket is not None:
                bucket.take(amount)
        account.requests += 1
        account.rows += rows
        account.size_bytes += size_bytes
        return name

    def release(self, name: str, rows: int, size_bytes: int) -> None:
        """Count a request out."""
        account = self._accounts[name]
        account.requests -= 1
        account.rows -= rows
        account.size_bytes -= size_bytes
        assert account.requests >= 0, "a request is released once"

    def _account(self, caller: str, now: float) -> tuple[str, _Caller]:
        account = self._accounts.get(caller)
        if account is None:
            if len(self._accounts) >= MOST_CALLERS:
                self._accounts = {name: one for name, one in self._accounts.items() if not one.idle(now)}
            if len(self._accounts) >= MOST_CALLERS and caller not in self._options.quotas:
                caller = _OTHERS
            account = self._accounts.get(caller)
        if account is None:
            account = self._accounts[caller] = _Caller(self._options.quotas.get(caller, self._options.quota), now)
        return caller, account


def _bucket(rate: float, burst_s: float, now: float) -> TokenBucket | None:
    """Return the bucket of a rate, None where that is not limited; one request may always come at once."""
    return TokenBucket(rate, max(rate * burst_s, 1.0), now) if rate else None
