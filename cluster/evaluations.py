"""One evaluation of a run: its metrics, samples and figures in a folder, whole when its manifest is there and right."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cluster.files import Damaged, file_sha256, numbers, read_json, set_aside, storage_failures, write_json
from genlib import Drawing, Evaluation, Film, Study, Trained
from genlib.settings import evaluation_fields
from genlib.study import places

MANIFEST, TABLE = "manifest.json", ".table.json"
SPEED = ("cpu_seconds", "updates_per_cpu_second")
"""Metrics that are kept beside what the study measures."""
DPI, ARRAYS = 110, "arrays.json"
"""Pixels per inch of a picture; and the file with the names of arrays: those of their files have plain letters only."""


def evaluation_key(study: Study[Any], fields: dict[str, Any] | None = None) -> str:
    """A short hash of the evaluation fields, a study's own or those given, and of the models it is measured with."""
    needs = places(study.evaluation_needs())
    looks = looks_of(study, fields) | ({"needs": needs} if needs else {})
    return hashlib.sha256(json.dumps(looks, sort_keys=True).encode()).hexdigest()[:12]


def looks_of(study: Study[Any], fields: dict[str, Any] | None = None) -> dict[str, Any]:
    """The fields that only look at a trained model: a study's own, or those given."""
    names = evaluation_fields(type(study))
    return {name: value for name, value in (fields or study.fields()).items() if name in names}


def read_evaluation(folder: Path, *, figures: bool = False) -> dict[str, float] | None:
    """The metrics of a whole evaluation; None where there is none, or one without figures where they are asked for.

    A damaged evaluation is set aside.
    """
    try:
        content = read_json(folder / MANIFEST)
        for name, digest in content["files"].items():
            if not (folder / name).exists() or file_sha256(folder / name) != digest:
                raise Damaged(f"{folder / name} is damaged.")
        if figures and not content["figures"]:
            return None
        return numbers(read_json(folder / "metrics.json")["metrics"])
    except FileNotFoundError:
        return None
    except Damaged:
        set_aside(folder)
        return None


class KeptEvaluations:
    """The evaluations of a run directory, for `Trained` to read.

    Arguments:
        folder: the run's `evaluations`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def evaluation(self, study: Study[Any]) -> Evaluation | None:
        """What was measured under a study's evaluation fields; None where nothing was, or not all of it is whole."""
        folder = self.folder / evaluation_key(study)
        metrics = read_evaluation(folder)
        if metrics is None:
            return None
        with np.load(folder / "samples.npz", allow_pickle=False) as file:
            samples = {name: file[name] for name in file.files}
        tables = {
            path.name.removesuffix(TABLE): _rows(json.loads(path.read_text())) for path in folder.glob(f"*{TABLE}")
        }
        return Evaluation({name: value for name, value in metrics.items() if name not in SPEED}, samples, tables)

    def figures(self, study: Study[Any]) -> dict[str, Drawing]:
        """What was drawn of it: each picture in a figure, its arrays as they stand beside it."""
        folder = self.folder / evaluation_key(study)
        if read_evaluation(folder, figures=True) is None:
            return {}
        return {path.stem: _kept_drawing(path) for path in sorted((folder / "figures").glob("*.png"))}


def _kept_drawing(picture: Path) -> Drawing:
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    pixels = imread(picture)
    figure = Figure(figsize=(pixels.shape[1] / DPI, pixels.shape[0] / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(pixels)
    axes.set_axis_off()
    names = picture.parent / ARRAYS  # 0.5.0 wrote none
    known = json.loads(names.read_text()).get(picture.stem, {}) if names.exists() else {}
    beside = {path.name.split(".")[-2]: path for path in sorted(picture.parent.glob(f"{picture.stem}.*.csv"))}
    return Drawing(
        figure, {known.get(safe, safe): np.loadtxt(path, delimiter=",", ndmin=2) for safe, path in beside.items()}
    )


def _rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def evaluate(trained: Trained[Any], folder: Path, *, figures: bool, check: Callable[[], None]) -> dict[str, float]:
    """Measure, draw if asked to, and write; returns the metrics. What is whole already is kept.

    Arguments:
        check: raises where this process may not write any more; asked right before anything is replaced.
    """
    known = read_evaluation(folder)
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    with storage_failures(folder):
        try:
            if known is None:
                aside.mkdir(parents=True)
                known = _measure(trained, aside)
            else:
                shutil.copytree(folder, aside)
            if figures:
                _draw(trained, aside / "figures")
            _seal(aside, figures)
            check()
            if folder.exists():
                shutil.rmtree(folder)
            os.rename(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return known


def _measure(trained: Trained[Any], folder: Path) -> dict[str, float]:
    metrics, samples, tables = trained.evaluation
    with open(folder / "samples.npz", "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **samples)
    for name, rows in tables.items():
        columns = list(rows[0]) if rows else []
        table = {
            "columns": columns,
            "data": [[row[column] for column in columns] for row in rows],
        }  # as MLflow reads it
        (folder / f"{name}{TABLE}").write_text(json.dumps(table, indent=1))
    rate = trained.study.steps / trained.cpu_seconds if trained.cpu_seconds else float("nan")
    speed = dict(zip(SPEED, (trained.cpu_seconds, rate), strict=True))
    fields = looks_of(trained.study)
    needs = places(trained.study.evaluation_needs())
    content = {"metrics": metrics | speed, "fields": fields, "needs": needs, "measured": time.time()}
    write_json(folder / "metrics.json", content)
    return metrics | speed


def _draw(trained: Trained[Any], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    names: dict[str, dict[str, str]] = {}
    for name, drawing in trained.figures.items():
        figure, arrays = drawing
        figure.savefig(folder / f"{name}.png", dpi=DPI)
        if isinstance(drawing, Film):
            drawing.save(folder / f"{name}.gif")
        for key, array in arrays.items():
            safe = "".join(c if c.isalnum() else "_" for c in key).strip("_")
            np.savetxt(folder / f"{name}.{safe}.csv", np.atleast_2d(array), delimiter=",", fmt="%.6g")
            names.setdefault(name, {})[safe] = key
    (folder / ARRAYS).write_text(json.dumps(names, indent=1))


def _seal(folder: Path, figures: bool) -> None:
    (folder / MANIFEST).unlink(missing_ok=True)
    files = {str(path.relative_to(folder)): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    write_json(folder / MANIFEST, {"files": files, "figures": figures})
