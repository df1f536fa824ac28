"""A sweep as data: one study, what varies, how it is searched, what is best; checked and planned before it runs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from cluster.copies import located
from cluster.directory import Result
from cluster.needs import needs_of
from cluster.plan import Plan, Shared, probe, refuse_too_large
from cluster.run import Run
from cluster.secrets import refuse_secrets
from cluster.session import available
from cluster.storage import refuse_unusable_storage
from cluster.workers import Workers
from genlib import InputError, Study
from genlib.needs import lending, untrained
from genlib.own import adopt, importable
from genlib.settings import coerce, evaluation_fields, refuse_unknown, setting
from genlib.training import known_device
from tuning.packs import Packing, packing_of
from tuning.space import Space, axes, looks, settings

Search = Literal["grid", "random", "optuna"]
Stopping = Literal["none", "asha", "median"]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What varies, how it is searched, and what is best.

    Arguments:
        metric: a metric of the evaluation; its best value over the evaluation fields counts for a setting. A metric of
            the journal (`validation/…`, `loss`) makes a cheap search: nothing is evaluated.
        search: how settings are chosen: every combination, `runs` random ones, or `runs` that Optuna proposes from the
            results so far.
        stopping: how hopeless runs are ended early, by the study's own objective at its validations.
        seeds: the first one searches; the `confirm` best settings (0: all) are then run under the others too.
        minutes: time for the sweep; runs cut short by it go on with the next call; 0 sets no limit.
    """

    name: str
    study: Study[Any]
    space: Space
    metric: str
    mode: Literal["min", "max"] = setting("min")
    search: Search = setting("grid")
    runs: int = setting(0, low=0)
    stopping: Stopping = setting("none")
    seeds: tuple[int, ...] = setting((0,), low=0)
    confirm: int = setting(0, low=0)
    minutes: float = setting(0.0, low=0)

    def __new__(cls, *args: Any, **given: Any) -> Self:
        if args:
            raise InputError("what a sweep takes is given by name: Sweep(name=…, study=…, space=…, metric=…).")
        refuse_unknown(cls, given)
        missing = [declared.name for declared in fields(cls) if declared.default is MISSING]
        for name in missing if given else ():  # pickle gives nothing
            if name not in given:
                raise InputError(f"a sweep needs a {name}: give {', '.join(missing)}.")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self._coerce()
        adopt(type(self.study))
        object.__setattr__(self, "study", importable(self.study))
        axes(self.study, self.space)
        looks(self.study, self.space)
        if not self.slug or self.slug in (self.study.title(), "artifacts"):
            raise InputError(f"a sweep cannot be named {self.name!r}: give it letters, and not its study's name.")
        if self.search != "grid" and self.runs < 1:
            raise InputError(f"a sweep by {self.search} search needs a number of runs: give runs.")
        if not self.evaluates and self.looks != [{}]:
            name = next(iter(self.looks[0]))
            raise InputError(f"'{name}' matters to evaluations alone, and '{self.metric}' is not measured in them.")
        for chosen in self.settings():
            for look in self.looks:
                refuse_secrets(self.study.with_fields(chosen | look))
        refuse_secrets(self.study)

    def _coerce(self) -> None:
        """Every argument as its own type, or one sentence that says why not."""
        for declared in fields(self):
            if declared.metadata:
                object.__setattr__(self, declared.name, coerce(type(self), declared.name, getattr(self, declared.name)))
        for name in ("name", "metric"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"Sweep.{name}: got {getattr(self, name)!r}; allowed is a text.")
        if not isinstance(self.study, Study):
            raise InputError(f"Sweep.study: got {self.study!r}; allowed is a study, such as PointDiffusion().")
        if not isinstance(self.space, Mapping) or not self.space:
            raise InputError(f"Sweep.space: got {self.space!r}; allowed is a dictionary that names at least one field.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"Sweep.seeds: got {list(self.seeds)}; allowed is at least one seed, each once.")

    @property
    def evaluates(self) -> bool:
        """Whether its metric is one of the evaluation, so that every run is evaluated."""
        return not self.metric.startswith(("validation/", "loss"))

    @property
    def slug(self) -> str:
        """The name of its folder."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    @cached_property
    def looks(self) -> list[dict[str, Any]]:
        """The settings of the evaluation fields."""
        return looks(self.study, self.space)

    def settings(self) -> list[dict[str, Any]]:
        """The settings that are known beforehand; Optuna's are not."""
        if self.search == "optuna":
            return []
        return settings(self.study, self.space, search=self.search, runs=self.runs, seed=self.study.seed)

    def in_order(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """A setting with its fields in the space's order, whoever proposed it."""
        return {name: setting[name] for name in self.space if name in setting}

    def with_setting(self, setting: dict[str, Any], seed: int | None = None) -> Study[Any]:
        """The study to train, with the first of its looks."""
        first = self.seeds[0] if seed is None else seed
        return self.study.with_fields(setting | self.looks[0] | {"seed": first})

    def trained(self, seed: int | None = None) -> list[Study[Any]]:
        """Every study to train that is known beforehand, under a seed (the first one)."""
        return [self.with_setting(setting, seed) for setting in self.settings()]

    def studies(self) -> list[Study[Any]]:
        """Every study to train that is known beforehand, under the first seed, with every one of its looks."""
        known = self.settings() or [{}]
        return [self.with_setting(setting).with_fields(look) for setting in known for look in self.looks]

    def better(self, values: Sequence[float]) -> float:
        """The best of several values; those that are not finite do not count."""
        values = [value for value in values if math.isfinite(value)] or [math.inf if self.mode == "min" else -math.inf]
        return min(values) if self.mode == "min" else max(values)


@dataclass(frozen=True)
class Placement:
    """Where and how the runs of a sweep are executed.

    Arguments:
        figures: number of the best settings whose figures are drawn, under the first seed.
        packs: whether runs that differ only in numbers may train as one, where that pays.
    """

    storage: Path
    workers: Workers = field(default_factory=Workers)
    device: str = "cpu"
    any_device: bool = False
    cpus: int | None = None
    verbose: bool = False
    figures: int = 0
    packs: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "storage", located(self.storage))
        if self.figures < 0:
            raise InputError(f"figures: got {self.figures}; allowed is an integer of at least 0.")


@dataclass
class Measured:
    """One setting of all varied fields, and its metrics for each seed."""

    fields: dict[str, Any]
    study: Study[Any]
    metrics: dict[int, dict[str, float]]

    def values(self, metric: str) -> list[float]:
        """The metric, a value per seed."""
        return [metrics[metric] for metrics in self.metrics.values() if metric in metrics]


@dataclass
class Swept:
    """How a sweep ended: every run, and what was measured, best first."""

    results: list[Result]
    rows: list[Measured]
    stopped: dict[str, int]
    folder: Path


def plan(sweep: Sweep, placement: Placement) -> Plan:
    """What the sweep would run, after a check that it can."""
    check(sweep, placement)
    have = available(placement.cpus)
    beforehand = sweep.settings()
    known = beforehand or [{}] * sweep.runs
    confirmed = min(sweep.confirm or len(known), len(known))
    more = len(sweep.seeds) - 1
    seeds = sweep.seeds[:1] if sweep.confirm else sweep.seeds
    asked = [sweep.with_setting(setting, seed) for seed in seeds for setting in known]
    done = {study for study in asked if beforehand and Run(study, placement.storage).result().status == "FINISHED"}
    left = [study for study in asked if study not in done]
    packing = Packing()
    if placement.packs and placement.workers.most == 1 and sweep.stopping != "median" and beforehand:
        at_once = Plan(len(left), 1, placement.workers, have, 0.0).check().at_once
        packing = packing_of(left, at_once, device=placement.device)
    confirming = probe(asked) * more * confirmed / len(asked) if sweep.confirm else 0.0
    runs = len(known) + more * confirmed
    needed = tuple(study.title() for study in needs_of(sweep.studies(), evaluated=sweep.evaluates))
    shared = Shared.of(asked)
    whole = Plan(runs, len(sweep.looks), placement.workers, have, 0.0, needed, shared, len(done)).check()
    training = packing.planned(whole, left)
    return replace(training, seconds=training.seconds + confirming)


def check(sweep: Sweep, placement: Placement) -> None:
    """Refuse a sweep that cannot work, before anything is touched."""
    Plan(1, len(sweep.looks), placement.workers, available(placement.cpus), 0.0).check()
    known_device(placement.device)
    refuse_unusable_storage(placement.storage)
    for chosen in sweep.settings() or [{}]:
        placement.workers.check(sweep.with_setting(chosen))
        for look in sweep.looks:
            refuse_too_large(sweep.with_setting(chosen).with_fields(look), placement.device, placement.workers)
    if placement.workers.most > 1 and sweep.stopping != "none":
        raise InputError("runs on several workers are not stopped early: use one worker, or stopping none.")
    first = sweep.with_setting((sweep.settings() or [{}])[0])
    if sweep.metric in metric_names(sweep, _smaller(first)):  # in a moment
        return
    names = metric_names(sweep, first)
    if sweep.metric not in names:
        raise InputError(f"there is no metric '{sweep.metric}': there are {', '.join(sorted(names))}.")


def _smaller(study: Study[Any]) -> Study[Any]:
    """The study at the size of its `tiny` preset, where that fits its other fields; else the study itself."""
    try:
        return replace(study, **type(study).presets.get("tiny", {}))
    except InputError:
        return study


def metric_names(sweep: Sweep, study: Study[Any]) -> set[str]:
    """The names of what a study measures, from the smallest evaluation of an untrained model."""
    model = study.model().eval().requires_grad_(False)
    with lending(untrained):  # names need no training
        return _measured(sweep, study, model)


def _measured(sweep: Sweep, study: Study[Any], model: Any) -> set[str]:
    if not sweep.evaluates:
        return {"loss", *study.validate(model, study.draws("validate"))}
    small = {
        name: value
        for name, value in type(study).preset("tiny" if "tiny" in study.presets else "report").fields().items()
        if name in evaluation_fields(type(study))
    }
    tiny = replace(study, **small)
    return {*tiny.evaluate(model, tiny.draws("evaluate")).metrics, "cpu_seconds", "updates_per_cpu_second"}
