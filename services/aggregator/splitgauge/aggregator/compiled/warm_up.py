"""Everything compiled or loaded before the first event, so that no event waits for it: `python -m` this, ahead of use.

Owns a call of each compiled function that Python calls, with the types it will have.
"""

import numpy as np

from splitgauge.aggregator.attribution import Attribution
from splitgauge.aggregator.compiled import tables
from splitgauge.aggregator.compiled.calm import CalmEvents
from splitgauge.aggregator.compiled.ids import RecentIdRing
from splitgauge.aggregator.compiled.run import lane_home

__all__ = ["compile_all"]

_ID = "00000000-0000-4000-8000-000000000000"


def compile_all() -> None:
    """Compile, or load what was compiled before."""
    ids = RecentIdRing()
    ids.claim(_ID)
    ids.release(_ID)
    ids.restore({}, 0)
    lane_home(np.zeros(1, dtype=np.uint8), (0, 0, 0), (-1, -1, -1), -1, 0, 3)
    watched, opened, units = (np.zeros((4, width), dtype=np.int64) for width in (3, 6, 4))
    tables.add_id(watched, 1, 2)
    tables.put_open(opened, 1, 2, 3, 4, 5, 6)
    tables.take_open(opened, tables.find_open(opened, 1, 2))
    tables.move_open(opened, opened.copy())
    tables.put_unit(units, 1, 2, 3, 4)
    tables.take_unit(units, tables.find_unit(units, 1, 2, 0))
    tables.move_units(units, units.copy())
    tables.put_units(units, watched[:0], watched[0, :0], watched[0, :0])
    engine = CalmEvents(Attribution())
    engine.begin([b"{}"])
    engine.take(0, 0)


if __name__ == "__main__":
    compile_all()
