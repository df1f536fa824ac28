"""A study: what is trained and measured. It knows nothing of where it runs.

A study is a frozen dataclass whose fields are the hyperparameters; a handful of methods say the rest. To write one,
subclass `Study`, declare fields with `setting(...)` and a docstring under each, and answer the methods below. Figures
and claims look at a study from above: `genlib.catalogue` says which belong to it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from genlib.adam import Adam
from genlib.draws import Draws
from genlib.errors import InputError
from genlib.settings import coerce, is_evaluation, refuse_unknown, setting

Model = TypeVar("Model", bound=nn.Module)
UPDATE = ("data", "batch", "model", "loss", "optimizer", "learning_rate_factor")
"""Methods that decide what an update does."""
Tensors = dict[str, Tensor]


class Data(NamedTuple):
    """Train and test tensors, on the host; the first size of each counts rows.

    Either set may be empty where every batch is drawn afresh.
    """

    train: Tensors
    test: Tensors


class Loss(NamedTuple):
    """Scalar terms, already weighted, whose sum is minimised; and diagnostics, which are only reported."""

    terms: Tensors
    diagnostics: Tensors = {}  # noqa: RUF012 - a NamedTuple's default, never written to


class Evaluation(NamedTuple):
    """The full metrics of a finished model, with its samples and tables."""

    metrics: dict[str, float]
    samples: dict[str, np.ndarray]
    tables: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Study(Generic[Model]):
    """What every study has: the fields of its optimisation, its presets, its identity."""

    version: ClassVar[int] = 1
    """Version of the study's meaning, raised when that changes: older runs are then no longer the same run."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"report": {}}
    """Named sets of field values; `report` holds the defaults."""
    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("loss", "min")
    """The metric that sweeps and early stopping look at, and its direction."""

    steady: ClassVar[bool] = False
    """Whether an update is the same however many are to come, but for the learning rate. Of two runs that differ in
    `steps` alone the longer then goes through the states of the shorter, and where both are wanted it takes them."""

    packs: ClassVar[bool] = False
    """Whether such studies can train as one (`genlib.packs`): the loss is plain arithmetic on weights, batch and draws,
    without buffers that it changes, and the optimiser is Adam or AdamW."""

    seed: int = setting(0, low=0, carried=True)
    """Seed of everything random: weights, data, batches, noise."""
    steps: int = setting(2_000, low=1, carried=True)
    """Number of updates of the weights."""
    batch_size: int = setting(1_000, low=1)
    """Number of rows in the global batch, over all workers."""
    learning_rate: float = setting(1e-3, above=0, carried=True)
    """Adam's learning rate at its highest."""
    learning_rate_schedule: Literal["constant", "cosine"] = setting("constant", carried=True)
    """Course of the learning rate: constant, or falling to zero as a half cosine over `steps`."""
    warmup_steps: int = setting(0, low=0, carried=True)
    """Number of updates over which the learning rate rises linearly from zero."""
    weight_decay: float = setting(0.0, low=0, carried=True)
    """Weight of Adam's L2 penalty."""
    clip_norm: float = setting(0.0, low=0, carried=True)
    """Longest gradient allowed (norm over all parameters); longer ones are shortened to it, and 0 allows any."""
    ema_decay: float = setting(0.0, low=0, below=1, carried=True)
    """Decay of the running average of the weights, which is evaluated in place of the last weights; 0 keeps none."""
    log_every: int = setting(10, low=1, carried=True)
    """Number of updates between reports of the losses, which are means over these updates."""
    validate_every: int = setting(500, low=1, carried=True)
    """Number of updates between validations; the last update is always validated."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Have a class that changes what an update does say again whether it is steady, and whether it packs."""
        super().__init_subclass__(**kwargs)
        if any(name in cls.__dict__ for name in UPDATE):
            cls.steady, cls.packs = cls.__dict__.get("steady", False), cls.__dict__.get("packs", False)

    def __new__(cls, *args: Any, **given: Any) -> Self:
        refuse_unknown(cls, given)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for declared in fields(self):
            object.__setattr__(self, declared.name, coerce(type(self), declared.name, getattr(self, declared.name)))
        self.check()

    @classmethod
    def preset(cls, name: str = "report", /, **overrides: Any) -> Self:
        """The study with a named set of fields, some of them overridden; `epochs` is another way to say `steps`."""
        if name not in cls.presets:
            raise InputError(f"{cls.__name__} has no preset '{name}': it has {', '.join(cls.presets)}.")
        return cls(**cls.presets[name]).with_fields(overrides)

    @classmethod
    def title(cls) -> str:
        """The study's name on the command line: the class name in kebab case."""
        return title_of(cls.__name__)

    # -- what a study answers ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Refuse fields that do not fit each other (`InputError`). Single fields are checked by their declarations."""

    def data(self) -> Data:
        """Train and test tensors, on the host."""
        raise NotImplementedError

    def batch(self, train: Tensors, draws: Draws) -> Tensors:
        """One step's rows of the training tensors: by default the next ones of shuffled epochs."""
        rows = draws.batch(len(next(iter(train.values()))), self.batch_size)
        return {name: tensor.index_select(0, rows) for name, tensor in train.items()}

    def model(self) -> Model:
        """A freshly initialised model; its weights follow from the seed."""
        raise NotImplementedError

    def loss(self, model: Model, batch: Tensors, draws: Draws) -> Loss:
        """The loss terms of one batch."""
        raise NotImplementedError

    def validate(self, model: Model, draws: Draws) -> dict[str, float]:
        """Cheap metrics during training, named `validation/…`."""
        raise NotImplementedError

    def evaluate(self, model: Model, draws: Draws) -> Evaluation:
        """The full metrics of a finished model."""
        raise NotImplementedError

    def sample(self, model: Model, count: int, draws: Draws) -> Tensors:
        """Samples of a finished model: `x`, and `y` where they have classes."""
        raise InputError(f"{self.title()} is no generative study: it draws no samples.")

    def score(self, model: Model, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The log-density of points under a finished model, in nats."""
        raise InputError(f"{self.title()} has no density: it cannot score points.")

    def example(self) -> tuple[Tensor, ...]:
        """Arguments for one call of the model, for export and signature."""
        raise NotImplementedError

    def needs(self) -> dict[str, Study[Any]]:
        """Studies whose trained models this one is trained with (a teacher), by name. They are part of its identity."""
        return {}

    def evaluation_needs(self) -> dict[str, Study[Any]]:
        """Studies whose trained models this one is only measured with (a judge), by name. Its key ignores them."""
        return {}

    @property
    def rows(self) -> int | None:
        """Rows of training data in an epoch; None where every batch is drawn afresh, so that there are no epochs."""
        return len(next(iter(self.data().train.values()), ())) or None

    def checksums(self) -> dict[str, str]:
        """Checksums of the files that the data come from, by name; empty where data are drawn."""
        return {}

    def can_pack(self) -> bool:
        """Whether this very study can train as one with others."""
        return self.packs

    # -- what follows from the fields ----------------------------------------------------------------------------------

    def draws(self, stream: str, step: int = 0, *, device: torch.device | str | None = None) -> Draws:
        """This study's randomness for one purpose, on a device or on torch's default one."""
        return Draws(self.seed, stream, step, device=device or torch.get_default_device())

    def optimizer(self, model: Model) -> torch.optim.Optimizer:
        """Adam, fused into one kernel per step."""
        return Adam(model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)

    def learning_rate_factor(self, step: int) -> float:
        """The learning rate of an update as a fraction of its highest."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.learning_rate_schedule == "constant":
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    @property
    def epochs(self) -> float | None:
        """Number of times that `steps` go through the training data; None where there are no epochs."""
        rows = self.rows
        return self.steps * self.batch_size / rows if rows else None

    def with_fields(self, fields: Mapping[str, Any], /) -> Self:
        """The study with some fields changed; `epochs` is another way to say `steps` (see `lasting`)."""
        if "epochs" not in fields:
            refuse_unknown(type(self), fields)
            return replace(self, **fields)
        others = {name: value for name, value in fields.items() if name != "epochs"}
        return self.with_fields(others).lasting(fields["epochs"])

    def lasting(self, epochs: Any) -> Self:
        """The study with as many `steps` as go through the training data so often."""
        name, rows = type(self).__name__, self.rows
        number = epochs.item() if isinstance(epochs, np.generic) else epochs
        if rows is None:
            raise InputError(f"{name}.epochs: got {epochs!r}; this study draws fresh data for every batch: give steps.")
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < math.inf:
            raise InputError(f"{name}.epochs: got {epochs!r}; allowed is a number above 0.")
        return replace(self, steps=math.ceil(number * rows / self.batch_size - 1e-9))

    def identity(self) -> dict[str, Any]:
        """What identifies a run: the study's name, version, training fields, data, and the models it is trained with.

        Evaluation fields have no part in it, nor has the file in which the class is written.
        """
        training = {f.name: getattr(self, f.name) for f in fields(self) if not is_evaluation(f)}
        identity = {"study": type(self).__name__, "version": self.version, "fields": training}
        files, needs = self.checksums(), places(self.needs())
        return identity | ({"files": files} if files else {}) | ({"needs": needs} if needs else {})

    def key(self) -> str:
        """The identity as a short hash. It follows from the study's name, never from the place of its file."""
        # 0.4.0 hashed the place of the file. Its form, made of the name alone, is kept: runs of 0.4.0 keep their keys.
        place = f"genlib.studies.{self.title().replace('-', '_')}:{type(self).__name__}"
        return hashlib.sha256(json.dumps(self.identity() | {"study": place}, sort_keys=True).encode()).hexdigest()[:12]

    def course(self) -> str | None:
        """A short hash of all that decides the updates but their number; None where the number decides them too.

        Example:
            >>> from genlib import PointDiffusion
            >>> PointDiffusion(steps=10).course() == PointDiffusion(steps=20).course()
            True
            >>> PointDiffusion(learning_rate_schedule="cosine").course() is None
            True
        """
        if not self.steady or self.learning_rate_schedule != "constant":
            return None
        identity = self.identity()
        del identity["fields"]["steps"]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]

    def fields(self) -> dict[str, Any]:
        """Every field and its value, ready for JSON; `type(study)(**fields)` is the same study."""
        return asdict(self)


def places(studies: Mapping[str, Study[Any]]) -> dict[str, str]:
    """Where in a storage the runs of the given studies lie, by name: what is recorded of a need."""
    return {name: f"{study.title()}/{study.key()}" for name, study in studies.items()}


def title_of(name: str) -> str:
    """A class name in kebab case.

    Example:
        >>> title_of("PointDiffusion"), title_of("TinyGPT")
        ('point-diffusion', 'tiny-gpt')
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def recorded_name(text: str) -> str:
    """The name of a study as a record has it: 0.4.0 wrote the place of its file before it.

    Example:
        >>> recorded_name("genlib.studies.point_diffusion:PointDiffusion"), recorded_name("PointDiffusion")
        ('PointDiffusion', 'PointDiffusion')
    """
    return text.rpartition(":")[2]


__all__ = ["Data", "Evaluation", "Loss", "Study", "Tensors", "setting"]
