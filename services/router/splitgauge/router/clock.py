"""Time as the router's shell gets it, handed in so that tests and simulations own it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SYSTEM_CLOCK", "Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    """Two clocks.

    Attributes:
        now_us: wall clock, microseconds since 1970; what events are stamped with.
        monotonic_s: never goes back; what durations are measured with.
    """

    now_us: Callable[[], int]
    monotonic_s: Callable[[], float]


SYSTEM_CLOCK = Clock(lambda: time.time_ns() // 1_000, time.perf_counter)
