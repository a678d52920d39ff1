"""The other libraries of the field, imported once and without their warnings, and how they are handed aggregates."""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# They come without types.

import warnings
from collections.abc import Sequence
from typing import Any

from splitgauge import statistics as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandas
    import spotify_confidence
    import statsmodels.api as statsmodels_models
    import statsmodels.stats.api as statsmodels_tests
    import tea_tasting
    from spotify_confidence.analysis.frequentist import sequential_bound_solver
    from tea_tasting.aggr import Aggregates

__all__ = ["aggregates", "bounds", "models", "moments", "spotify", "spotify_frame", "tea", "tests"]

tea: Any = tea_tasting
spotify: Any = spotify_confidence
bounds: Any = sequential_bound_solver.bounds
models: Any = statsmodels_models
tests: Any = statsmodels_tests
frame: Any = pandas.DataFrame


def moments(m: Sequence[int], d: Sequence[int] | None = None, x: Sequence[int] | None = None) -> st.Moments:
    """Ours, of one cell, from each unit's totals."""
    d, x = d or [1] * len(m), x or [0] * len(m)
    dot = [[sum(a * b for a, b in zip(left, right, strict=True))] for left, right in ((m, m), (d, d), (m, d))]
    cross = [[sum(a * b for a, b in zip(left, right, strict=True))] for left, right in ((x, x), (m, x), (d, x))]
    return st.exact_moments(
        n=[len(m)],
        m=[sum(m)],
        d=[sum(d)],
        mm=dot[0],
        dd=dot[1],
        md=dot[2],
        x=[sum(x)],
        xx=cross[0],
        mx=cross[1],
        dx=cross[2],
    )


def aggregates(found: st.Moments) -> Any:
    """tea-tasting's, with columns m, d and x."""
    names = {"m": found.mean_m, "d": found.mean_d, "x": found.mean_x}
    spreads = {"m": found.var_m, "d": found.var_d, "x": found.var_x}
    pairs = {("m", "d"): found.cov_md, ("m", "x"): found.cov_mx, ("d", "x"): found.cov_dx}
    return Aggregates(
        count_=int(found.n[0]),
        mean_={name: float(value[0]) for name, value in names.items()},
        var_={name: float(value[0]) for name, value in spreads.items()},
        cov_={pair: float(value[0]) for pair, value in pairs.items()},
    )


def spotify_frame(*arms: tuple[int, float, float]) -> Any:
    """spotify-confidence's table of control and challenger: units, sum and sum of squares of each."""
    rows = [(name, *arm) for name, arm in zip("ct", arms, strict=True)]
    return frame(rows, columns=["group", "n", "sum", "squares"])
