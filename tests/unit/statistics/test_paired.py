"""The effect over pairs: against the same done on units, and what pairing is worth."""

from itertools import combinations_with_replacement

import numpy as np
import pytest

from splitgauge import statistics as st
from splitgauge.schemas.errors import ContractError


def summed(units: list[tuple[int, int, int, int]]) -> st.Effect:
    """The effect of units of (m_control, d_control, m_treatment, d_treatment)."""
    places = list(combinations_with_replacement(range(4), 2))
    return st.paired_effect(
        n=[len(units)],
        sums=[[sum(unit[place] for unit in units) for place in range(4)]],
        products=[[sum(unit[a] * unit[b] for unit in units) for a, b in places]],
    )


def world(seed: int, *, units: int, better: float) -> list[tuple[int, int, int, int]]:
    """Users whose tasks differ far more than the arms do; both arms answer the same requests."""
    rng = np.random.default_rng(seed)
    asked = 1 + rng.geometric(0.2, units)
    skill = rng.beta(2, 2, units)
    solved = rng.binomial(asked, skill)
    changed = rng.binomial(asked - solved, better) - rng.binomial(solved, 0.05)
    return [(int(m), int(d), int(m + more), int(d)) for m, d, more in zip(solved, asked, changed, strict=True)]


def test_equals_the_linearised_differences_of_units() -> None:
    units = world(1, units=300, better=0.3)
    m_c, d_c, m_t, d_t = np.array(units, dtype=np.float64).T
    r_c, r_t = m_c.sum() / d_c.sum(), m_t.sum() / d_t.sum()
    residual = (m_t - r_t * d_t) / d_t.mean() - (m_c - r_c * d_c) / d_c.mean()
    found = summed(units)
    assert found.value[0] == pytest.approx(r_t - r_c, rel=1e-12)
    assert found.se[0] == pytest.approx(np.sqrt(np.sum(residual**2) / 299 / 300), rel=1e-12)
    assert (found.df[0], found.n_control[0], found.n_treatment[0]) == (299, 300, 300)


def test_pairs_see_what_two_separate_groups_of_the_same_users_do_not() -> None:
    units = world(2, units=300, better=0.3)
    paired = summed(units)
    rows = np.arange(300)
    apart = st.absolute_effect(
        *(
            st.Arm(cells.n, cells.value, cells.variance / cells.n, cells.n - 1)
            for cells in (
                st.ratios(st.unit_moments(rows, [unit[place] for unit in units], d=[unit[place + 1] for unit in units]))
                for place in (0, 2)
            )
        )
    )
    assert paired.value[0] == pytest.approx(float(apart.value[0]), rel=1e-9)
    assert paired.se[0] < 0.5 * apart.se[0]


def test_equal_arms_are_seldom_told_apart_over_all_looks() -> None:
    """Binomial tolerance: 12 of 100 come about once in 250 where each has 5 %."""
    r2 = st.mixture_variance(1_000, alpha=0.05)
    stopped = 0
    for seed in range(100):
        drawn = world(seed, units=600, better=0.05)
        units = [(t, d, m, d) if index % 2 else (m, d, t, d) for index, (m, d, t, _) in enumerate(drawn)]
        looks = [summed(units[:upto]) for upto in range(50, 601, 50)]
        stopped += any(float(st.two_sided_sequence(one, alpha=0.05, r2=r2).p_value[0]) < 0.05 for one in looks)
    assert stopped < 12


def test_one_unit_and_no_denominator_say_nothing() -> None:
    assert np.isnan(summed([(1, 2, 2, 2)]).se[0])
    assert np.isnan(summed([(0, 0, 0, 0), (0, 0, 0, 0)]).value[0])


def test_impossible_sums_are_refused() -> None:
    with pytest.raises(ContractError, match="impossible"):
        st.paired_effect(n=[2], sums=[(6, 2, 10, 2)], products=[(20, 6, 99, 6, 2, 10, 2, 58, 10, 2)])
