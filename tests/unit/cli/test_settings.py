"""Settings: the same keys in file and environment, and which of them wins."""

from pathlib import Path

import pytest

from splitgauge.cli.settings import load
from splitgauge.schemas.errors import ContractError


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "HOST", "DATA_FOLDER", "FAIL_CLOSED"):
        monkeypatch.delenv(f"SPLITGAUGE_{name}", raising=False)


def test_defaults() -> None:
    settings = load(None)
    assert (settings.host, settings.port, settings.data_folder) == ("127.0.0.1", 8080, Path("splitgauge-data"))
    assert (settings.durability, settings.fail_closed, settings.observation_partitions) == ("default", False, None)


def test_command_line_goes_before_environment_before_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("splitgauge.toml").write_text('host = "file"\nport = 1\ndata_folder = "file"\nfail_closed = true\n')
    monkeypatch.setenv("SPLITGAUGE_HOST", "environment")
    monkeypatch.setenv("SPLITGAUGE_PORT", "2")
    settings = load(None, port=3, host=None)
    assert (settings.data_folder, settings.host, settings.port, settings.fail_closed) == (
        Path("file"),
        "environment",
        3,
        True,
    )


def test_named_file_is_read_instead(tmp_path: Path) -> None:
    Path("splitgauge.toml").write_text("port = 1\n")
    (tmp_path / "other.toml").write_text('durability = "strict"\n')
    settings = load(tmp_path / "other.toml")
    assert (settings.port, settings.durability) == (8080, "strict")


def test_unit_key_is_not_shown() -> None:
    assert "beef" not in repr(load(None, unit_key="beef"))


def test_fault_on_the_command_line_is_placed_there() -> None:
    with pytest.raises(ContractError) as refused:
        load(None, port=-1)
    assert (refused.value.where, refused.value.message.split(":")[0]) == ("the command line", "setting 'port'")
