"""An immutable mapping whose successors share what did not change.

The state is kept at every offset of the decisions. With plain dictionaries every one of them would hold a copy of every
workload, experiment and idempotency key: 10,000 decisions with keys would take gigabytes.

The logarithmic method (Bentley and Saxe 1980): layers of dictionaries, newest last, that stand for different powers of
two of changes; a change adds a layer of one and merges it with those of equal size before it. So every entry is copied
about log2(n) times over the whole history, and a look-up asks at most log2(n) dictionaries.
"""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

__all__ = ["LayeredMap"]

_Value = TypeVar("_Value")


class LayeredMap(Mapping[str, _Value], Generic[_Value]):
    """Keys come in the order in which each was first set."""

    __slots__ = ("_layers",)

    def __init__(self) -> None:
        self._layers: tuple[tuple[int, dict[str, _Value]], ...] = ()

    def with_item(self, key: str, value: _Value) -> "LayeredMap[_Value]":
        """The same with `key` set; this one stays as it is.

        >>> before = LayeredMap[int]().with_item("a", 1).with_item("b", 2)
        >>> dict(before.with_item("a", 3)), dict(before)
        ({'a': 3, 'b': 2}, {'a': 1, 'b': 2})
        """
        layers, changes, newest = list(self._layers), 1, {key: value}
        while layers and layers[-1][0] == changes:
            changes *= 2
            newest = {**layers.pop()[1], **newest}
        successor = LayeredMap[_Value]()
        successor._layers = (*layers, (changes, newest))
        return successor

    def __getitem__(self, key: str) -> _Value:
        for _, layer in reversed(self._layers):
            if key in layer:
                return layer[key]
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key for _, layer in self._layers for key in layer))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"LayeredMap({dict(self)!r})"
