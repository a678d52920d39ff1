"""Where the machine code of the compiled fold is kept between processes.

Owns the folder's place. numba looks at nothing but the file of the function that it compiles, and machine code also has
in it the functions that are called and the constants that are read, from wherever they are imported. And it writes down
that code is new before it replaces the old. So code from different sources is never in one folder: its name is of all
sources that can come into it. Knows no function.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import numba
import numpy as np
from numba.core import config

from splitgauge.schemas import metric

__all__ = ["keeping"]

_config = cast("Any", config)
"""Its variables are those of the environment, `NUMBA_` left out; type checkers see none of them."""

_KEPT = 4
"""Versions whose code stays: those that take turns on a machine, during an upgrade say, do not drive each other out."""


@contextmanager
def keeping() -> Generator[bool]:
    """Functions that are decorated meanwhile are kept between processes, where there is a place for that: says so."""
    place, asked = _place(), _config.CACHE_DIR
    try:
        _config.CACHE_DIR = "" if place is None else str(place)
        yield place is not None
    finally:
        _config.CACHE_DIR = asked


@cache
def _place() -> Path | None:
    """The folder for what these sources become, in the first one that can be written to; None: there is none."""
    name = f"splitgauge-{_digest()}"
    for folder in _folders():
        found = folder / name
        try:
            found.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=found).close()
            os.utime(found)
        except OSError:  # not ours to write to: the next one may be
            continue
        _drop_older(folder)
        return found
    return None


def _folders() -> Iterator[Path]:
    """`NUMBA_CACHE_DIR`, beside the source, in the user's home. None that others can write to: code is run from it."""
    if _config.CACHE_DIR:
        yield Path(_config.CACHE_DIR)
    yield Path(__file__).with_name("__pycache__")
    with suppress(RuntimeError):  # a user without a home
        yield Path.home() / ".cache" / "splitgauge"


def _digest() -> str:
    digest = hashlib.sha256(f"numba {numba.__version__}, numpy {np.__version__}".encode())
    # Whole packages: which of their modules have a constant that is compiled in, changes with every import.
    for package in (Path(__file__).parents[1], Path(metric.__file__).parent):
        for source in sorted(package.rglob("*.py")):
            digest.update(f"\0{source.relative_to(package)}\0".encode())
            digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _drop_older(folder: Path) -> None:
    with suppress(FileNotFoundError):  # another process is dropping them
        by_use = sorted(folder.glob("splitgauge-*"), key=lambda kept: kept.stat().st_mtime_ns)
        for older in by_use[:-_KEPT]:
            shutil.rmtree(older, ignore_errors=True)  # what is another user's stays
