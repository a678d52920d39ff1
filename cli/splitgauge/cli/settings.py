"""Settings from one TOML file and the environment, the same keys for both: `port` in the file is SPLITGAUGE_PORT.

Owns names, defaults and precedence: command line, environment, file, default. What they mean is said by the parts.
"""

import socket
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from splitgauge.cli.kafka_fields import KafkaFields
from splitgauge.schemas.errors import ContractError, MalformedError
from splitgauge.schemas.fault_wording import in_words

__all__ = ["DEFAULT_FILE", "Settings", "load"]

DEFAULT_FILE = Path("splitgauge.toml")
PREFIX = "SPLITGAUGE_"


class Settings(KafkaFields):
    """What an operator can set."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    data_folder: Path = Field(default=Path("splitgauge-data"), description="the log, the unit key, the spool")
    host: str = Field(default="127.0.0.1", description="where both HTTP surfaces listen")
    port: int = Field(default=8080, ge=0, le=65_535, description="0: a free one, printed")
    observation_partitions: int | None = Field(
        default=None, ge=1, le=1024, description="of a new log (4 unless set); fixed from then on"
    )
    durability: Literal["strict", "default", "batched"] = Field(
        default="default", description="what an answer waits for: assignment and outcome, the assignment, nothing"
    )
    fail_closed: bool = Field(default=False, description="answer 503 while the log is away")
    spool_bytes: int = Field(default=2**30, ge=0, description="the most that is kept on disk while the log is away")
    request_bytes: int = Field(default=16 * 2**20, ge=1, description="the largest request body")
    answer_bytes: int = Field(default=32 * 2**20, ge=1, description="the largest answer of an endpoint")
    log_patience_s: float = Field(default=0.25, gt=0, description="how long the log may take before it counts as away")
    shutdown_s: float = Field(default=10.0, ge=0, description="for requests in flight when the process stops")
    unit_key: str | None = Field(
        default=None,
        repr=False,
        description="hexadecimal: the key that unit ids are hashed with; else from the data folder",
    )
    postgres: str | None = Field(
        default=None, repr=False, description="postgresql://user@host/name, for checkpoints and archive of a cluster"
    )
    intake_concurrency: int = Field(
        default=64, ge=1, description="request events of a cluster that a router works on at once"
    )
    publish_interval_s: float = Field(
        default=0.1, gt=0, description="in a cluster: between two publications of what moved, in each stage"
    )
    checkpoint_interval_s: float = Field(
        default=5.0, gt=0, description="in a cluster: what a worker that takes over may have to fold again"
    )
    look_debounce_s: float = Field(default=0.25, gt=0, description="at most one look at an experiment in this time")
    archive_rest_s: float = Field(
        default=1.0, gt=0, description="of the archiver, between rounds that found nothing new"
    )
    instance: str = Field(default_factory=socket.gethostname, description="who this process is, in its events")


def load(config: Path | None, **given: Any) -> Settings:  # noqa: ANN401 - values of the fields
    """The settings in force. `given`: what the command line says; None: nothing.

    Raises: MalformedError for a file that is not TOML; ContractError for one that is not there; naming the setting.
    """
    path = config or DEFAULT_FILE
    written = _read(path) if config is not None or path.exists() else {}
    said = {key: value for key, value in given.items() if value is not None}
    try:
        return _with_file(written)(**said)
    except ValidationError as exc:
        first = exc.errors()[0]
        key, words = str(first["loc"][0]), in_words(first["type"], first["msg"], first.get("ctx", {}), first["input"])
        place = "the command line" if key in said else f"{path}, or {PREFIX}{key.upper()} in the environment"
        message = "unknown" if first["type"] == "extra_forbidden" else words
        raise ContractError(f"setting {key!r}: {message}", where=place, remedy="Correct or remove it") from exc


def _with_file(written: dict[str, Any]) -> type[Settings]:
    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings passes all four by name
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=written)

    return Loaded


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ContractError("there is no such settings file", where=str(path), remedy="Name one that is there") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise MalformedError(f"the settings cannot be read: {exc}", where=str(path)) from exc
    except tomllib.TOMLDecodeError as exc:
        raise MalformedError(f"not TOML: {exc}", where=str(path), remedy="Write `key = value`, one a line") from exc
