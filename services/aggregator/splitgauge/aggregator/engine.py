"""Which engine folds: the compiled one, where numba is installed (`pip install splitgauge[compiled]`).

Owns the choice. Both give the same bytes; this one takes a second or two to load, and compiles for some fifteen when it
is loaded for the first time, so it is for whoever has much to fold.
"""

from importlib.util import find_spec

from splitgauge.aggregator.partition_fold import MakeEngine

__all__ = ["compiled_engine"]


def compiled_engine() -> MakeEngine | None:
    """The compiled engine, ready to run; None: without numba events are folded one by one, in twice the time."""
    if find_spec("numba") is None:
        return None
    from splitgauge.aggregator.compiled.calm import CalmEvents
    from splitgauge.aggregator.compiled.warm_up import compile_all

    compile_all()
    return CalmEvents
