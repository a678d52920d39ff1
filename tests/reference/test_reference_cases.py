"""Every recorded result of another library whose method is ours comes out the same, within its tolerance."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reference.adapters import ADAPTERS, LEFT_OUT, NOT_COMPARED, NOT_YET, WRONG_AT_PEER

RECORDED = Path(__file__).with_name("statistics_reference.json")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        path = Path(metafunc.config.getoption("--reference-file", default=None) or RECORDED)
        families: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))["families"]
        cases = [case for family in families.values() for case in family]
        metafunc.parametrize("case", cases, ids=[case["id"] for case in cases])


def _number(value: Any, wrong: Mapping[float, float]) -> Any:
    # Infinities and nan are strings in the file; numpy reads them as it reads numbers.
    numbers = np.asarray(value).astype(np.float64)
    for recorded, right in wrong.items():
        numbers = np.where(numbers == recorded, right, numbers)
    return numbers


def test_result_equals_the_peers(case: dict[str, Any]) -> None:
    method = case["method"]
    if method in LEFT_OUT:
        pytest.skip(f"left out: {LEFT_OUT[method]}")
    if method in NOT_YET:
        pytest.skip(f"not built yet: {method}")
    results = ADAPTERS[method](case["input"])
    if results is None:
        pytest.skip("left out: a variant of the method that is not offered")
    peer = case["peer"]["name"]
    compared = 0
    for name, expected in case["expected"].items():
        if expected is None or (peer, name) in NOT_COMPARED or (expected == "nan" and method == "proportion_fisher"):
            continue
        if method == "proportion_norm" and name.startswith("effect_size_ci"):
            continue  # the peer's interval is pooled; ours is Newcombe's
        # gbstats takes p from 1 - cdf, which has no digits below 1e-16: compare to the digits that it has.
        floor = 1e-14 if peer == "gbstats" and name == "p_value" else 0.0
        actual = np.squeeze(np.asarray(results[name], dtype=np.float64))
        number = np.squeeze(_number(expected, WRONG_AT_PEER.get((peer, method), {})))
        np.testing.assert_allclose(actual, number, rtol=case["rtol"], atol=floor, err_msg=name)
        compared += 1
    assert compared > 0
