"""The examples in the docstrings and on the page about them run, and every public function has one."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

from splitgauge import statistics

PAGE = Path(__file__).parents[3] / "docs" / "statistics.md"
MODULES = sorted(module.name for module in pkgutil.iter_modules(statistics.__path__, "splitgauge.statistics."))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_page_is_true() -> None:
    found = doctest.testfile(str(PAGE), module_relative=False)
    assert (found.failed, found.attempted > 30) == (0, True)


def test_the_page_names_what_there_is() -> None:
    table = [row for row in PAGE.read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
    names = {name for row in table for name in re.findall(r"`(\w+)`", row)}
    assert len(names) > 15
    assert names <= set(statistics.__all__)


def test_every_public_function_documents_its_contract_and_shows_an_example() -> None:
    functions = [
        getattr(statistics, name) for name in statistics.__all__ if inspect.isfunction(getattr(statistics, name))
    ]
    missing = [
        (function.__name__, word)
        for function in functions
        for word in ("Args:", "Returns:", "Raises:", "Assumes:", "Source:", ">>>")
        if word not in (inspect.getdoc(function) or "")
    ]
    assert functions
    assert missing == []
