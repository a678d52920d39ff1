"""The examples are what `splitgauge apply` takes, and show what they say."""

from pathlib import Path

import pytest

from splitgauge.cli.documents import read_documents
from splitgauge.schemas.experiment import ExperimentSpecification

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


def experiment(name: str) -> ExperimentSpecification:
    [found] = [path for path in EXAMPLES if path.stem == name]
    *_, last = read_documents(found)
    assert isinstance(last.definition, ExperimentSpecification)
    return last.definition


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_in_order(path: Path) -> None:
    documents = read_documents(path)

    assert [one.kind for one in documents[:-1]] == ["workload"] * (len(documents) - 1)
    assert (documents[-1].kind, documents[-1].activate) == ("experiment", False)


def test_example_of_a_covariate() -> None:
    made = experiment("spend-with-covariate")

    covariate = made.all_metrics[made.goal.metric].covariate
    assert covariate is not None
    assert covariate.attribute == "spent_last_month"
    assert made.engine_of("returned") == "rare"


def test_example_of_planned_looks() -> None:
    made = experiment("planned-looks")

    assert made.engine_of(made.goal.metric) == "group_sequential"
    assert made.planned_looks.looks == (0.25, 0.5, 0.75, 1.0)
