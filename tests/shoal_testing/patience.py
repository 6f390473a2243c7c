"""More time for the few tests that need it."""

import faulthandler


def wait_up_to(limit_s: float) -> None:
    """Let the running test take so long before all stacks are shown and the process ends.

    What the configuration sets for every test (faulthandler_timeout) starts again with the next. The other limit, that
    of pytest-timeout, has a marker.
    """
    faulthandler.dump_traceback_later(limit_s, exit=True)
