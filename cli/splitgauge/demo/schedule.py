"""Who asks for what, when, and when the application finds out whether the answer was right. A function of the seed.

Owns the shape of the traffic: very unequal users, two ways in, and reports that are late, repeated and out of order.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from splitgauge.demo.experiments import EXPERIMENTS

__all__ = ["RATE_PER_S", "USERS", "PlannedRequest", "probes", "schedule"]

USERS = 630
"""A few of them are so quiet that a run does not see them: some 600 come."""
RATE_PER_S = 240.0

_ACTIVITY_SIGMA = 1.2
"""Of the log-normal that users' activity is drawn from: the busiest tenth sends about half of all requests."""
_BY_EVENT = 0.1
_LATE = 0.08
_TWICE = 0.05
_SOON_S = 0.3
_LATE_S = (3.0, 7.0)


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request of the upstream application.

    Attributes:
        at_s: when it is sent, from the beginning.
        image: index among the images that are traffic.
        by_event: as a request event through the log instead of HTTP.
        report_after_s: how long after the answer the application reports; again where there are two; never: none.
    """

    number: int
    at_s: float
    user: str
    workload: str
    image: int
    by_event: bool
    report_after_s: tuple[float, ...]

    @property
    def late(self) -> bool:
        """Whether its report comes long after those of later requests."""
        return bool(self.report_after_s) and self.report_after_s[0] >= _LATE_S[0]


def schedule(*, seed: int, requests: int, images: int, first: int = 0) -> Iterator[PlannedRequest]:
    """`requests` of them, in the order in which they are sent, numbered from `first` on."""
    chance = random.Random(seed)  # noqa: S311 - makes traffic, guards nothing
    users = [f"user-{number:03d}" for number in range(USERS)]
    activity = list(accumulate(chance.lognormvariate(0, _ACTIVITY_SIGMA) for _ in users))
    workloads = [experiment.base for experiment in EXPERIMENTS]
    shares = list(accumulate(experiment.share for experiment in EXPERIMENTS))
    at_s = 0.0
    for number in range(first, first + requests):
        at_s += chance.expovariate(RATE_PER_S)
        yield PlannedRequest(
            number=number,
            at_s=at_s,
            user=chance.choices(users, cum_weights=activity)[0],
            workload=chance.choices(workloads, cum_weights=shares)[0],
            image=chance.randrange(images),
            by_event=chance.random() < _BY_EVENT,
            report_after_s=_reports(chance),
        )


def probes(workload: str, *, requests: int, images: int, first: int) -> Iterator[PlannedRequest]:
    """Requests of as many users, all over HTTP and without a report: who answers them?"""
    for number in range(first, first + requests):
        yield PlannedRequest(
            number,
            number / RATE_PER_S - first / RATE_PER_S,
            f"user-{number % USERS:03d}",
            workload,
            number % images,
            by_event=False,
            report_after_s=(),
        )


def _reports(chance: random.Random) -> tuple[float, ...]:
    first = chance.uniform(*_LATE_S) if chance.random() < _LATE else _SOON_S
    again = (first + chance.uniform(0.2, 2.0),) if chance.random() < _TWICE else ()
    return (first, *again)
