"""Whether what is old may be forgotten: not while the clock that says so may be wrong. Parent.

A clock steps while the worker runs (time from the network after a start without it, an operator, a virtual machine that
was resumed), or it is wrong from the start. Either way everything looks old at once, and would be gone.
"""

import time
from collections.abc import Callable

from btworker.logs import get_logger

log = get_logger()
STEP_S = 3600.0
"""Seconds by which wall clock and uptime may drift apart; a clock that is only corrected now and then stays below."""
STEADY_S = 24 * 3600.0
"""Seconds without a step after which a clock is believed again."""
START_DELAY_S = 3600.0
"""Seconds that a start waits where the jobs do not fit the clock: time for the network to set it, or for a person."""
FUTURE_S = 60.0
"""Seconds that a job may be in the future: what a clock is set back by when the machine starts."""


def uptime() -> float:
    """Seconds since the machine started, those of a suspended laptop included; nobody sets this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Expiry:
    """Asked before anything expires. `clock` gives seconds since the epoch, `steady` seconds that never step."""

    def __init__(self, *, clock: Callable[[], float] = time.time, steady: Callable[[], float] = uptime) -> None:
        self._clock = clock
        self._steady = steady
        self._offset_s = clock() - steady()
        self._held_until = steady()
        self._is_held = False

    def look_at(self, newest_at: float | None, *, kept_s: float) -> None:
        """At the start: compare the clock with the newest job (seconds since the epoch), which is kept for `kept_s`."""
        if newest_at is None:
            return
        age_s = self._clock() - newest_at
        if age_s < -FUTURE_S:
            self._hold(START_DELAY_S, f"the newest job is {-age_s / 3600:.1f} h in the future")
        elif age_s > kept_s:
            self._hold(START_DELAY_S, f"the newest job is {age_s / 3600:.1f} h old, so that all would go at once")

    def allowed(self) -> bool:
        """Whether something that looks old may be forgotten now."""
        offset_s = self._clock() - self._steady()
        if abs(step_s := offset_s - self._offset_s) >= STEP_S:
            self._offset_s = offset_s
            self._hold(STEADY_S, f"the clock was set by {step_s / 3600:+.1f} h while the worker ran")
        if self._steady() < self._held_until:
            return False
        if self._is_held:
            self._is_held = False
            log.info("expiry_goes_on")
        return True

    def _hold(self, delay_s: float, why: str) -> None:
        self._held_until = max(self._held_until, self._steady() + delay_s)
        self._is_held = True
        message = (
            f"{why} Nothing expires for {delay_s / 3600:.0f} h; a restart ends that sooner where the clock is right"
        )
        log.warning("expiry_held", hours=delay_s / 3600, message=message)
