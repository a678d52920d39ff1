"""The unit key: what it makes, where it is kept, when it is refused."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from splitgauge.router.key_file import FILE_NAME, expect_fingerprint, load_or_create
from splitgauge.router.unit_key import UnitKey
from splitgauge.schemas.errors import ConflictError, ContractError

KEY = UnitKey(bytes(range(32)))


def test_a_unit_id_is_what_any_hmac_tool_computes() -> None:
    assert KEY.unit_id("anna") == hmac.new(bytes(range(32)), b"anna", hashlib.sha256).hexdigest()[:32]


def test_a_request_that_is_its_own_unit_is_not_a_unit_named_like_it() -> None:
    assert KEY.own_unit_id("r") != KEY.unit_id("r")


def test_another_key_makes_other_ids_and_another_fingerprint() -> None:
    other = UnitKey(bytes(32))
    assert other.unit_id("anna") != KEY.unit_id("anna")
    assert other.fingerprint != KEY.fingerprint
    assert KEY.fingerprint not in {KEY.unit_id("fingerprint"), bytes(range(32)).hex()}


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ContractError, match="32 bytes"):
        UnitKey(b"short")


def test_the_key_is_made_once_readable_by_its_owner_only(tmp_path: Path) -> None:
    first = load_or_create(tmp_path)
    assert load_or_create(tmp_path).fingerprint == first.fingerprint
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_the_setting_goes_before_the_file(tmp_path: Path) -> None:
    assert load_or_create(tmp_path, bytes(range(32)).hex()).fingerprint == KEY.fingerprint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "not hexadecimal", "abcd", "é"])
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content, encoding="utf-8")
    with pytest.raises(ContractError, match="no unit key") as caught:
        load_or_create(tmp_path)
    assert caught.value.where.endswith(FILE_NAME)


def test_another_key_than_the_logs_is_refused() -> None:
    expect_fingerprint(KEY, KEY.fingerprint)
    with pytest.raises(ConflictError) as caught:
        expect_fingerprint(KEY, "0" * 32)
    assert caught.value.code == "unit-key-mismatch"
