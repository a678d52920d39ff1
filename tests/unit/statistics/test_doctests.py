"""The examples in the docstrings run, and every public function has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

from splitgauge import statistics

MODULES = sorted(module.name for module in pkgutil.iter_modules(statistics.__path__, "splitgauge.statistics."))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


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
