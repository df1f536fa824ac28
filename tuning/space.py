"""A search space over a study's fields, in Ray Tune's own words, checked against the study before anything starts.

    {"schedule": ["exp3", "exp5"], "learning_rate": tune.loguniform(1e-4, 1e-2), "sampling_steps": [5, 20]}

A list, or `tune.grid_search`, is an axis of the grid. Fields that only look at a trained model (`sampling_steps`) are
axes too, but cost no training: every trained model is evaluated at each of their values.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from genlib import InputError, Study
from genlib.settings import coerce, evaluation_fields, refuse_unknown

if TYPE_CHECKING:
    from ray.tune.search.sample import Domain

Space = Mapping[str, Any]


def is_drawn(values: Any) -> TypeGuard[Domain]:
    """Whether these are one of Ray Tune's distributions; told by what they can, for Tune's import takes a second."""
    return hasattr(values, "get_sampler") and hasattr(values, "sample")


def axes(study: Study[Any], space: Space) -> dict[str, list[Any] | Domain]:
    """The space with every value checked: lists of values, and distributions."""
    refuse_unknown(type(study), [name for name in space if name != "epochs"])
    if {"epochs", "steps"} <= set(space):
        raise InputError("the space varies 'epochs' and 'steps', which are two words for one thing: keep one of them.")
    checked: dict[str, list[Any] | Domain] = {}
    for name, given in space.items():
        if name == "seed":
            raise InputError("the space varies 'seed': give seeds to the sweep, which then shows intervals over them.")
        values = given["grid_search"] if isinstance(given, Mapping) and set(given) == {"grid_search"} else given
        if is_drawn(values):
            checked[name] = _checked_domain(study, name, values)
        elif isinstance(values, Sequence) and not isinstance(values, str):
            if not values:
                raise InputError(f"the space gives '{name}' no values: name at least one.")
            checked[name] = [_checked(study, name, value) for value in values]
            _refuse_twice(name, checked[name])
        else:
            raise InputError(
                f"the space gives '{name}' {values!r}: give a list of values, or one of Ray Tune's spaces."
            )
    return checked


def looks(study: Study[Any], space: Space) -> list[dict[str, Any]]:
    """Every setting of the evaluation fields in the space; a single empty one where it has none."""
    lists: dict[str, list[Any]] = {}
    for name, values in axes(study, space).items():
        if name not in evaluation_fields(type(study)):
            continue
        if is_drawn(values):
            raise InputError(f"'{name}' only looks at a trained model: give it a list of values, not a distribution.")
        lists[name] = list(values)  # type: ignore[arg-type]
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def settings(study: Study[Any], space: Space, *, search: str, runs: int = 0, seed: int = 0) -> list[dict[str, Any]]:
    """The settings of the training fields that a grid or a random search tries, in order, each once."""
    varied = training_axes(study, space)
    lists = {name: values for name, values in varied.items() if isinstance(values, list)}
    drawn = {name: values for name, values in varied.items() if is_drawn(values)}
    if search == "grid":
        if drawn:
            name = next(iter(drawn))
            raise InputError(f"'{name}' is a distribution, and a grid has none: search 'random' or 'optuna'.")
        chosen = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
        return chosen[:runs] if runs else chosen
    random = np.random.default_rng(seed)
    chosen = []
    for _ in range(100 * runs):
        setting = {name: values[random.integers(len(values))] for name, values in lists.items()}
        setting |= {name: _plain(domain.sample(random_state=random)) for name, domain in drawn.items()}
        setting = {name: _checked(study, name, setting[name]) for name in varied}
        if setting not in chosen:
            chosen.append(setting)
        if len(chosen) == runs:
            break
    return chosen


def training_axes(study: Study[Any], space: Space) -> dict[str, list[Any] | Domain]:
    """The axes of the training fields: those that make the model."""
    return {name: values for name, values in axes(study, space).items() if name not in evaluation_fields(type(study))}


def as_words(space: Space) -> dict[str, list[str]]:
    """The space as it is recorded and shown."""

    def words(values: Any) -> list[str]:
        if is_drawn(values):
            ends = (getattr(values, "lower", ""), getattr(values, "upper", ""))
            kind = type(values.get_sampler()).__name__.strip("_").lower()
            if hasattr(values, "categories"):
                return [f"choice of {', '.join(map(str, values.categories))}"]
            return [f"{kind} {ends[0]} to {ends[1]}"]
        return [str(value) for value in (values["grid_search"] if isinstance(values, Mapping) else values)]

    return {name: words(values) for name, values in space.items()}


def _checked_domain(study: Study[Any], name: str, domain: Any) -> Domain:
    kind = type(domain).__name__
    if kind == "Categorical":
        if not domain.categories:
            raise InputError(f"the space gives '{name}' no values: name at least one.")
        _refuse_twice(name, [_checked(study, name, value) for value in domain.categories])
        return domain
    if kind not in ("Integer", "Float"):
        raise InputError(f"the space gives '{name}' a function: its range cannot be checked; use a distribution.")
    if not domain.lower < domain.upper:
        raise InputError(f"the space gives '{name}' {domain.lower} to {domain.upper}: the first must be the smaller.")
    if kind == "Float":
        _checked(study, name, domain.sample(random_state=np.random.default_rng(0)))  # an integer field refuses it
    for end in (domain.lower, domain.upper - (kind == "Integer")):
        _checked(study, name, end)
    return domain


def _refuse_twice(name: str, values: Any) -> None:
    """Raise where a list names a value twice: it would be one run, counted twice."""
    for number, value in enumerate(values):
        if value in values[:number]:
            raise InputError(f"the space gives '{name}' the value {value!r} twice: name each once.")


def _checked(study: Study[Any], name: str, value: Any) -> Any:
    """A value in the type of its field; `epochs` stands for steps, so it is tried on the study."""
    if name != "epochs":
        return coerce(type(study), name, value)
    study.lasting(value)
    return value


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
