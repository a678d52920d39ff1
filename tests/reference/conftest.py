"""Lets another file of reference cases take the place of the recorded one; says at the end what came of each case."""

from collections import defaultdict
from pathlib import Path
from typing import cast

import pytest

_TEST = "::test_result_equals_the_peers["


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reference-file", default=None, help="JSON of reference cases, in the format of the recorded one"
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    path = config.getoption("--reference-file")
    return f"reference file: {Path(path).resolve()}" if path else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which cases were run, which were left out, and why."""
    cases: dict[str, list[str]] = defaultdict(list)
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.getreports(outcome):
            if _TEST in report.nodeid:
                # A skipped test's longrepr is (path, line, "Skipped: reason").
                said = cast("tuple[str, int, str]", report.longrepr)[2] if outcome == "skipped" else outcome
                cases[said.removeprefix("Skipped: ")].append(report.nodeid.split(_TEST, 1)[1].removesuffix("]"))
    if not cases:
        return
    terminalreporter.section("reference cases")
    for said in sorted(cases, key=lambda said: (said != "passed", said != "failed", said)):
        title = {"passed": "run, equal within the tolerance", "failed": "run, and failed"}.get(said, said)
        terminalreporter.write_line(f"{title} ({len(cases[said])}):", bold=True)
        terminalreporter.write_line(f"  {', '.join(cases[said])}")
