"""The checkpoint port: where a fold keeps its state together with the log position that it stands for.

`tests/contract/checkpoints` holds each adapter to it. Owns the words and the promises; knows no engine and no fold.
A checkpoint may be thrown away at any moment: the fold then starts at the beginning of the log and comes to the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Checkpoint", "Checkpoints"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a fold has saved.

    Attributes:
        position: offset of the first event that is not in the state.
        rows: the state, by key.
    """

    position: int
    rows: dict[bytes, bytes]


class Checkpoints(Protocol):
    """Checkpoints by owner, such as `fold-1/observations/3`.

    Errors: LogUnavailableError when they cannot be read or written; LogDamagedError when the stored bytes are broken.
    """

    async def load(self, owner: str) -> Checkpoint | None:
        """Position and rows as they were saved together; None where the owner has none."""
        ...

    async def save(
        self, owner: str, *, expected: int | None, position: int, changed: Mapping[bytes, bytes | None]
    ) -> bool:
        """Replace the changed rows (None removes one) and move the position, both together or neither, durably.

        Args:
            expected: the position that must be stored now; None: the owner must have no checkpoint yet.

        Returns: False, and nothing written, where another writer has moved the position. The caller is then a zombie:
            it drops its state and loads again.
        """
        ...

    async def drop(self, owner: str) -> None:
        """Forget the owner's checkpoint, if there is one."""
        ...
