"""The first difference between two JSON values: floats have a tolerance, nothing else has."""

import pytest

from splitgauge.audit.difference import first_difference


def test_equal_values_have_none() -> None:
    value = {"a": [1, 2.5, None, "x", {"b": True}]}

    assert first_difference(value, {"a": [1, 2.5, None, "x", {"b": True}]}) is None


def test_floats_within_the_tolerance_are_floats_only() -> None:
    difference = first_difference({"a": 1.0, "b": 2.0}, {"a": 1.0 + 1e-12, "b": 2.0 + 1e-9})

    assert difference is not None
    assert difference.floats_only
    assert difference.pointer == "/b"


@pytest.mark.parametrize(
    ("recorded", "made"),
    [
        (1.0, 1.0 + 3e-9),
        (0.0, 1e-300),
        (10**15, 10**15 + 1),
        ("1000000000000001", "1000000000000002"),
        (1, 1.0),
        (True, 1),
        (None, 0.0),
        ("promote", "continue"),
        ([1], [1, 2]),
    ],
)
def test_all_else_is_exact(recorded: object, made: object) -> None:
    difference = first_difference({"x": recorded}, {"x": made})

    assert difference is not None
    assert not difference.floats_only


def test_difference_beyond_the_tolerance_is_named_before_those_within() -> None:
    difference = first_difference({"a": 1.0, "b": {"c": 5}}, {"a": 1.0 + 1e-12, "b": {"d": 5}})

    assert str(difference) == "/b/c is 5 in the record and missing made again"
