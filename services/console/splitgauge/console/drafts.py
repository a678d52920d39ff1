"""Experiments before they start: what a new one is called, and how a draft is patched. Pure."""

from typing import Any, cast

from splitgauge.experiments.state import ExperimentState, Registry
from splitgauge.schemas.errors import ContractError, IllegalStepError
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.validation import validated

__all__ = ["expect_new", "id_of_new", "patched"]

_ID_LENGTH = 8


def id_of_new(specification: ExperimentSpecification, unique: str) -> str:
    """Its own id, else one that is short enough to be typed: `ab-` and the first letters of a unique text."""
    return specification.id or f"ab-{unique.replace('-', '')[:_ID_LENGTH]}"


def expect_new(registry: Registry, experiment_id: str) -> None:
    """Raises: IllegalStepError where the id is taken. A discarded draft had no traffic, so its id is free again."""
    known = registry.experiments.get(experiment_id)
    if known is not None and known.status != "discarded":
        raise IllegalStepError(
            f"experiment {experiment_id!r} is there already ({known.status})",
            where="/id",
            remedy="Take another id; a draft can be changed with PATCH",
        )


def patched(state: ExperimentState, patch: object) -> ExperimentSpecification:
    """The draft's specification after a JSON merge patch (RFC 7396): null takes a field back to its default.

    Raises: InvalidError as a whole specification would; ContractError where the id is to be changed.
    """
    if not isinstance(patch, dict):
        return validated(ExperimentSpecification, patch)
    fields = cast("dict[str, Any]", patch)
    if fields.get("id", state.id) != state.id:
        raise ContractError("the id of an experiment cannot be changed", where="/id", remedy="Leave it out")
    written = state.specification.model_dump(mode="json", exclude_none=True)
    return validated(ExperimentSpecification, _merged(written, fields))


def _merged(value: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON values
    if not isinstance(patch, dict):
        return patch
    changes = cast("dict[str, Any]", patch)
    merged: dict[str, Any] = dict(cast("dict[str, Any]", value)) if isinstance(value, dict) else {}
    for key, change in changes.items():
        if change is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), change)
    return merged
