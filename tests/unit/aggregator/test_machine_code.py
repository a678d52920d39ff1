"""Machine code that is kept between processes is never that of other sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from splitgauge.aggregator import engine
from splitgauge.schemas import errors

COMPILED = Path("splitgauge", "aggregator", "compiled")

SCRIPT = """
from splitgauge.aggregator.compiled import caller
print(caller.answer(1), sum(caller.answer.stats.cache_hits.values()))
"""
CALLER = """
from splitgauge.aggregator.compiled.callee import called
from splitgauge.aggregator.compiled.jit import compiled

@compiled
def answer(number: int) -> int:
    return called(number) + 1
"""
CALLEE = """
from splitgauge.aggregator.compiled.jit import compiled
from splitgauge.schemas.terms import TERM

@compiled
def called(number: int) -> int:
    return number + TERM
"""


class Checkout:
    """Of the aggregator and the contract, with two compiled functions of its own, one calling the other."""

    def __init__(self, root: Path) -> None:
        self.root, self.kept = root, root / "kept"
        for package in (Path(engine.__file__).parent, Path(errors.__file__).parent):
            shutil.copytree(package, root / "splitgauge" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        (root / COMPILED / "caller.py").write_text(CALLER)
        self.callee = root / COMPILED / "callee.py"
        self.callee.write_text(CALLEE)
        self.constant = root / "splitgauge" / "schemas" / "terms.py"
        self.constant.write_text("TERM = 1\n")

    def answer(self, **environment: str) -> tuple[int, int]:
        """For 1, from a new process; and how often that has found it compiled."""
        env = {**os.environ, "PYTHONPATH": str(self.root), "NUMBA_CACHE_DIR": str(self.kept), **environment}
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True)
        answer, hits = done.stdout.split()
        return int(answer), int(hits)


def test_a_caller_is_compiled_anew_when_its_callee_changes(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    assert checkout.answer() == (3, 0)
    assert checkout.answer() == (3, 1)
    checkout.callee.write_text(checkout.callee.read_text().replace("+", "-"))
    assert checkout.answer() == (1, 0)


def test_versions_that_take_turns_keep_their_code_and_those_long_gone_do_not(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.kept.mkdir()
    for past in range(6):
        older = checkout.kept / f"splitgauge-{past}"
        older.mkdir()
        os.utime(older, (past, past))
    (checkout.kept / "of somebody else").mkdir()
    assert checkout.answer() == (3, 0)
    checkout.constant.write_text("TERM = 20\n")  # of the contract, and compiled in
    assert checkout.answer() == (22, 0)
    checkout.constant.write_text("TERM = 1\n")
    assert checkout.answer() == (3, 1)
    left = {folder.name for folder in checkout.kept.iterdir()}
    assert {"of somebody else", "splitgauge-4", "splitgauge-5"} < left
    assert len(left) == 5


def test_without_a_folder_that_is_named_code_stands_beside_the_source(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    assert [checkout.answer(NUMBA_CACHE_DIR="") for _ in range(2)] == [(3, 0), (3, 1)]
    assert list((tmp_path / COMPILED / "__pycache__").glob("splitgauge-*/*/caller.answer-*.nbc"))


def test_where_nothing_can_be_written_beside_the_source_code_stands_in_the_home_else_nowhere(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    (checkout.root / COMPILED / "__pycache__").write_text("in the way of a folder")
    nowhere = {"NUMBA_CACHE_DIR": "", "PYTHONDONTWRITEBYTECODE": "1"}
    (tmp_path / "a file").touch()
    assert checkout.answer(**nowhere, HOME=str(tmp_path / "a file")) == (3, 0)
    assert [checkout.answer(**nowhere, HOME=str(tmp_path)) for _ in range(2)] == [(3, 0), (3, 1)]
