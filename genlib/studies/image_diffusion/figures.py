"""The figures of `ImageDiffusion`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genlib.data.images.colours import as_bytes
from genlib.data.prompts import COLOURS, HELD_OUT, Asked
from genlib.drawing import Drawing, Film
from genlib.figures import images, prompts
from genlib.history import History
from genlib.methods.diffusion import ImageDenoiser
from genlib.metrics.image_sets import overlap
from genlib.needs import needed
from genlib.nets.classifier import Classifier
from genlib.studies.image_diffusion.measures import INDIRECT, real_features, right
from genlib.studies.image_diffusion.study import ImageDiffusion
from genlib.studies.losses import draw_loss

STOPS = 10
"""Steps of the film that are shown side by side."""
JUDGED = 250
"""Number of images behind each point of a curve."""
WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
STEPS = (1, 2, 4, 9, 18)
SCALES = (0.5, 0.8, 1.0, 1.25, 2.0)


@torch.no_grad()
def draw(study: ImageDiffusion, model: ImageDenoiser, history: History) -> dict[str, Drawing]:
    """Every figure of the study. Those that need a judge are drawn where the data set has one."""
    drawings = {
        "loss": draw_loss(history, label="weighted squared error of the noise"),
        "film": _film(study, model),
        "prompted": _prompted(study, model),
        "starting_noise": _starting_noise(study, model),
        "nearest": _nearest(study, model),
    }
    if not study.evaluation_needs():
        return drawings
    judge = needed(study, "judge")
    drawings |= {
        "guidance": _guidance(study, model, judge),
        "sampling_steps": _sampling_steps(study, model, judge),
        "empty_prompt": _empty_prompt(study, model, judge),
    }
    return drawings | ({"indirect": _indirect(study, model, judge)} if study.data_set in ("digits", "mnist") else {})


def _film(study: ImageDiffusion, model: ImageDenoiser) -> Film:
    """Images as they leave the noise, and what the model sees in them on the way."""
    texts = _texts(study)[:3]
    stops, seen = study.path(model, study.tokens(texts), study.draws("film"))
    shown, seen = study.shown(stops), study.pixels(seen)
    chosen = torch.linspace(0, len(stops) - 1, min(STOPS, len(stops))).round().long()
    parts: dict[str, np.ndarray] = {}
    for k, text in enumerate(texts):
        parts |= {text: _bytes(shown[chosen, k]), f"{text}, as seen": _bytes(seen[chosen, k])}
    figure = images.named_rows(parts, title="from noise to image, and the clean image that the model sees in it")
    together = torch.cat((shown, seen), 1)
    frames = np.stack([images.sheet(_bytes(frame), len(texts)) for frame in together])
    arrays = {"levels of noise": study.sigmas()[chosen.cpu()].numpy(force=True)}
    return Film(figure, arrays, frames.repeat(6, 1).repeat(6, 2))


def _prompted(study: ImageDiffusion, model: ImageDenoiser) -> Drawing:
    """Every class in every colour; or a row of each class."""
    captions = study.captions
    names = [names[-1] if len(names[-1]) < 3 else names[0] for names in captions.names]
    if captions.coloured:
        texts = [f"a {colour.name} {name}" for colour in COLOURS for name in names]
        rows = [colour.name for colour in COLOURS]
        title = f"prompts “a red {names[0]}” …; pairs that were never trained on: {len(HELD_OUT)} of {len(texts)}"
    else:
        texts, rows = [f"a {name}" for _ in range(6) for name in names], [" "] * 6
        title = f"prompts “a {names[0]}” …"
    x = study.generate(model, study.tokens(texts), study.draws("prompted"))
    figure = prompts.grid(_bytes(x), rows, names, title=title)
    return Drawing(figure, {"mean colour": x.mean((2, 3)).numpy(force=True)})


def _guidance(study: ImageDiffusion, model: ImageDenoiser, judge: Classifier) -> Drawing:
    """What guidance buys, and what it pays with."""
    tokens, asked = study.prompts(JUDGED, study.draws("guidance"))
    real, _ = real_features(study.images, judge, JUDGED, study.draws("guidance"))
    weights = WEIGHTS if study.text_dropout else (1.0,)
    rows = [_shares(replace(study, guidance=weight), model, judge, tokens, asked, real) for weight in weights]
    return _curves(study, np.array(weights), rows, label="weight of the prompt against the empty one (guidance)")


def _sampling_steps(study: ImageDiffusion, model: ImageDenoiser, judge: Classifier) -> Drawing:
    """How many steps it takes."""
    tokens, asked = study.prompts(JUDGED, study.draws("steps"))
    real, _ = real_features(study.images, judge, JUDGED, study.draws("steps"))
    rows = [_shares(replace(study, sampling_steps=steps), model, judge, tokens, asked, real) for steps in STEPS]
    name = "consistency" if study.few_steps else study.sampler
    return _curves(study, np.array(STEPS, float), rows, label=f"sampling steps ({name})", log=True)


def _shares(
    study: ImageDiffusion, model: ImageDenoiser, judge: Classifier, tokens: Tensor, asked: Asked, real: Tensor
) -> dict[str, float]:
    x = study.generate(model, tokens, study.draws("judged"))
    found, shared = right(judge, x, asked).shares(), overlap(real, judge.features(x))
    return {
        "digit right": found["digit_right"],
        "colour right": found["hue_right"],
        "precision": shared.precision,
        "recall": shared.recall,
    }


def _curves(study: ImageDiffusion, x: np.ndarray, rows: list[dict[str, float]], **kind: Any) -> Drawing:
    names = [name for name in rows[0] if name != "colour right" or study.captions.coloured]
    shares = {name: np.array([row[name] for row in rows]) for name in names}
    return Drawing(prompts.share_curves(x, shares, **kind), {**shares, "varied": x})


def _empty_prompt(study: ImageDiffusion, model: ImageDenoiser, judge: Classifier) -> Drawing:
    """What comes where nothing is asked for."""
    x = study.generate(model, study.tokens([""] * JUDGED), study.draws("empty prompt"))
    classes = len(study.captions.names)
    counts = {
        "of the empty prompt": judge.digits(x),
        "of the training images": study.images.train.y,
    }
    shares = {name: (torch.bincount(y, minlength=classes) / len(y)).numpy(force=True) for name, y in counts.items()}
    names = [names[0] for names in study.captions.names]
    figure = prompts.shown_and_counted(_bytes(x[:40]), shares, names, title="samples of the empty prompt")
    return Drawing(figure, shares)


def _starting_noise(study: ImageDiffusion, model: ImageDenoiser) -> Drawing:
    """What a wrong strength of the noise that sampling starts from does."""
    texts = _texts(study)
    parts = {
        f"noise × {scale:g}": _bytes(
            replace(study, start_scale=scale).generate(model, study.tokens(texts), study.draws("starting noise"))
        )
        for scale in SCALES
    }
    figure = images.named_rows(parts, title="the same noise, stronger and weaker than was trained on")
    return Drawing(figure, {name: part.reshape(len(part), -1).mean(1) for name, part in parts.items()})


def _indirect(study: ImageDiffusion, model: ImageDenoiser, judge: Classifier) -> Drawing:
    """Prompts that name their answer, and prompts that only hint at it."""
    parts, arrays = {}, {}
    for hint, direct in INDIRECT:
        asked = study.captions.asked(direct)
        for text in (direct, hint):
            x = study.generate(model, study.tokens([text] * 60), study.draws("indirect"))
            wanted = Asked(*(torch.full((60,), value) for value in asked))
            share = float((right(judge, x, wanted).digit & right(judge, x, wanted).hue).float().mean())
            parts[f"{text}: {share:.0%}"] = _bytes(x[:10])
            arrays[text] = np.array([share])
    return Drawing(images.named_rows(parts, title="direct prompts, and hints; and how often they are right"), arrays)


def _nearest(study: ImageDiffusion, model: ImageDenoiser) -> Drawing:
    """Samples, and the training image nearest to each: it does not copy."""
    x = study.generate(model, study.tokens(_texts(study)), study.draws("nearest"))
    known = study.images.train.x.to(x.device)
    grey = x.amax(1, keepdim=True) if known.shape[1] == 1 else x  # ink of any colour is the same
    apart = [torch.cdist(grey.flatten(1), part.float().flatten(1) / 255) for part in torch.split(known, 10_000)]
    distance, row = torch.cat(apart, 1).min(1)
    parts = {"drawn": _bytes(x), "nearest trained on": known[row].expand(-1, 3, -1, -1).numpy(force=True)}
    figure = images.named_rows(parts, title="samples, and the training image nearest to each")
    return Drawing(figure, {"distance": distance.numpy(force=True), "training row": row.numpy(force=True)})


def _texts(study: ImageDiffusion) -> Sequence[str]:
    """A prompt for every class."""
    names = [names[-1] for names in study.captions.names]
    if not study.captions.coloured:
        return [f"a {name}" for name in names]
    return [f"a {COLOURS[(3 * k + 4) % len(COLOURS)].name} {name}" for k, name in enumerate(names)]


def _bytes(x: Tensor) -> np.ndarray:
    return as_bytes(x).numpy(force=True)
