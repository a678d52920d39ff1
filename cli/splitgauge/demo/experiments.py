"""What the demo defines: the workloads and the three experiments, as the documents that a user would send.

Owns margins, durations and policies that fit so short a run, and what is promised of each experiment.
"""

from dataclasses import dataclass
from typing import Any, Literal

from splitgauge.demo.digits import ModelName

__all__ = [
    "BEHAVIOUR",
    "EXPERIMENTS",
    "GOAL",
    "MINIMUM_DURATION_S",
    "MINIMUM_UNITS",
    "Behaviour",
    "DemoExperiment",
    "workload_documents",
]

GOAL = "correct"
"""Whether the digit was the right one, as the application finds out later."""

MINIMUM_UNITS = 100
MINIMUM_DURATION_S = 8.0
_SUCCESS_MARGIN = 0.02
_LATENCY_MARGIN = 0.25
_PLANNED_UNITS = 600
_GUARDRAIL_ALPHA = 0.05
_ALPHA = 0.001
"""At the usual .05 one in twenty of the same-model experiments may be promoted, rightly; this one must not be, ever."""

Outcome = Literal["promote", "roll_back", "keep"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How an endpoint behaves beside answering: the time it takes, and the share of requests it fails."""

    latency_ms: float = 20.0
    failing: float = 0.0


BEHAVIOUR: dict[ModelName, Behaviour] = {
    "tree": Behaviour(),
    "svm": Behaviour(),
    "neighbours": Behaviour(latency_ms=60.0, failing=0.25),
}
"""`neighbours` is the best of them where it answers, but faulty and slow."""


@dataclass(frozen=True, slots=True)
class DemoExperiment:
    """One of the experiments, on a base workload of its own, so that all three run at the same time.

    Attributes:
        id, title: as it is defined; the title says what runs against what.
        base: the workload that callers ask for. It serves the tree until something else is promoted.
        challenger: the challenger's name.
        model: what the challenger runs.
        promise: what has to become of it.
        share: of all requests.
    """

    id: str
    title: str
    base: str
    challenger: str
    model: ModelName
    promise: Outcome
    share: float

    def document(self) -> dict[str, Any]:
        """The body of `POST /api/v1/ab-tests`."""
        return {
            "id": self.id,
            "name": self.title,
            "base_workload_id": self.base,
            "control": "control",
            "variants": [
                {"name": "control", "workload_id": self.base, "traffic_percent": 50},
                {"name": self.challenger, "workload_id": self._runs, "traffic_percent": 50},
            ],
            "metrics": [{"name": GOAL, "kind": "proportion", "level": "request", "denominator": "reports"}],
            "goal": {"metric": GOAL},
            "guardrails": [
                {"metric": "success", "margin": _SUCCESS_MARGIN},
                # A little slower is no reason to go back; slower by more than the margin is.
                {"metric": "latency_ms", "margin": _LATENCY_MARGIN, "roll_back_above": "margin"},
            ],
            "minimum": {"units": MINIMUM_UNITS, "requests": 100, "duration_s": MINIMUM_DURATION_S},
            "planned_units": _PLANNED_UNITS,
            "alpha": _ALPHA,
            "guardrail_alpha": _GUARDRAIL_ALPHA,
            "policy": {"promote": "act"},
        }

    @property
    def _runs(self) -> str:
        """The challenger's workload. The same on both sides means the base itself."""
        return self.base if self.model == "tree" else f"digits-{self.model}"


EXPERIMENTS: tuple[DemoExperiment, ...] = (
    DemoExperiment(
        id="better-model",
        title="Postal codes: support vector machine against shallow tree",
        base="postal-codes",
        challenger="svm",
        model="svm",
        promise="promote",
        share=0.6,
    ),
    DemoExperiment(
        id="faulty-model",
        title="Cheques: good but faulty nearest neighbours against shallow tree",
        base="cheques",
        challenger="neighbours",
        model="neighbours",
        promise="roll_back",
        share=0.15,
    ),
    DemoExperiment(
        id="same-model",
        title="Meter readings: the same tree on both sides (A/A)",
        base="meter-readings",
        challenger="same",
        model="tree",
        promise="keep",
        share=0.25,
    ),
)


def workload_documents(urls: dict[ModelName, str]) -> list[dict[str, Any]]:
    """The bodies of `POST /api/v1/workloads`: what callers ask for, and the challengers' models."""
    bases = [(experiment.base, urls["tree"]) for experiment in EXPERIMENTS]
    challengers = [(f"digits-{model}", urls[model]) for model in BEHAVIOUR if model != "tree"]
    return [{"id": key, "provider": "webhook", "url": url, "timeout_s": 10.0} for key, url in [*bases, *challengers]]
