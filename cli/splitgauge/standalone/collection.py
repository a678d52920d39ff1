"""How the garbage collector works in a process that folds observations. Owns that alone: every process may load it."""

import gc

__all__ = ["collect_seldom"]

_THRESHOLDS = (50_000, 50, 100)
"""Full rounds walk over every unit's row to find that none is garbage; at the interpreter's own thresholds they cost
the fold a tenth of its time (benchmarks/fold.py)."""


def collect_seldom() -> None:
    """From now on. What is there already stays."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
