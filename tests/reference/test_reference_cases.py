"""Every recorded result of another library whose method is ours comes out the same, within its tolerance."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from reference.adapters import ADAPTERS, NOT_COMPARED, NOT_YET, WRONG_AT_PEER, left_out, understood

RECORDED = Path(__file__).with_name("statistics_reference.json")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        path = Path(metafunc.config.getoption("--reference-file", default=None) or RECORDED)
        families: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))["families"]
        cases = [case for family in families.values() for case in family]
        metafunc.parametrize("case", cases, ids=[case["id"] for case in cases])


class Given(Mapping[str, Any]):
    """The input of a case, which remembers what nobody read: a key that is not understood may change the result."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = {key: self._given(value) for key, value in content.items()}
        self._unread = set(content)

    def __getitem__(self, key: str) -> Any:
        self._unread.discard(key)
        return self._content[key]

    def __contains__(self, key: object) -> bool:
        return key in self._content

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    @classmethod
    def _given(cls, value: Any) -> Any:
        return cls(cast("dict[str, Any]", value)) if isinstance(value, dict) else value

    def unread(self) -> set[str]:
        """Keys nobody asked for; of an inner mapping that was read, as `key.key`."""
        read = {key: value for key, value in self._content.items() if key not in self._unread}
        inner = {f"{key}.{rest}" for key, value in read.items() if isinstance(value, Given) for rest in value.unread()}
        return self._unread | inner


def _number(value: Any, wrong: Mapping[float, float]) -> Any:
    # Infinities and nan are strings in the file; numpy reads them as it reads numbers.
    numbers = np.asarray(value).astype(np.float64)
    for recorded, right in wrong.items():
        numbers = np.where(numbers == recorded, right, numbers)
    return numbers


def test_result_equals_the_peers(case: dict[str, Any]) -> None:
    method, peer = case["method"], case["peer"]["name"]
    if reason := left_out(method):
        pytest.skip(f"left out: {reason}")
    if method in NOT_YET:
        pytest.skip(f"not built yet: {method}")
    assert method in ADAPTERS, (
        f"{case['id']}: unknown method {method!r}: add it to ADAPTERS or, with a reason, LEFT_OUT"
    )
    given = Given(case["input"])
    results = ADAPTERS[method](given)
    if results is None:
        pytest.skip("left out: a variant of the method that is not offered")
    unknown = sorted(key for key in given.unread() if not understood(method, key))
    assert not unknown, f"{case['id']}: the adapter of {method} does not know the input {unknown}"
    compared = 0
    for name, expected in case["expected"].items():
        if expected is None or (peer, name) in NOT_COMPARED or (expected == "nan" and method == "proportion_fisher"):
            continue
        if method == "proportion_norm" and name.startswith("effect_size_ci"):
            continue  # the peer's interval is pooled; ours is Newcombe's
        assert name in results, f"{case['id']}: the adapter of {method} gives no {name!r}, only {sorted(results)}"
        # gbstats takes p from 1 - cdf, which has no digits below 1e-16: compare to the digits that it has.
        floor = 1e-14 if peer == "gbstats" and name == "p_value" else 0.0
        actual = np.squeeze(np.asarray(results[name], dtype=np.float64))
        number = np.squeeze(_number(expected, WRONG_AT_PEER.get((peer, method), {})))
        np.testing.assert_allclose(actual, number, rtol=case["rtol"], atol=floor, err_msg=name)
        compared += 1
    assert compared > 0, f"{case['id']}: nothing that {peer} gives is compared"
