"""What a field of a study may hold: its type, its range, and whether it makes the model or only looks at it.

A field is declared once, `width: int = setting(256, low=1)`, and from that declaration come the command line, the
search space's names, the MLflow parameters and the checks below. Values are coerced to the annotated type before
anything is hashed, so `1`, `1.0` and `numpy.int64(1)` are the same setting.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable
from dataclasses import Field, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from genlib.errors import InputError

TYPES = "_types"


def setting(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    evaluation: bool = False,
    carried: bool = False,
) -> Any:
    """Declare a field of a study.

    Arguments:
        default: the value of the `report` preset.
        low, high: the smallest and largest value allowed.
        above, below: bounds that are themselves excluded.
        evaluation: True for a field that only looks at a trained model, such as `sampling_steps`.
        carried: True for a field that studies of one pack may differ in (`genlib.packs`): a number that the loss only
            computes with.
    """
    metadata = {"low": low, "high": high, "above": above, "below": below, "evaluation": evaluation, "carried": carried}
    return field(default=default, metadata=metadata)


def is_evaluation(declared: Field[Any]) -> bool:
    """True where the field looks at a trained model, False where it makes one."""
    return bool(declared.metadata.get("evaluation", False))


def carried_fields(cls: type) -> set[str]:
    """The fields that studies of one pack may differ in; who declares one anew need not say it again."""
    known = [declared for kind in cls.__mro__ for declared in getattr(kind, "__dataclass_fields__", {}).values()]
    return {declared.name for declared in known if declared.metadata.get("carried", False)}


def evaluation_fields(cls: type) -> list[str]:
    """The fields that only look at a trained model."""
    return [declared.name for declared in fields(cls) if is_evaluation(declared)]


def setting_type(cls: type, name: str) -> Any:
    """The declared type of a field."""
    return _hints(cls)[name]


def allowed(cls: type, name: str) -> str:
    """The values a field takes, in words: `an integer of at least 1`."""
    hint = _hints(cls)[name]
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    metadata = cls.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
    words = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
    bounds = {"low": "at least", "high": "at most", "above": "above", "below": "below"}
    limits = " and ".join(f"{word} {metadata[key]:g}" for key, word in bounds.items() if metadata.get(key) is not None)
    if get_origin(hint) is tuple:
        return f"a list, each {words[get_args(hint)[0]]} {limits}".rstrip()
    return words.get(hint, str(hint)) + (f" of {limits}" if limits.startswith("at") else f" {limits}").rstrip()


def digits(value: Any) -> str:
    """A field's value as it is shown: a number that is no integer at three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def refuse_unknown(cls: type, names: Iterable[str]) -> None:
    """Raise for a field the study does not have, with the nearest name it does have."""
    known = [f.name for f in fields(cls)]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise InputError(f"{cls.__name__} has no field '{name}': {hint}Its fields are {', '.join(known)}.")


def coerce(cls: type, name: str, value: Any) -> Any:
    """The value as the field's own type, or one sentence that says why not."""
    hint = _hints(cls)[name]
    kind = get_origin(hint)
    if kind is Literal:
        for member in get_args(hint):
            if isinstance(value, type(member)) and value == member:
                return member
        values: tuple[Any, ...] = (None,)
    elif kind is not tuple:
        values = (_scalar(hint, value),)
    elif isinstance(value, str) or not isinstance(value, Iterable):
        values = (None,)
    else:
        values = tuple(_scalar(get_args(hint)[0], item) for item in value)
    metadata = cls.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
    if any(item is None or not _within(item, metadata) for item in values):
        raise InputError(f"{cls.__name__}.{name}: got {value!r}; allowed is {allowed(cls, name)}.")
    return values if kind is tuple else values[0]


def _hints(cls: type) -> dict[str, Any]:
    """The types of the fields, kept on the class: sent to another process, it leaves its module's names behind."""
    if TYPES not in cls.__dict__:
        setattr(cls, TYPES, get_type_hints(cls))
    known: dict[str, Any] = cls.__dict__[TYPES]
    return known


def _scalar(kind: type, value: Any) -> Any:
    """`value` as a plain bool, int, float or str, or None where that would change it."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if kind is bool:
        return value if isinstance(value, bool) else None
    if kind is str:
        return value if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    if kind is int and isinstance(value, numbers.Integral):
        return int(value) if abs(int(value)) < 2**63 else None
    if not math.isfinite(value):
        return None
    if kind is int:
        return int(float(value)) if float(value).is_integer() else None
    return float(value)


def _within(value: Any, metadata: Any) -> bool:
    if isinstance(value, (bool, str)):
        return True
    low, high, above, below = (metadata.get(key) for key in ("low", "high", "above", "below"))
    return not (
        (low is not None and value < low)
        or (high is not None and value > high)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
    )
