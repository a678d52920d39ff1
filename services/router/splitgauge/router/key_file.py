"""Where the unit key comes from: a setting, else a file in the data folder that is made once.

Owns the reading and the making; what the key is for says `unit_key`.
"""

import os
import secrets
from pathlib import Path

from splitgauge.router.unit_key import KEY_BYTES, UnitKey
from splitgauge.schemas.errors import ConflictError, ContractError

__all__ = ["FILE_NAME", "expect_fingerprint", "load_or_create"]

FILE_NAME = "unit.key"


def load_or_create(folder: Path, setting: str | None = None) -> UnitKey:
    """The key in `setting` (hexadecimal), else in the folder's file, which is made if it is not there.

    Raises: ContractError where what is there is no key.
    """
    if setting is not None:
        return _parse(setting, where="the setting `unit_key`")
    path = folder / FILE_NAME
    try:
        return _parse(path.read_text(encoding="ascii"), where=str(path))
    except FileNotFoundError:
        return _create(path)
    except UnicodeDecodeError as exc:
        raise _no_key(str(path)) from exc


def expect_fingerprint(key: UnitKey, fingerprint: str | None) -> None:
    """Refuse a key that is not the log's. Raises: ConflictError."""
    if fingerprint != key.fingerprint:
        raise ConflictError(
            f"this router's unit key ({key.fingerprint}) is not the one that the log's unit ids were made with "
            f"({fingerprint})",
            where="unit key",
            remedy="Start it with the key that the log began with; with another one every user would be a new unit",
            code="unit-key-mismatch",
        )


def _create(path: Path) -> UnitKey:
    path.parent.mkdir(parents=True, exist_ok=True)
    secret = secrets.token_hex(KEY_BYTES)
    # Whole or not at all: two routers that start at once must end up with one key, and a crash with no half of one.
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return _parse(path.read_text(encoding="ascii"), where=str(path))
    finally:
        draft.unlink()
    _sync_folder(path.parent)
    return UnitKey(bytes.fromhex(secret))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(text: str, *, where: str) -> UnitKey:
    try:
        return UnitKey(bytes.fromhex(text.strip()))
    except (ValueError, ContractError) as exc:
        raise _no_key(where) from exc


def _no_key(where: str) -> ContractError:
    return ContractError(
        "this is no unit key",
        where=where,
        remedy=f"A key is {KEY_BYTES} bytes or more in hexadecimal; make one with: openssl rand -hex {KEY_BYTES}",
    )
