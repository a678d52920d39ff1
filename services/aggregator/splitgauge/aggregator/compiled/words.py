"""Telling a few known words apart in bytes, compiled: a hash says which one it can be, then it is compared.

Owns the hash.
"""

from typing import NamedTuple

import numpy as np

from splitgauge.aggregator.compiled.jit import Bytes, Longs, compiled, long

__all__ = ["Words", "which", "words"]

_SLOTS = 64
_FACTORS = range(1, 10_000)


class Words(NamedTuple):
    """Their bytes, a line each; their lengths; by hash the number of one (-1: none); what the hash multiplies by."""

    table: Bytes
    lengths: Longs
    slots: Longs
    factor: int


def _hash(first: int, second: int, last: int, length: int, factor: int) -> int:
    return ((first << 16 | second << 8 | last) + length) * factor >> 8 & _SLOTS - 1


_compiled_hash = compiled(_hash)


def words(*texts: str) -> Words:
    """At least two characters each, no two alike in length, first two and last character."""
    table = np.zeros((len(texts), max(map(len, texts))), dtype=np.uint8)
    for line, text in zip(table, texts, strict=True):
        line[: len(text)] = np.frombuffer(text.encode(), dtype=np.uint8)
    for factor in _FACTORS:
        slots = [_hash(ord(text[0]), ord(text[1]), ord(text[-1]), len(text), factor) for text in texts]
        if len(set(slots)) == len(texts):
            numbers = np.full(_SLOTS, -1, dtype=np.int64)
            numbers[slots] = np.arange(len(texts))
            return Words(table, np.array([len(text) for text in texts]), numbers, factor)
    raise AssertionError(f"no factor tells {texts} apart")


@compiled
def which(buffer: Bytes, at: int, length: int, known: Words) -> int:
    """The number of the word that stands there; -1: another."""
    if length < 2:
        return -1
    slot = _compiled_hash(long(buffer[at]), long(buffer[at + 1]), long(buffer[at + length - 1]), length, known.factor)
    number = long(known.slots[slot])
    if number < 0 or known.lengths[number] != length:
        return -1
    for place in range(length):
        if buffer[at + place] != known.table[number, place]:
            return -1
    return number
