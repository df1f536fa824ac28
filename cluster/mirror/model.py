"""The trained model in MLflow: exported as a graph (`pt2`, nothing is executed on loading), with its signature."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from cluster.mirror.serving import add_pyfunc
from cluster.mirror.store import Store
from cluster.opening import open_run
from cluster.project import packages
from genlib import InputError


def shown_model(store: Store, run: str) -> str:
    """The id of a run's model in MLflow; empty where it has none."""
    outputs = store.client.get_run(run).outputs
    return str(outputs.model_outputs[0].model_id) if outputs and outputs.model_outputs else ""


def show_model(store: Store, run: str, path: Path) -> str:
    """Log the model of a finished run, unless it is there; returns a sentence where it cannot be exported."""
    import mlflow.pytorch
    from mlflow.entities import LoggedModelOutput

    if shown_model(store, run):
        return ""
    shown = store.client.get_run(run)
    try:
        trained = open_run(path)
    except InputError as error:  # a damaged checkpoint: the next command on the run mends it
        return str(error)
    example = trained.study.example()
    versions = packages()
    # Named by us: otherwise MLflow imports the model in another process to find out, which takes many seconds.
    requirements = [f"{name}=={versions[name]}" for name in ("torch", "numpy")]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model"
        try:
            mlflow.pytorch.save_model(
                trained.model, target, input_example=tuple(tensor.numpy() for tensor in example),
                signature=_signature(trained.model, example), pip_requirements=requirements, serialization_format="pt2",
            )  # fmt: skip
        except Exception as error:  # an exporter refuses in a hundred ways, and the run is whole without it
            return f"the model could not be exported: {type(error).__name__}: {str(error).splitlines()[0]}"[:500]
        add_pyfunc(target, trained)
        model = store.client.create_logged_model(
            shown.info.experiment_id, name=trained.study.title(), source_run_id=run, model_type="pytorch"
        )
        store.client.log_model_artifacts(model.model_id, str(target))
        store.client.finalize_logged_model(model.model_id, "READY")
        store.client.log_outputs(run, [LoggedModelOutput(model.model_id, step=trained.study.steps)])
    return ""


def _signature(model: Any, example: tuple[torch.Tensor, ...]) -> Any:
    """Names and shapes of what goes in and out; the first size is the batch."""
    import inspect

    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    with torch.no_grad():
        out = model(*example)
    names = list(inspect.signature(model.forward).parameters)
    ins: list[Any] = [
        TensorSpec(t.numpy().dtype, (-1, *t.shape[1:]), name) for t, name in zip(example, names, strict=False)
    ]
    outs: list[Any] = [
        TensorSpec(t.numpy().dtype, (-1, *t.shape[1:])) for t in ([out] if isinstance(out, torch.Tensor) else [])
    ]
    return ModelSignature(inputs=Schema(ins), outputs=Schema(outs) if outs else None)
