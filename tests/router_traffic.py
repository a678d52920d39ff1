"""Observations as routers write them, ids and all, and everything that may be wrong with them: for the fold's engines.

Each event follows from a chance and the story before it. Some of a story is calm, so that there is something to take in
many at a time; the rest is what a log holds that nobody looked after for years.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal, NamedTuple, cast
from uuid import UUID

import orjson

from fold_stories import MINUTE, START, Decisions, unit_id
from splitgauge.schemas.envelope import SOURCES, EventType, wrap
from splitgauge.schemas.identifiers import live_event_id
from splitgauge.schemas.instants import to_text

__all__ = [
    "DECISIONS",
    "Given",
    "Kind",
    "Traffic",
    "broken",
    "given",
    "observation",
    "of_ids",
    "request_id",
    "rewritten",
]

HOUR = 60 * MINUTE
DAY = 24 * HOUR

METRICS: list[dict[str, Any]] = [
    {"name": "rating", "cap": 5},
    {"name": "bought", "kind": "proportion", "level": "unit", "fold": "any"},
    {"name": "best", "level": "unit", "fold": "max", "scale": 100},
    {"name": "clicks", "denominator": "requests", "scale": 1},
    {"name": "huge", "scale": 1},
    {"name": "wait", "kind": "quantile", "quantile": 0.9},
    {"name": "fast", "kind": "proportion", "source": "latency_ms", "under": 12.345678},
]
KNOWN_BEFORE = [{"name": "rating", "covariate": {"attribute": "age", "default": 2}}]


def _decisions() -> Decisions:
    decisions = Decisions()
    decisions.start("calm")
    decisions.start("days", metrics=METRICS, attribution_window_s=4 * 86_400, goal={"metric": "clicks"})
    decisions.start("aged", metrics=KNOWN_BEFORE, keep_s=7_200)
    decisions.start("short", metrics=METRICS, keep_s=1_800, goal={"metric": "success"})
    decisions.reweight("calm", 2, 1)
    decisions.complete("short")
    decisions.reweight("days", 1, 3)
    return decisions


DECISIONS = _decisions()
_UUID_LENGTH = 36

FIRST_SEEN = 13
"""All four experiments run, each in its first epoch."""

EXPERIMENTS = ("calm", "calm", "calm", "days", "days", "aged", "short", None)
CALLERS = (None, "app", "batch", "a" * 300, "", "späti", 'with "quotes"')
REASONS = ("split",) * 8 + ("forced", "holdout", "outside", "default")
STATUSES = ("complete",) * 4 + ("upstream_error", "timeout", "breaker_open", "client_gone", "too_large")
VALUES: dict[str, Sequence[str]] = {
    "success": ["true", "false", "null", "1"],
    "latency_ms": [
        "12.345678", "12.345679", "100", "0", "-0.0", "-0", "1e5", "1E-7", "27.111917696952794", "0.1", "1.5e+3",
        "123456789.12345678", "9007199254.740991", "9007199254.740993", "8998192055.486", "8998192055.487", "-1.5",
        "1e300", "1e999", "null", "01", "1.", "0.30000000000000004", "900719925.4740993111", "4.35", "2e-22", "1e-400",
    ],
    "ttft_ms": ["1.5", "0.000001", "5e-7", "2.5e-6", "null", "1e15", "3"],
    "input_tokens": ["0", "5", "9007199254740991", "9007199254740992", "8998192055486250", "-5", "5.0", "1e3", "null"],
    "cached_input_tokens": ["3", "null"],
    "output_tokens": ["100000", "7", "true"],
    "cost": ["0.25", "1e-12", "1e9", "0.00123456789012345678", "null", "-0.25", '"1"'],
}  # fmt: skip
USUAL: dict[str, Sequence[str]] = {
    "success": ["true", "false"],
    "latency_ms": ["12.345678", "27.111917696952794", "812.6171875", "1e2", "0.30000000000000004"],
    "ttft_ms": ["1.5", "99.000000000000014"],
    "input_tokens": ["5", "1200"],
    "output_tokens": ["80"],
    "cost": ["0.25", "0.00123456789012345"],
}
REPORTED: dict[str, Sequence[Any]] = {
    "rating": [0, 1.5, 9, 1e300],
    "bought": [True, False],
    "best": [-1.5, 0.125, 3],
    "clicks": [0, 1, 2],
    "huge": [2**53 - 1, 1 - 2**53, 2**53],
    "wait": [0, -0.0, 12.5],
    "nonsense": [1],
}


class Given(NamedTuple):
    """What an assignment and its outcome say alike, and when it was."""

    data: dict[str, Any]
    at: int


def of_ids(chance: Random) -> str:
    """A UUID as routers write it."""
    return str(UUID(int=chance.getrandbits(128)))


def request_id(name: str) -> str:
    """A UUID that follows from a name."""
    return str(UUID(unit_id(name)))


def given(request: str, unit: str, variant: str | None = "control", *, at: int = START, **fields: Any) -> Given:
    """A live split request in epoch 1 of the experiment `calm`, unless said otherwise."""
    data: dict[str, Any] = {
        "workload": "base",
        "request_id": request,
        "unit_id": unit,
        "reason": "split",
        "decisions_offset": FIRST_SEEN,
        "experiment_id": "calm",
        "epoch": 1,
        "variant": variant,
        **fields,
    }
    return Given({name: value for name, value in data.items() if value is not None}, at)


Kind = Literal["assignment", "outcome", "report"]


def observation(
    kind: Kind, of: Given, fields: dict[str, Any] | None = None, *, event_id: str | None = None, **attributes: Any
) -> bytes:
    """The event of a kind, with more or other `fields`. Outcomes are complete, and without metrics to begin with."""
    data = dict(of.data)
    if kind == "outcome":
        data |= {"assigned_at": to_text(of.at), "status": "complete", "metrics": {}}
    data |= fields or {}
    return wrap(
        orjson.dumps(data),
        type=cast("EventType", f"splitgauge.{kind}.v1"),
        id=event_id or _event_id(of.data["request_id"], kind),
        source=attributes.pop("source", SOURCES["router"]),
        time=attributes.pop("time", to_text(of.at)),
        key=data.get("unit_id", ""),
        instance="r1",
        **attributes,
    )


def _event_id(request: str, kind: Kind) -> str:
    return live_event_id(request, kind) if len(request) == _UUID_LENGTH else f"{request}/{kind}"


class Traffic:
    """A story of one partition that goes on for as long as it is asked to.

    Attributes:
        events: what has been written.
        odd: the share of what is not as it should be.
    """

    def __init__(self, seed: int, *, odd: float = 0.2) -> None:
        self.events: list[bytes] = []
        self.odd = odd
        self._chance = chance = Random(seed)
        self._now = START + chance.choice([0, 9 * HOUR, 10 * HOUR])  # or shortly before midnight
        self._seen = chance.choice([FIRST_SEEN, FIRST_SEEN, 4])
        self._units = [unit_id(f"u{number}") for number in range(chance.choice([3, 8, 60]))]
        self._callers = [None, *chance.sample(CALLERS, 2)]
        self._experiments = chance.sample(EXPERIMENTS, chance.choice([1, 3]))
        self._open: list[Given] = []
        self._all: list[Given] = []
        self._steps: list[tuple[int, Callable[[], bytes]]] = [
            (40, self._assignment),
            (40, self._outcome),
            (7, self._report),
            (4, self._again),
        ]

    def go_on(self, n_events: int) -> list[bytes]:
        """The events so far, and as many more."""
        chance = self._chance
        weights = [weight for weight, _ in self._steps]
        while len(self.events) < n_events:
            self._now += chance.choice([1, 1_000, 1_000, 900_000])
            if chance.random() < 0.01:
                self._something_happens()
            _, step = chance.choices(self._steps, weights)[0]
            event = step()
            if chance.random() < self.odd / 10:
                event = chance.choice([rewritten, broken])(event, chance)
            self.events.append(event)
        return self.events

    def _is_odd(self, share: float = 1.0) -> bool:
        return self._chance.random() < self.odd * share

    def _something_happens(self) -> None:
        chance = self._chance
        happens = chance.choice(["time", "time", "hours", "back", "decision", "units"])
        if happens == "time":
            self._now += chance.choice([11 * MINUTE, 16 * MINUTE, 55 * MINUTE])
        elif happens == "hours":
            for _ in range(chance.choice([3, 12, 75])):
                self._now += HOUR
                self.events.append(observation("assignment", self._new(experiment_id=None, epoch=None, variant=None)))
        elif happens == "back":
            self._now -= chance.choice([1, 7 * MINUTE, 70 * MINUTE])
        elif happens == "decision":
            self._seen = min(self._seen + chance.choice([1, 9]), DECISIONS.end)
        else:
            self._units = [*self._units, unit_id(f"more{len(self.events)}")]

    def _new(self, *, at: int | None = None, **fields: Any) -> Given:
        chance = self._chance
        unit = chance.choice(self._units) if chance.random() < 0.6 else f"{chance.getrandbits(128):032x}"
        of = given(of_ids(chance), unit, at=self._now if at is None else at, decisions_offset=self._seen)
        return Given({name: value for name, value in {**of.data, **fields}.items() if value is not None}, of.at)

    def _assignment(self) -> bytes:
        chance = self._chance
        experiment = chance.choice(self._experiments)
        fields: dict[str, Any] = {"experiment_id": experiment, "caller": chance.choice(self._callers)}
        fields["epoch"] = None if experiment is None else 1
        if self._is_odd():
            fields["epoch"] = chance.choice([None, 1, 2, 2, 3, -1, 10**17])
        if self._is_odd():
            fields["reason"] = chance.choice(REASONS)
        of = self._new(**fields)
        # Of half the units one knows what they get: the others cross over now and then.
        sure = of.data["unit_id"] < "8" or not self._is_odd()
        of.data["variant"] = ["control", "challenger"][(hash_of(of.data["unit_id"]) if sure else chance.random() < 0.5)]
        if self._is_odd():
            of = self._odd(of)
        self._all.append(of)
        self._open.append(of)
        return observation("assignment", of, self._extras())

    def _odd(self, of: Given) -> Given:
        chance = self._chance
        choices: list[dict[str, Any]] = [
            {"variant": None},
            {"variant": "nobody"},
            {"mode": "shadow"},
            {"mode": "shadow", "reason": "forced", "caller": "shadow"},
            {"own_unit": True},
            {"unit_id": of.data["unit_id"].upper()},
            {"unit_id": "somebody"},
            {"request_id": of.data["request_id"].upper()},
            {"request_id": f"{len(self.events)}"},
            {"request_id": chance.choice(self._all or [of]).data["request_id"]},
            {"experiment_id": "nowhere"},
            {"reason": "forced", "epoch": None},
            {"reason": "forced", "epoch": -1},
            {"covariates": {"age": chance.choice([41.5, 3, 1e300])}},
            {"decisions_offset": chance.choice([0, 4, 7, FIRST_SEEN + 1, DECISIONS.end])},
            {"caller": f"app{chance.randrange(5)}"},
        ]
        return Given({**of.data, **chance.choice(choices)}, of.at + chance.choice([0, 0, 4 * DAY, -4 * DAY]))

    def _extras(self) -> dict[str, Any]:
        if not self._is_odd(0.3):
            return {}
        return self._chance.choice(
            [
                {"slot": 17},
                {"extra": {"nested": [1, {"deeper": [None, True, -1.5e3, "x"]}, []]}},
                {"own_unit": False},
                {"covariates": {}},
                {"mode": "live"},
                {"status": "complete", "metrics": {"latency_ms": "no number"}},
                {"assigned_at": 5},
            ]
        )

    def _outcome(self) -> bytes:
        chance = self._chance
        if not self._open:
            return self._assignment()
        of = self._open.pop(chance.randrange(len(self._open)) if chance.random() < 0.5 else 0)
        if self._is_odd(0.5):
            of = chance.choice(self._all)
        elif self._is_odd(0.3):
            self._all.append(of := self._new(caller=chance.choice(self._callers)))  # before its assignment
            self._open.append(of)
        pool = VALUES if self._is_odd() else USUAL
        measured = {
            name: orjson.Fragment(chance.choice(texts).encode())
            for name, texts in pool.items()
            if chance.random() < 0.7
        }
        fields: dict[str, Any] = {"status": chance.choice(STATUSES), "metrics": measured}
        if self._is_odd(0.3):
            fields |= chance.choice(
                [
                    {"variant": "challenger"},
                    {"epoch": 2},
                    {"unit_id": chance.choice(self._units)},
                    {"caller": "another"},
                    {"reason": "holdout"},
                    {"assigned_at": to_text(of.at + 1)},
                    {"assigned_at": "yesterday"},
                    {"mode": "shadow"},
                    {"metrics": {**measured, "more": {"latency_ms": [1]}}},
                    {"own_unit": True, "covariates": "none"},
                ]
            )
        data = {name: value for name, value in of.data.items() if name not in {"own_unit", "covariates"}}
        return observation("outcome", Given(data, of.at), {**fields, **self._extras()})

    def _report(self) -> bytes:
        chance = self._chance
        metrics = {name: chance.choice(values) for name, values in REPORTED.items() if chance.random() < 0.4}
        data: dict[str, Any] = {"metrics": metrics, "received_at": to_text(self._now), "decisions_offset": self._seen}
        if self._all and chance.random() < 0.5:
            held = chance.choice(self._all).data
            data |= {name: held[name] for name in ("unit_id", "request_id", "experiment_id", "epoch") if name in held}
        else:
            unit = chance.choice(self._units) if chance.random() < 0.7 else unit_id(f"more{len(self.events) + 20}")
            data |= {"unit_id": unit, "experiment_id": chance.choice([*EXPERIMENTS, "nowhere"])}
        return observation("report", Given(data, self._now), event_id=of_ids(chance))

    def _again(self) -> bytes:
        chance = self._chance
        if not self.events:
            return self._assignment()
        return chance.choice(self.events[-40:] if chance.random() < 0.5 else self.events)


def hash_of(unit: str) -> bool:
    """The variant that a unit gets, as one bit."""
    return unit[-1:].lower() in {"1", "3", "5", "7", "9", "b", "d", "f"}


def rewritten(event: bytes, chance: Random) -> bytes:
    """The same, or nearly, in other words: what JSON allows."""
    way = chance.choice(["spaces", "order", "type last", "twice", "escape", "behind", "lines", "source", "id"])
    if way == "spaces":
        return event.replace(b'":', b'" : ', chance.choice([1, 5, -1]))
    if way == "behind":
        return event + chance.choice([b" ", b"\n", b"}", b"x", b"\0", event])
    if way == "lines":
        return chance.choice([b"\n" + event, event.replace(b",", b",\n")])
    if way == "escape":
        return event.replace(chance.choice([b"control", b"unit_id", b"complete", b"app"]), b"\\u0061pp", 1)
    if way == "source":
        return event.replace(b"/splitgauge/router", b"/splitgauge/console", 1)
    if way == "id":
        return event.replace(b'"id":"', b'"id":"' + chance.choice([b"x", b"-"]), 1)
    if way == "twice":
        name = chance.choice([b'"epoch":1', b'"variant":"challenger"', b'"type":"splitgauge.outcome.v1"', b'"data":{}'])
        place = chance.choice([b'"data":{', b'{"specversion"'])
        return event.replace(place, name.join([place[:1], b","]) + place[1:] if place[:1] == b"{" else place, 1)
    try:
        attributes = list(orjson.loads(event).items())
    except (orjson.JSONDecodeError, AttributeError):
        return event
    if way == "order":
        chance.shuffle(attributes)
    else:
        attributes.sort(key=lambda attribute: attribute[0] == "type")
    return orjson.dumps(dict(attributes))


def broken(event: bytes, chance: Random) -> bytes:
    """With a few bytes that are others, missing or too many."""
    place = chance.randrange(max(1, len(event)))
    way = chance.choice(["byte", "byte", "cut", "less", "more", "digits"])
    if way == "cut":
        return event[:place]
    if way == "less":
        return event[:place] + event[place + chance.choice([1, 1, 2, 9]) :]
    if way == "more":
        return (
            event[:place] + chance.choice([b'"', b"\\", b"0", b"}", b" ", b"\xff", b",", "é".encode()]) + event[place:]
        )
    if way == "digits":
        number = chance.choice([b"1e5", b"00", b"1" * 19, b"-1", b"1.0", b"9" * 400, b"1E-7", b"null", b"true"])
        return event.replace(b":1,", b":" + number + b",", 1)
    return event[:place] + bytes([chance.choice([*b'0129aAzZ"\\{}[]:,.-+eE ntf', 0, 255])]) + event[place + 1 :]
