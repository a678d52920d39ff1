"""From what somebody wrote to a model: every fault named by a JSON pointer into what was written.

Owns which faults are told, and where they are; the same for HTTP, for YAML documents and for whoever else reads JSON.
"""

from collections.abc import Iterable
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.fault_wording import in_words

__all__ = ["InvalidError", "first_fault", "invalid", "validated"]

MAX_DEPTH = 64
"""Encoders give up at 254 levels: what is taken in has to be shown, wrapped into answers and events, ever after."""

_Model = TypeVar("_Model")


class InvalidError(ContractError):
    """A value that breaks its model, in one place or in several.

    Attributes:
        errors: every fault: JSON pointer and message.
    """

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(
            errors[0]["detail"],
            where=errors[0]["where"],
            remedy="The fields and their values stand in the published schemas",
        )
        self.errors = errors


def validated(model: type[_Model], value: Any) -> _Model:  # noqa: ANN401 - any JSON value
    """`value` as the model. Raises: InvalidError with a JSON pointer for every fault."""
    if _deeper_than(value, MAX_DEPTH):
        raise InvalidError([{"where": "", "detail": f"nested more than {MAX_DEPTH} levels deep"}])
    try:
        return TypeAdapter(model).validate_python(value)
    except ValidationError as exc:
        raise invalid(exc, value) from exc


def _deeper_than(value: object, levels: int) -> bool:
    """Without recursion of its own: lists within lists may be as deep as memory allows."""
    layer: list[object] = [value]
    for _ in range(levels):
        layer = [inside for item in layer for inside in _insides(item)]
        if not layer:
            return False
    return True


def _insides(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[object, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def invalid(error: ValidationError, value: object) -> InvalidError:
    """What pydantic found in `value`, in our words."""
    return InvalidError(_faults(error, value))


def first_fault(error: ValidationError, value: object) -> tuple[str, str]:
    """Where the first of them is, and what it is."""
    first = _faults(error, value)[0]
    return first["where"], first["detail"]


def _faults(error: ValidationError, value: object) -> list[dict[str, str]]:
    by_place: dict[str, dict[str, str]] = {}
    for fault in error.errors(include_url=False):
        where = _pointer(fault["loc"], value, missing=fault["type"] == "missing")
        words = in_words(fault["type"], fault["msg"], fault.get("ctx", {}), fault["input"])
        by_place.setdefault(where, {}).setdefault(fault["type"], words)
    faults = {where: _one_of(alternatives) for where, alternatives in by_place.items()}
    # A list whose items are at fault is also called too short: what is deeper says what to do.
    return [
        {"where": where, "detail": detail}
        for where, detail in faults.items()
        if not any(other.startswith(f"{where}/") for other in faults if where)
    ]


def _one_of(alternatives: dict[str, str]) -> str:
    """A field that may be of several types has a fault for each: what is wrong with the type that it has, if any."""
    of_its_type = [words for kind, words in alternatives.items() if not kind.endswith("_type")]
    if of_its_type:
        return of_its_type[0]
    wanted, _, instead = next(iter(alternatives.values())).partition(", not ")
    others = [words.removeprefix("has to be ").partition(", not ")[0] for words in list(alternatives.values())[1:]]
    return ", or ".join([wanted, *others]) + (f", not {instead}" if instead else "")


def _pointer(location: tuple[int | str, ...], value: object, *, missing: bool) -> str:
    """RFC 6901. pydantic's location also names the alternatives that it tried, which nobody wrote: left out."""
    pointer, here = "", value
    for index, part in enumerate(location):
        inside = _step(here, part)
        if inside is None and not (missing and index == len(location) - 1):
            continue
        pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
        here = inside[0] if inside is not None else None
    return pointer


def _step(here: object, part: int | str) -> tuple[object] | None:
    if isinstance(here, dict):
        fields = cast("dict[object, object]", here)
        return (fields[part],) if part in fields else None
    if isinstance(here, list) and isinstance(part, int):
        items = cast("list[object]", here)
        return (items[part],) if part < len(items) else None
    return None
