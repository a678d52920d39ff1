"""What holds of every public function, from one table of them all: refusals, shapes, undefined in and out, extremes."""

import inspect
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError
from statistics_table import BREAKS, EXTREMES, MEASURED, TABLE, result_fields

BY_ELEMENT = sorted(name for name, row in TABLE.items() if row.by_element)
BROKEN = [
    (name, argument, value)
    for name, row in sorted(TABLE.items())
    for argument, (_, kind) in row.given.items()
    for value in BREAKS[kind]
    # Composite arguments hold arrays of numbers by their type.
    if "." not in argument or isinstance(value, float | int)
]
UNDEFINED = [
    (name, argument, value)
    for name in BY_ELEMENT
    for argument in TABLE[name].of_kind(*MEASURED)
    for value in (math.nan, math.inf)
]


def test_every_public_function_has_a_row_with_all_of_its_arguments() -> None:
    public = {name for name in st.__all__ if inspect.isfunction(getattr(st, name))}
    assert set(TABLE) == public
    for name, row in TABLE.items():
        arguments = {argument.split(".")[0] for argument in row.given}
        assert arguments == set(inspect.signature(getattr(st, name)).parameters), name
        row.run()


@pytest.mark.parametrize(("name", "argument", "value"), BROKEN)
def test_what_breaks_the_contract_is_refused_by_name(name: str, argument: str, value: Any) -> None:
    with pytest.raises(ContractError) as caught:
        TABLE[name].run(**{argument: value})
    assert TABLE[name].named.get(argument, argument).endswith(caught.value.where), caught.value.where
    assert caught.value.remedy


@pytest.mark.parametrize("name", BY_ELEMENT)
def test_one_comparison_in_is_one_out(name: str) -> None:
    for field, value in result_fields(TABLE[name].run()).items():
        assert np.shape(value) == (), field


@pytest.mark.parametrize("name", BY_ELEMENT)
def test_none_in_is_none_out(name: str) -> None:
    row = TABLE[name]
    arrays = {argument: np.empty(0) for argument in row.of_kind(*EXTREMES)}
    for field, value in result_fields(row.run(**arrays)).items():
        assert np.shape(value) == (0,), field


@pytest.mark.parametrize("name", BY_ELEMENT)
def test_shapes_that_differ_are_refused_by_name(name: str) -> None:
    row = TABLE[name]
    first, *others = row.of_kind(*EXTREMES)
    for other in others:
        shapes = {first: np.full(2, row.given[first][0]), other: np.full(3, row.given[other][0])}
        with pytest.raises(ContractError, match="shapes do not fit together"):
            row.run(**shapes)


@pytest.mark.parametrize(("name", "argument", "value"), UNDEFINED)
def test_no_number_comes_out_of_nan_or_infinity(name: str, argument: str, value: float) -> None:
    row = TABLE[name]
    for field, result in result_fields(row.run(**{argument: value})).items():
        apart = any(argument.endswith(one) and field.endswith(other) for one, other in row.apart)
        if not apart and field.split(".")[-1] not in row.kept and np.asarray(result).dtype != np.bool_:
            assert not np.isfinite(result), field


@pytest.mark.parametrize("name", BY_ELEMENT)
@settings(max_examples=25)
@given(hs.data())
def test_extremes_give_no_warning_and_each_row_what_it_gives_alone(name: str, data: hs.DataObject) -> None:
    row = TABLE[name]
    chosen = {
        argument: np.array([data.draw(hs.sampled_from(EXTREMES[kind])) for _ in range(3)], dtype=np.float64)
        for argument, (_, kind) in row.given.items()
        if kind in EXTREMES
    }
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        try:
            together = result_fields(row.run(**chosen))
        except ContractError:
            return  # more successes than units, and the like
        alone = [result_fields(row.run(**{a: values[place] for a, values in chosen.items()})) for place in range(3)]
    for field, values in together.items():
        for place in range(3):
            np.testing.assert_allclose(
                np.asarray(alone[place][field], dtype=np.float64),
                np.asarray(values, dtype=np.float64)[place],
                rtol=row.rtol,
                atol=1e-300,
                err_msg=field,
            )
        if field.startswith("p_") or field == "probability_to_beat":
            assert np.all(np.isnan(values) | ((values >= 0) & (values <= 1))), field
        if field == "lower":
            assert not np.any(values > together["upper"]), field
