"""A study: what is trained, measured and drawn. It knows nothing of where it runs.

A study is a frozen dataclass whose fields are the hyperparameters; a handful of methods say the rest. To write one,
subclass `Study`, declare fields with `setting(...)` and a docstring under each, and answer the methods below.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from genlib.claims import Claim
from genlib.draws import Draws
from genlib.errors import InputError
from genlib.history import History
from genlib.settings import coerce, is_evaluation, refuse_unknown, setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Model = TypeVar("Model", bound=nn.Module)
Kind = TypeVar("Kind", bound="Study[Any]")
Tensors = dict[str, Tensor]


class Data(NamedTuple):
    """Train and test tensors, on the host; first sizes count rows. Either may be empty where draws are always fresh."""

    train: Tensors
    test: Tensors


class Loss(NamedTuple):
    """Scalar terms, already weighted: their sum is minimised. Diagnostics are reported and nothing more."""

    terms: Tensors
    diagnostics: Tensors = {}  # noqa: RUF012 - a NamedTuple's default, never written to


class Evaluation(NamedTuple):
    """The full metrics at the end, with the samples and tables they were taken from."""

    metrics: dict[str, float]
    samples: dict[str, np.ndarray]
    tables: dict[str, list[dict[str, Any]]]


class Drawing(NamedTuple):
    """A figure and the arrays it shows."""

    figure: Figure
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Study(Generic[Model]):
    """What every study has: the fields of its optimisation, its presets, its identity."""

    version: ClassVar[int] = 1
    """Raised when the study's meaning changes: older runs are then no longer the same run."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"report": {}}
    """Named sets of fields. `report` is what the fields default to."""
    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("loss", "min")
    """The metric that sweeps and early stopping look at, and its direction."""

    seed: int = setting(0, low=0)
    """Everything random follows from it: weights, data, batches, noise."""
    steps: int = setting(2_000, low=1)
    """Updates of the weights."""
    batch_size: int = setting(1_000, low=1)
    """Rows of the global batch, over all workers."""
    learning_rate: float = setting(1e-3, above=0)
    """Adam's step size at its highest."""
    learning_rate_schedule: Literal["constant", "cosine"] = setting("constant")
    """What becomes of the learning rate: stays, or falls to zero as a half cosine over `steps`."""
    warmup_steps: int = setting(0, low=0)
    """Updates over which the learning rate rises linearly from zero."""
    weight_decay: float = setting(0.0, low=0)
    """Adam's L2 penalty."""
    clip_norm: float = setting(0.0, low=0)
    """Longest gradient allowed (its norm over all parameters); 0 allows any."""
    ema_decay: float = setting(0.0, low=0, below=1)
    """Decay of the running average of the weights, which is then what is evaluated; 0 keeps none."""
    log_every: int = setting(10, low=1)
    """Losses are reported as means over this many updates."""
    validate_every: int = setting(500, low=1)
    """Updates between validations; the last update is always validated."""

    def __new__(cls: type[Kind], *args: Any, **given: Any) -> Kind:
        refuse_unknown(cls, given)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for declared in fields(self):
            object.__setattr__(self, declared.name, coerce(type(self), declared.name, getattr(self, declared.name)))
        self.check()

    @classmethod
    def preset(cls: type[Kind], name: str = "report", /, **overrides: Any) -> Kind:
        """The study with a named set of fields, some of them overridden."""
        if name not in cls.presets:
            raise InputError(f"{cls.__name__} has no preset '{name}': it has {', '.join(cls.presets)}.")
        refuse_unknown(cls, overrides)
        return cls(**{**cls.presets[name], **overrides})

    @classmethod
    def title(cls) -> str:
        """The study's name on the command line: the class name in kebab case."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", cls.__name__).lower()

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
        """The terms to minimise on one batch."""
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

    def figures(self, model: Model, history: History) -> dict[str, Drawing]:
        """The figures of a finished run, by name."""
        raise NotImplementedError

    def example(self) -> tuple[Tensor, ...]:
        """Arguments for one call of the model, for export and signature."""
        raise NotImplementedError

    @classmethod
    def claims(cls) -> tuple[Claim, ...]:
        """What the study should show."""
        return ()

    def checksums(self) -> dict[str, str]:
        """SHA-256 of the files that the data come from, by name; none where data are drawn."""
        return {}

    # -- what follows from the fields ----------------------------------------------------------------------------------

    def draws(self, stream: str, step: int = 0, *, device: torch.device | str = "cpu") -> Draws:
        """This study's randomness for one purpose."""
        return Draws(self.seed, stream, step, device=device)

    def optimizer(self, model: Model) -> torch.optim.Optimizer:
        """Adam, fused into one kernel per step."""
        return torch.optim.Adam(model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)

    def learning_rate_factor(self, step: int) -> float:
        """The learning rate of an update as a fraction of its highest."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.learning_rate_schedule == "constant":
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def identity(self) -> dict[str, Any]:
        """What makes this run this run: name, version, training fields, data. Evaluation fields only look at it."""
        training = {f.name: getattr(self, f.name) for f in fields(self) if not is_evaluation(f)}
        identity = {"study": type(self).__name__, "version": self.version, "fields": training}
        files = self.checksums()
        return identity | ({"files": files} if files else {})

    def key(self) -> str:
        """The identity as a short hash. It follows from the study's name, never from the place of its file."""
        # 0.4.0 hashed a place. Its form, made of the name alone, is kept: runs of 0.4.0 are still the same runs.
        place = f"genlib.studies.{self.title().replace('-', '_')}:{type(self).__name__}"
        return hashlib.sha256(json.dumps(self.identity() | {"study": place}, sort_keys=True).encode()).hexdigest()[:12]

    def fields(self) -> dict[str, Any]:
        """Every field and its value, ready for JSON; `type(study)(**fields)` is the same study."""
        return asdict(self)


def recorded_name(text: str) -> str:
    """The name of a study as a record has it: 0.4.0 wrote the place of its file before it.

    Example:
        >>> recorded_name("genlib.studies.point_diffusion:PointDiffusion"), recorded_name("PointDiffusion")
        ('PointDiffusion', 'PointDiffusion')
    """
    return text.rpartition(":")[2]


__all__ = ["Data", "Drawing", "Evaluation", "Loss", "Study", "Tensors", "setting"]
