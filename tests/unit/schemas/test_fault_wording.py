"""What is wrong with a document is said in plain words, and numbers are numbers."""

from typing import Any

import pytest
from pydantic import BaseModel, Field

from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.validation import InvalidError, validated
from splitgauge.schemas.workload import Workload

EXPERIMENT: dict[str, Any] = {
    "name": "x",
    "base_workload_id": "base",
    "variants": [{"name": name, "workload_id": "base", "weight": 1} for name in ("control", "challenger")],
}
WORKLOAD: dict[str, Any] = {"id": "base", "provider": "webhook", "url": "http://127.0.0.1:9/"}


def faults(model: type[BaseModel], value: object) -> list[tuple[str, str]]:
    with pytest.raises(InvalidError) as refused:
        validated(model, value)
    return [(error["where"], error["detail"]) for error in refused.value.errors]


@pytest.mark.parametrize(
    ("changes", "where", "words"),
    [
        ({"alpha": "0.05"}, "/alpha", "has to be a number, not text"),
        ({"alpha": True}, "/alpha", "has to be a number, not true"),
        ({"alpha": 0}, "/alpha", "has to be above 0, not 0"),
        ({"alpha": 0.5}, "/alpha", "has to be below 0.5, not 0.5"),
        ({"power": None}, "/power", "has to be a number, not null"),
        ({"planned_units": True}, "/planned_units", "has to be a whole number, not true"),
        ({"planned_units": "5000"}, "/planned_units", "has to be a whole number, not text"),
        ({"planned_units": 5000.5}, "/planned_units", "has to be a whole number, not 5000.5"),
        ({"planned_units": 10**400}, "/planned_units", "has to be at most 1000000000000000"),
        ({"base_workload_id": 10**400}, "/base_workload_id", "has to be at most 9007199254740991"),
        ({"planned_units": 19}, "/planned_units", "has to be at least 20, not 19"),
        ({"minimum": {"duration_s": "5"}}, "/minimum/duration_s", "has to be a number, not text"),
        ({"minimum": {"duration_s": float("inf")}}, "/minimum/duration_s", "has to be a finite number"),
        ({"minimum": 5}, "/minimum", "has to be an object with named fields, not 5"),
        ({"policy": {"promote": True}}, "/policy/promote", "has to be one of 'act', 'recommend' or 'off', not true"),
        (
            {"policy": {"promote_from_partial_coverage": "yes"}},
            "/policy/promote_from_partial_coverage",
            "has to be true or false, not text",
        ),
        ({"metrics": {}}, "/metrics", "has to be a list, not an object"),
        ({"metrics": [{"name": "a", "cap": "9"}]}, "/metrics/0/cap", "has to be a number, not text"),
        ({"ramp": {"steps": [{"share": True}]}}, "/ramp/steps/0/share", "has to be a number, not true"),
        ({"group_sequential": {"looks": ["1"]}}, "/group_sequential/looks/0", "has to be a number, not text"),
        ({"variants": []}, "/variants", "has to have at least 2 entries; it has 0"),
        ({"name": 5}, "/name", "has to be text, not 5"),
        ({"name": "x" * 201}, "/name", "has to be at most 200 characters long"),
        ({"base_workload_id": {}}, "/base_workload_id", "has to be a whole number, or text, not an object"),
        ({"base_workload_id": "-"}, "/base_workload_id", "has to match ^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"),
        ({"gaol": {}}, "/gaol", "unknown field"),
    ],
)
def test_an_experiment_that_is_wrong_in_one_place(changes: dict[str, Any], where: str, words: str) -> None:
    assert faults(ExperimentSpecification, {**EXPERIMENT, **changes}) == [(where, words)]


@pytest.mark.parametrize(
    ("changes", "where", "words"),
    [
        ({"timeout_s": "5"}, "/timeout_s", "has to be a number, not text"),
        ({"timeout_s": True}, "/timeout_s", "has to be a number, not true"),
        ({"price": {"per_request": "5"}}, "/price/per_request", "has to be a number, not text"),
        ({"headers": {"x-a": 5}}, "/headers/x-a", "has to be text, not 5"),
    ],
)
def test_a_workload_that_is_wrong_in_one_place(changes: dict[str, Any], where: str, words: str) -> None:
    assert faults(Workload, {**WORKLOAD, **changes}) == [(where, words)]


def test_what_is_missing_and_what_is_no_object() -> None:
    missing = "is missing, and has no default"
    assert faults(ExperimentSpecification, {}) == [
        (where, missing) for where in ("/name", "/base_workload_id", "/variants")
    ]
    assert faults(Workload, "secret") == [("", "has to be an object with named fields, not text")]


def test_whole_numbers_are_numbers() -> None:
    made = validated(Workload, {**WORKLOAD, "timeout_s": 5})
    assert made.timeout_s == 5.0


def test_no_fault_of_a_specification_is_said_in_the_words_of_the_library() -> None:
    """Every kind of constraint that specifications use, each broken."""

    class Everything(BaseModel, strict=True):
        number: float = Field(ge=0, le=1, allow_inf_nan=False)
        text: str = Field(min_length=2, max_length=3, pattern="^a")

    numbers: list[Any] = [-1, 2, float("nan"), "1", [], {}, None, True]
    texts: list[Any] = ["", "aaaa", "b", 1, None, [], {}, "\ud800"]
    for value in numbers:
        for text in texts:
            for _, words in faults(Everything, {"number": value, "text": text}):
                assert words.startswith("has to ")
