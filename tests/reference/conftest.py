"""Lets another file of reference cases take the place of the recorded one."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reference-file", default=None, help="JSON of reference cases, in the format of the recorded one"
    )
