"""The exported model as MLflow's `pyfunc`, for who has genlib installed: it scores points, and draws samples.

    model = mlflow.pyfunc.load_model("models:/m-…")
    model.predict(DataFrame({"x0": [0.1], "x1": [0.3]}))        # log-densities, of a study that has them
    model.predict(DataFrame({"count": [100], "seed": [0]}))     # samples: arrays by name

Beside the graph lie the study's name and fields, and its weights; loading them runs nothing but genlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cluster.files import read_json, write_json
from cluster.record import FORMAT, rebuild
from genlib import InputError, Study, Trained
from genlib.catalogue import STUDIES

if TYPE_CHECKING:
    from pandas import DataFrame

FOLDER, FIELDS, WEIGHTS = "served", "study.json", "weights.pt"


def can_score(study: Study[Any]) -> bool:
    """Whether a study has a density of points."""
    return type(study).score is not Study.score


def can_sample(study: Study[Any]) -> bool:
    """Whether a study draws samples."""
    return type(study).sample is not Study.sample


def add_pyfunc(target: Path, trained: Trained[Any]) -> None:
    """Give an exported model the flavour that scores and samples, where its study does either."""
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import add_to_model
    from mlflow.types import ColSpec, Schema

    study = trained.study
    if type(study) not in STUDIES or not (can_score(study) or can_sample(study)):
        return
    folder = target / FOLDER
    folder.mkdir()
    write_json(folder / FIELDS, {**study.identity(), "format": FORMAT, "fields": study.fields()})
    torch.save(trained.model.state_dict(), folder / WEIGHTS)
    model = Model.load(str(target))
    add_to_model(model, loader_module=__name__, data=FOLDER, conda_env="conda.yaml", python_env="python_env.yaml")
    columns: list[Any] = [ColSpec("double", name, required=False) for name in point_columns(study)]
    if can_score(study) and getattr(study, "classes", None):
        columns.append(ColSpec("long", "y", required=False))
    columns += [ColSpec("long", name, required=False) for name in ("count", "seed") if can_sample(study)]
    model.signature = ModelSignature(inputs=Schema(columns))
    model.saved_input_example_info = {}  # it is the network's own input, which the graph takes
    model.save(str(target / "MLmodel"))


def point_columns(study: Study[Any]) -> list[str]:
    """The names of a point's coordinates; none where nothing is scored."""
    return [f"x{axis}" for axis in range(study.example()[0].shape[1])] if can_score(study) else []


class Served:
    """A trained model behind `predict`."""

    def __init__(self, study: Study[Any], model: Any) -> None:
        self.study, self.model = study, model

    @torch.no_grad()
    def predict(self, rows: DataFrame, params: dict[str, Any] | None = None) -> Any:
        """Scores of rows that are points; samples, for a row with a count."""
        if "count" in rows:
            count, seed = int(rows["count"].iloc[0]), int(rows["seed"].iloc[0]) if "seed" in rows else 0
            if len(rows) > 1 or count < 1 or not can_sample(self.study):
                raise InputError(
                    "samples are asked for by one row with a count of at least 1, of a study that draws any."
                )
            drawn = self.study.sample(self.model, count, self.study.draws(f"samples of {seed}"))
            return {name: tensor.numpy() for name, tensor in drawn.items()}
        columns = point_columns(self.study)
        if not columns or any(name not in rows for name in columns):
            asked = f"columns {', '.join(columns)} to score, or " if columns else ""
            raise InputError(f"{self.study.title()} takes {asked}count (and seed) to sample; got {list(rows)}.")
        x = torch.from_numpy(rows[columns].to_numpy(np.float32))
        y = torch.from_numpy(rows["y"].to_numpy(np.int64)) if "y" in rows else None
        classes = getattr(self.study, "classes", 0)
        if y is not None and classes and not 0 <= int(y.min()) <= int(y.max()) < classes:
            raise InputError(f"y is the class of a point: 0 to {classes - 1}.")
        return self.study.score(self.model, x, y).numpy()


def _load_pyfunc(path: str) -> Served:
    """What MLflow calls: the study of the catalogue that the file names, with its weights."""
    study = rebuild(read_json(Path(path) / FIELDS), Path(path))
    model = study.model()
    model.load_state_dict(torch.load(Path(path) / WEIGHTS, weights_only=True))
    return Served(study, model.eval().requires_grad_(False))
