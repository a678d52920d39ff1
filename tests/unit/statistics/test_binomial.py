"""The exact binomial test and its normal form."""

import math

import numpy as np
import pytest
from scipy import stats

from splitgauge.schemas.errors import ContractError
from splitgauge.statistics import share_test


def test_it_is_scipys_on_every_count_of_small_samples() -> None:
    for n in (1, 2, 7, 30):
        for share in (0.5, 0.1, 0.75, 1 / 3):
            right = [float(stats.binomtest(k, n, share).pvalue) for k in range(n + 1)]
            np.testing.assert_allclose(share_test(np.arange(n + 1), n, share).p_value, right, rtol=1e-10)


def test_no_units_say_nothing() -> None:
    for method in ("exact", "normal"):
        found = share_test(0, 0, 0.5, method=method)
        assert np.isnan(found.observed)
        assert float(found.p_value) == 1.0


def test_a_trillion_units_have_a_p_value() -> None:
    p = share_test(5e11 + 1e6, 1e12, 0.5).p_value
    assert float(p) == pytest.approx(2 * stats.norm.sf(2.0), rel=1e-9)


def test_the_correction_takes_half_a_unit_and_never_turns_the_sign() -> None:
    assert float(share_test(5, 10, 0.5, method="normal", continuity=True).p_value) == 1.0
    right = math.erfc(math.sqrt(2.5**2 / 2.5 / 2))  # 8 is 3 away from 5, less a half; the variance is 2.5
    assert float(share_test(8, 10, 0.5, method="normal", continuity=True).p_value) == pytest.approx(right, rel=1e-12)


def test_more_than_all_is_refused() -> None:
    with pytest.raises(ContractError) as caught:
        share_test(3, 2, 0.5)
    assert caught.value.where == "count"
