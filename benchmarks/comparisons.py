"""Speed of the statistics on given aggregates, against tea-tasting and against numpy's own lower bound in the same run.

The engines: z, Welch, the asymptotic sequences one- and two-sided, the normal posterior and the sample ratio, with
everything from the aggregates on (arms, effect), on many comparisons at once and on a single one. The lower bound is
the bare arithmetic of the same formulas on arrays that are known to be good. tea-tasting analyzes one comparison at a
time, and has z, Welch and a sample ratio at a fixed horizon. The exact engines stand apart: they add up tables, search
roots or integrate.

    python benchmarks/comparisons.py [--comparisons 5000] [--rounds 20]
"""
# pyright: reportMissingTypeStubs=false
# tea-tasting comes without types.

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tea_tasting as tea
from scipy import special
from tea_tasting.aggr import Aggregates

from splitgauge import statistics as st

Array = npt.NDArray[np.float64]

ALPHA = 0.05
PLANNED = 5_000
LOOKS = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
MANY_MS = 10.0
ONE_US = 150.0


class Sample(NamedTuple):
    """What is known of every comparison before an engine sees it, shape (comparisons,)."""

    n_c: Array
    n_t: Array
    rate_c: Array
    rate_t: Array
    mean_c: Array
    mean_t: Array
    var_c: Array
    var_t: Array


def sample(size: int) -> Sample:
    """Rates near 10 %, means near 10 with a spread of 5, about 1,000 units an arm."""
    chance = np.random.default_rng(7)
    n_c, n_t = (chance.integers(800, 1_200, size).astype(np.float64) for _ in range(2))
    rates = (chance.binomial(n.astype(np.int64), 0.1) / n for n in (n_c, n_t))
    means = (chance.normal(10.0, 0.2, size) for _ in range(2))
    variances = (chance.uniform(20.0, 30.0, size) for _ in range(2))
    return Sample(n_c, n_t, *rates, *means, *variances)


def one_of(given: Sample) -> Sample:
    """The first comparison by itself, as plain numbers."""
    return Sample(*(column[0] for column in given))


class Tuning(NamedTuple):
    """What is fixed before the first unit."""

    two_sided: Array
    one_sided: Array


def tuning() -> Tuning:
    """r^2 of both sequences."""
    return Tuning(st.mixture_variance(PLANNED, alpha=ALPHA), st.mixture_variance(PLANNED, alpha=ALPHA, sides=1))


def ours(given: Sample, r2: Tuning) -> dict[str, Callable[[], Any]]:
    """Every engine through the public functions."""
    rates = (st.arm(n, p, p * (1 - p)) for n, p in ((given.n_c, given.rate_c), (given.n_t, given.rate_t)))
    means = (st.arm(*arm) for arm in _arms(given))
    by_rate, by_mean = st.absolute_effect(*rates), st.absolute_effect(*means)
    seen = np.stack([given.n_c, given.n_t], axis=-1)[None]
    return {
        "arms and effect": lambda: st.absolute_effect(*(st.arm(*arm) for arm in _arms(given))),
        "z": lambda: st.z_test(by_rate, alpha=ALPHA),
        "Welch": lambda: st.welch_test(by_mean, alpha=ALPHA),
        "two-sided sequence": lambda: st.two_sided_sequence(by_mean, alpha=ALPHA, r2=r2.two_sided),
        "one-sided sequences": lambda: st.one_sided_sequence(by_mean, alpha=ALPHA, r2=r2.one_sided),
        "normal posterior": lambda: st.normal_posterior(by_mean, alpha=ALPHA),
        "sample ratio": lambda: st.sample_ratio(seen, [0.5, 0.5]),
    }


def _arms(given: Sample) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    return (given.n_c, given.mean_c, given.var_c), (given.n_t, given.mean_t, given.var_t)


def bare(given: Sample, r2: Tuning) -> dict[str, Callable[[], Any]]:
    """The same formulas with nothing around them."""
    n = given.n_c + given.n_t
    by_rate = (
        given.rate_t - given.rate_c,
        np.sqrt(given.rate_c * (1 - given.rate_c) / given.n_c + given.rate_t * (1 - given.rate_t) / given.n_t),
    )
    value, se, df = _bare_effect(given)
    seen = np.stack([given.n_c, given.n_t], axis=-1)
    return {
        "arms and effect": lambda: _bare_effect(given),
        "z": lambda: _bare_z(*by_rate),
        "Welch": lambda: _bare_welch(value, se, df),
        "two-sided sequence": lambda: _bare_two_sided(value, se, n * r2.two_sided),
        "one-sided sequences": lambda: _bare_one_sided(value, se, n * r2.one_sided),
        "normal posterior": lambda: _bare_posterior(value, se),
        "sample ratio": lambda: _bare_sample_ratio(seen, np.array([0.5, 0.5])),
    }


def _bare_effect(given: Sample) -> tuple[Array, Array, Array]:
    v_c, v_t = given.var_c / given.n_c, given.var_t / given.n_t
    df = (v_c + v_t) ** 2 / (v_c * v_c / (given.n_c - 1) + v_t * v_t / (given.n_t - 1))
    return given.mean_t - given.mean_c, np.sqrt(v_c + v_t), df


def _bare_z(value: Array, se: Array) -> tuple[Array, ...]:
    statistic = value / se
    below, half = special.ndtr(-np.abs(statistic)), -special.ndtri(ALPHA / 2) * se
    greater = np.where(statistic > 0, below, 1 - below)
    return statistic, 2 * below, greater, 1 - greater, value - half, value + half


def _bare_welch(value: Array, se: Array, df: Array) -> tuple[Array, ...]:
    statistic = value / se
    below, half = special.stdtr(df, -np.abs(statistic)), -special.stdtrit(df, ALPHA / 2) * se
    greater = np.where(statistic > 0, below, 1 - below)
    return statistic, 2 * below, greater, 1 - greater, value - half, value + half


def _bare_two_sided(value: Array, se: Array, spent: Array) -> tuple[Array, ...]:
    log_root = 0.5 * np.log1p(spent)
    half = se * np.sqrt(2 * (spent + 1) / spent * (log_root - np.log(ALPHA)))
    log_e = spent * (value / se) ** 2 / (2 * (spent + 1)) - log_root
    return half, value - half, value + half, np.exp(-np.maximum(log_e, 0.0)), log_e


def _bare_one_sided(value: Array, se: Array, spent: Array) -> tuple[Array, ...]:
    root = np.sqrt(spent + 1)
    half = se * np.sqrt(2 * (spent + 1) / spent * np.log1p(root / (2 * ALPHA)))
    z = value / se
    y = z * z * spent / (2 * (spent + 1))
    log_e = np.log(2.0) + y + np.log(-np.expm1(-y)) - np.log(root)
    greater, less = np.where(z > 0, log_e, -np.inf), np.where(z < 0, log_e, -np.inf)
    p_values = (np.exp(-np.maximum(side, 0.0)) for side in (greater, less))
    return half, value - half, value + half, *p_values, greater, less


def _bare_posterior(value: Array, se: Array) -> tuple[Array, ...]:
    half, z = -special.ndtri(ALPHA / 2) * se, value / se
    density, upside = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi), special.ndtr(z)
    choosing, staying = se * (density - z * special.ndtr(-z)), se * (density + z * upside)
    return value, se, value - half, value + half, upside, choosing, staying


def _bare_sample_ratio(seen: Array, share: Array) -> tuple[Array, ...]:
    n = seen.sum(axis=-1)
    surprise = (seen * np.log(share)).sum(axis=-1)
    small, large = (_bare_factor(seen, n, k * share, k) for k in (100.0, 10_000.0))
    log_e = np.logaddexp(small, large) - surprise - np.log(2.0)
    return log_e, np.exp(-np.maximum(log_e, 0.0)), n


def _bare_factor(seen: Array, n: Array, prior: Array, k: float) -> Array:
    gained: Array = (special.gammaln(prior + seen) - special.gammaln(prior)).sum(axis=-1)
    return gained + special.gammaln(k) - special.gammaln(k + n)


def peer(given: Sample) -> dict[str, Callable[[], Any]]:
    """tea-tasting on the first comparison, from aggregates."""
    one = one_of(given)
    z, welch, ratio = tea.Mean("rate", use_t=False), tea.Mean("mean"), tea.SampleRatio()
    control, treatment = (
        Aggregates(count_=int(n), mean_={"rate": p, "mean": mean}, var_={"rate": p * (1 - p), "mean": variance})
        for n, p, mean, variance in np.array(
            (
                (one.n_c, one.rate_c, one.mean_c, one.var_c),
                (one.n_t, one.rate_t, one.mean_t, one.var_t),
            )
        ).tolist()
    )
    both: Any = {0: control, 1: treatment}
    return {
        "z": lambda: z.analyze(both, 0, 1, "variant"),
        "Welch": lambda: welch.analyze(both, 0, 1, "variant"),
        "sample ratio": lambda: ratio.analyze(both, 0, 1, "variant"),
    }


def exact(size: int) -> dict[str, tuple[int, Callable[[], Any]]]:
    """The engines that add up, search or integrate: how many comparisons, and the call."""
    chance = np.random.default_rng(7)
    few_c, few_t = (chance.binomial(1_000, 0.01, size) for _ in range(2))
    many_c, many_t = (chance.binomial(10_000, 0.1, 50) for _ in range(2))
    return {
        "Fisher, 1,000 units at 1 %": (
            size,
            lambda: st.proportion_test(1_000, few_c, 1_000, few_t, alpha=ALPHA, method="exact"),
        ),
        "Fisher, 10,000 units at 10 %": (
            50,
            lambda: st.proportion_test(10_000, many_c, 10_000, many_t, alpha=ALPHA, method="exact"),
        ),
        "rate sequence, 1,000 units at 1 %": (size, lambda: st.rate_sequence(1_000, few_c, alpha=ALPHA)),
        "rate-ratio sequence, 1,000 units at 1 %": (
            size,
            lambda: st.rate_ratio_sequence([few_c], [few_t], 0.5, alpha=ALPHA),
        ),
        "beta-binomial posterior, 1,000 units at 1 %": (
            size,
            lambda: st.beta_binomial_posterior(1_000, few_c, 1_000, few_t, alpha=ALPHA),
        ),
        "five group-sequential boundaries": (1, _boundaries(LOOKS)),
        "the same, of fractions not seen before": (1, lambda: _boundaries(LOOKS * chance.uniform(0.9, 1.0))()),
    }


def _boundaries(looks: Array) -> Callable[[], Any]:
    return lambda: st.group_sequential_boundaries(looks, alpha=ALPHA)


def seconds(call: Callable[[], Any], rounds: int) -> float:
    """The best of some rounds after a warm-up, in CPU time: what else the machine does is nobody's speed."""
    call()
    times: list[float] = []
    for _ in range(rounds):
        began = time.process_time_ns()
        call()
        times.append((time.process_time_ns() - began) / 1e9)
    return min(times)


def seconds_of_one(call: Callable[[], Any], rounds: int) -> float:
    """As `seconds`, for calls too short to be timed one by one."""

    def hundred() -> None:
        for _ in range(100):
            call()

    return seconds(hundred, rounds) / 100


def run(size: int, rounds: int) -> int:
    """Print the tables. Returns 1 if a target is missed."""
    given, r2 = sample(size), tuning()
    together, floor = ours(given, r2), bare(given, r2)
    alone, other = ours(one_of(given), r2), peer(given)
    print(f"{'':<44} {f'{size:,} at once':>21} {'one comparison':>28}")
    print(f"{'':<44} {'ms':>8} {'numpy':>6} {'x':>5} {'us':>10} {'tea-tasting':>17}")
    totals = [0.0, 0.0, 0.0, 0.0]
    for name, call in together.items():
        # In turns, so that whatever else the machine does hits all of them alike.
        row = [
            seconds(call, rounds) * 1e3,
            seconds(floor[name], rounds) * 1e3,
            seconds_of_one(alone[name], rounds) * 1e6,
            seconds_of_one(other[name], 3) * 1e6 if name in other else float("nan"),
        ]
        totals = [total + (0.0 if np.isnan(part) else part) for total, part in zip(totals, row, strict=True)]
        _print(name, row)
    _print("all", totals)
    print(f"\n{'exact engines':<44} {'comparisons':>11} {'us each':>9}")
    for name, (count, call) in exact(size // 10).items():
        print(f"{name:<44} {count:>11,} {seconds(call, 3) / count * 1e6:>9.1f}")
    return 0 if totals[0] <= MANY_MS and totals[2] <= ONE_US else 1


def _print(name: str, row: list[float]) -> None:
    many, floor, one, other = row
    last = "" if np.isnan(other) else f"{other:.1f}"
    print(f"{name:<44} {many:>8.3f} {floor:>6.3f} {many / floor:>5.2f} {one:>10.1f} {last:>17}")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    return run(arguments.comparisons, arguments.rounds)


if __name__ == "__main__":
    sys.exit(main())
