"""The page of all settings says what the code says."""

from pathlib import Path

from splitgauge.cli.settings import Settings
from splitgauge.cli.settings_reference import reference

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_page_is_that_of_this_version() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "make published"


def test_each_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
