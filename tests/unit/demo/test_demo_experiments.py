"""What the demo defines is what the contract takes."""

from typing import Any

import pytest

from splitgauge.demo.experiments import EXPERIMENTS, DemoExperiment, workload_documents
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.workload import Workload

URLS: Any = {"tree": "http://127.0.0.1:1", "svm": "http://127.0.0.1:2", "neighbours": "http://127.0.0.1:3"}


def test_workloads_are_valid_and_every_variant_runs_one_of_them() -> None:
    workloads = {Workload.model_validate(document).key for document in workload_documents(URLS)}
    for experiment in EXPERIMENTS:
        specification = ExperimentSpecification.model_validate(experiment.document())
        assert {str(variant.workload_id) for variant in specification.variants} <= workloads
        assert specification.base in workloads


def test_every_base_workload_serves_the_tree_at_first() -> None:
    served = {document["id"]: document["url"] for document in workload_documents(URLS)}
    assert {served[experiment.base] for experiment in EXPERIMENTS} == {URLS["tree"]}


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.id)
def test_margins_and_policy_are_those_that_the_demo_promises(experiment: DemoExperiment) -> None:
    specification = ExperimentSpecification.model_validate(experiment.document())
    assert specification.control_name == "control"
    assert specification.challenger_names == (experiment.challenger,)
    assert specification.goal.metric == "correct"
    assert {guardrail.metric: guardrail.margin for guardrail in specification.guardrails} == {
        "success": 0.02,
        "latency_ms": 0.25,
    }
    assert specification.policy.promote == specification.policy.roll_back == "act"
    assert specification.minimum.units == 100


def test_the_a_a_experiment_runs_the_same_workload_on_both_sides() -> None:
    [same] = [experiment for experiment in EXPERIMENTS if experiment.promise == "keep"]
    variants = ExperimentSpecification.model_validate(same.document()).variants
    assert len({variant.workload_id for variant in variants}) == 1
