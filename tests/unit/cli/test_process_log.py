"""What lines of the log look like, and how often those of the Kafka client are shown."""

import logging
import subprocess
import sys
from datetime import UTC, datetime

from splitgauge.cli.process_log import SAY_AGAIN_S, SeldomRepeated

SCRIPT = """
import logging, sys
from splitgauge.cli import application, main

def said():
    for name in ("aiokafka.conn", "splitgauge.cluster"):
        for node in (1, 2, 1, 2):
            logging.getLogger(name).warning("node %d is away", node)

application.application = lambda: said
main.main()
"""


def _line(name: str, text: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, text, values, None)


def test_a_line_of_the_client_is_shown_again_after_a_minute() -> None:
    now_s = 0.0
    shown = SeldomRepeated("aiokafka", now_s=lambda: now_s)
    away = _line("aiokafka.conn", "node %d is away", 1)
    assert [shown.filter(away), shown.filter(away)] == [True, False]
    assert shown.filter(_line("aiokafka.conn", "node %d is away", 2))
    now_s = SAY_AGAIN_S
    assert [shown.filter(away), shown.filter(away)] == [True, False]


def test_lines_of_others_are_all_shown() -> None:
    shown = SeldomRepeated("aiokafka")
    assert all(shown.filter(_line("splitgauge.router", "the log is away")) for _ in range(3))


def test_what_is_remembered_is_bounded_and_what_is_forgotten_shown() -> None:
    shown = SeldomRepeated("aiokafka", now_s=lambda: 0.0)
    assert all(shown.filter(_line("aiokafka", "batch %d", number)) for number in range(1_001))
    assert not shown.filter(_line("aiokafka", "batch %d", 1_000))
    assert shown.filter(_line("aiokafka", "batch %d", 0))


def test_the_command_line_says_when_how_grave_and_who_and_repeats_its_own_lines_and_not_the_clients() -> None:
    begun = datetime.now(UTC).replace(microsecond=0)
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    times, lines = zip(*(line.split(" ", 1) for line in done.stderr.splitlines()), strict=True)
    client = [f"WARNING aiokafka.conn: node {node} is away" for node in (1, 2)]
    own = [f"WARNING splitgauge.cluster: node {node} is away" for node in (1, 2)]
    assert list(lines) == [*client, *own, *own]
    assert all(begun <= datetime.fromisoformat(time) <= datetime.now(UTC) for time in times)
