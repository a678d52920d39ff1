"""The peer of `stage_1.py`: a windowed reduce of quixstreams over outcomes, in an environment of its own.

    python quixstreams_reduce.py BOOTSTRAP TOPIC EVENTS

Six sums and counts by key and minute: less than stage 1 finds out, and no digest. Says in JSON how many events it read,
and how long that took by the process' clock and by the wall's. quixstreams pins other versions of what Splitgauge uses,
so `stage_1.py` gives it a virtual environment.
"""
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# It is not in the environment in which types are checked.

import json
import sys
import tempfile
import time
from datetime import timedelta
from typing import Any

from quixstreams import Application

IDLE_S = 10.0
METRICS = ("success", "latency_ms", "ttft_ms", "input_tokens", "output_tokens", "cost")


def first(event: dict[str, Any]) -> dict[str, Any]:
    """Sums of one outcome."""
    metrics = event["data"]["metrics"]
    return {"n": 1, **{name: metrics.get(name) or 0 for name in METRICS}}


def more(sums: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
    """Sums of one more."""
    metrics = event["data"]["metrics"]
    return {"n": sums["n"] + 1, **{name: sums[name] + (metrics.get(name) or 0) for name in METRICS}}


def main(bootstrap: str, topic: str, events: int) -> None:
    """Read so many events from the beginning."""
    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=bootstrap,
            consumer_group=f"quixstreams-{time.time_ns()}",
            auto_offset_reset="earliest",
            state_dir=folder,
            loglevel="ERROR",
        )
        outcomes = app.dataframe(app.topic(topic)).filter(lambda event: event["type"] == "splitgauge.outcome.v1")
        outcomes.tumbling_window(timedelta(minutes=1)).reduce(more, first).current()
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        app.run(count=events // 2, timeout=IDLE_S)  # it counts what comes out: every other event is an outcome
        took = {"events": events, "cpu_s": time.process_time() - cpu_s, "wall_s": time.perf_counter() - wall_s}
        sys.stdout.write(json.dumps(took) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
