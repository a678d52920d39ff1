"""The page of all settings, made from them: `docs/settings.md`.

python -m splitgauge.cli.settings_reference > docs/settings.md
"""

import sys

from pydantic.fields import FieldInfo

from splitgauge.cli.settings import PREFIX, Settings

__all__ = ["reference"]

_HEAD = f"""# Settings

Made from the code by `make published`; a test holds it.

One file in TOML (`splitgauge.toml` where the process starts, or `--config FILE`) and the environment, with the same
keys: `port` in the file is `{PREFIX}PORT` in the environment. The command line goes before the environment, the
environment before the file, the file before the default. A key that is not in this list is refused.

| setting | default | what it is |
|---|---|---|
"""


def reference() -> str:
    """As it has to stand in the file."""
    return _HEAD + "".join(
        f"| `{name}` | {_default(field)} | {field.description or ''} |\n"
        for name, field in sorted(Settings.model_fields.items())
    )


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "the host's name"
    match field.default:
        case None | "":
            return ""
        case bool() as flag:
            return f"`{str(flag).lower()}`"
        case value:
            return f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
