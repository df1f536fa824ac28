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
from genlib.methods.diffusion import ImageDenoiser, SamplerName
from genlib.metrics.image_sets import overlap
from genlib.studies.image_diffusion.judges import Judge
from genlib.studies.image_diffusion.measures import INDIRECT, real_features, right
from genlib.studies.image_diffusion.study import ImageDiffusion
from genlib.studies.losses import draw_loss

STOPS = 10
"""Steps of the film that are shown side by side."""
JUDGED, NAMED = 250, 100
"""Number of images behind a point of a curve, and behind a share that a row is named by, at most."""
WEIGHTS = (0.0, 1.0, 2.0, 3.0, 5.0)
STEPS = (1, 2, 4, 9, 18)
SCALES = (0.5, 0.8, 1.0, 1.25, 2.0)
SAMPLERS: tuple[SamplerName, ...] = ("heun", "dpm2", "ddim", "ancestral")


@torch.no_grad()
def draw(study: ImageDiffusion, model: ImageDenoiser, history: History) -> dict[str, Drawing]:
    """Every figure of the study."""
    judge = study.judge()
    error = "distance of what two levels of noise show" if study.few_steps else "weighted squared error of the noise"
    drawings = {
        "loss": draw_loss(history, label=error),
        "film": _film(study, model),
        "prompted": _prompted(study, model),
        "starting_noise": _starting_noise(study, model, judge),
        "nearest": _nearest(study, model),
        "guidance": _guidance(study, model, judge),
        "sampling_steps": _sampling_steps(study, model, judge),
        "samplers": _samplers(study, model, judge),
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
        parts |= {text: _bytes(shown[chosen, k]), f"{text}, foreseen": _bytes(seen[chosen, k])}
    figure = images.named_rows(parts, title="from noise to image, and the end foreseen")
    together = torch.cat((shown, seen), 1)
    frames = np.stack([images.sheet(_bytes(frame), len(texts)) for frame in together])
    arrays = {"levels of noise": study.sigmas()[chosen.cpu()].numpy(force=True)}
    return Film(figure, arrays, frames.repeat(6, 1).repeat(6, 2))


def _prompted(study: ImageDiffusion, model: ImageDenoiser) -> Drawing:
    """Every class in every colour; or a row of each class."""
    captions = study.captions
    names = [names[0] for names in captions.names]
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


def _guidance(study: ImageDiffusion, model: ImageDenoiser, judge: Judge) -> Drawing:
    """What guidance buys, and what it pays with."""
    weights = WEIGHTS if study.text_dropout else (1.0,)
    looks = [replace(study, guidance=weight) for weight in weights]
    within = study.guidance_from > study.sigmas()[-2] or study.guidance_to < study.sigmas()[0]
    where = f" at noise of {study.guidance_from:g} to {study.guidance_to:g}" if within else ""
    return _curves(looks, model, judge, np.array(weights), label=f"guidance (weight of the prompt){where}")


def _sampling_steps(study: ImageDiffusion, model: ImageDenoiser, judge: Judge) -> Drawing:
    """How many evaluations of the net it takes."""
    looks = [replace(study, sampling_steps=steps) for steps in STEPS]
    name = "consistency" if study.few_steps else study.sampler
    label = f"evaluations of the net ({name})"
    return _curves(looks, model, judge, np.array([_evaluations(look) for look in looks], float), label=label, log=True)


def _evaluations(study: ImageDiffusion) -> int:
    """How often sampling asks the net."""
    return study.sampling_steps * (2 if study.sampler in ("heun", "dpm2") and not study.few_steps else 1)


def _samplers(study: ImageDiffusion, model: ImageDenoiser, judge: Judge) -> Drawing:
    """The same noise under every sampler, at equal cost."""
    tokens = study.tokens(_texts(study))
    if study.few_steps:
        looks = {"consistency": replace(study, sampling_steps=1)}
    else:
        looks = {str(sampler): replace(study, sampler=sampler, sampling_steps=1) for sampler in SAMPLERS}
    parts, arrays = {}, {}
    for count in (4, 8, 36):
        for sampler, one in looks.items():
            look = replace(one, sampling_steps=count // _evaluations(one))
            share = _share_right(look, model, judge)
            x = look.generate(model, tokens, study.draws("samplers"))
            parts[f"{sampler}, {count} evaluations: {share:.0%}"] = _bytes(x)
            arrays[f"{sampler} {count}"] = np.array([share])
    title = "the same noise under every sampler, and how often images are right"
    return Drawing(images.named_rows(parts, title=title), arrays)


def _share_right(study: ImageDiffusion, model: ImageDenoiser, judge: Judge) -> float:
    """The share of prompted images in which all is right."""
    tokens, asked = study.prompts(min(NAMED, study.samples), study.draws("right"))
    return right(judge, study.generate(model, tokens, study.draws("right images")), asked).shares()["both_right"]


def _curves(looks: Sequence[ImageDiffusion], model: ImageDenoiser, judge: Judge, x: np.ndarray, **kind: Any) -> Drawing:
    """What is right in prompted images, and how they overlap with real ones, beside how other real ones do."""
    study, count = looks[0], min(JUDGED, looks[0].samples)
    tokens, asked = study.prompts(count, study.draws("judged prompts"))
    part = study.images.evaluation.to(tokens.device)
    real, other = real_features(part, judge, count, study.draws("judged"))
    rows = []
    for look in looks:
        drawn = look.generate(model, tokens, study.draws("judged"))
        found = right(judge, drawn, asked).shares()
        shared = overlap(real, judge.features(drawn))._asdict()
        rows.append({"class right": found["digit_right"], "colour right": found["hue_right"], **shared})
    names = [name for name in rows[0] if name != "colour right" or study.captions.coloured]
    shares = {name: np.array([row[name] for row in rows]) for name in names}
    levels = overlap(real, other)._asdict()
    arrays = {f"{name} of real images": np.array([value]) for name, value in levels.items()}
    return Drawing(prompts.share_curves(x, shares, levels=levels, **kind), {**shares, **arrays, "varied": x})


def _empty_prompt(study: ImageDiffusion, model: ImageDenoiser, judge: Judge) -> Drawing:
    """What comes where nothing is asked for."""
    x = study.generate(model, study.tokens([""] * min(JUDGED, study.samples)), study.draws("empty prompt"))
    classes = len(study.captions.names)
    counts = {
        "of the empty prompt": judge.classes(x),
        "of the training images": study.images.train.y,
    }
    shares = {name: (torch.bincount(y, minlength=classes) / len(y)).numpy(force=True) for name, y in counts.items()}
    names = [names[0] for names in study.captions.names]
    figure = prompts.shown_and_counted(_bytes(x[:40]), shares, names, title="samples of the empty prompt")
    return Drawing(figure, shares)


def _starting_noise(study: ImageDiffusion, model: ImageDenoiser, judge: Judge) -> Drawing:
    """What a wrong strength of the noise that sampling starts from does."""
    tokens = study.tokens(_texts(study))
    parts, arrays = {}, {}
    for scale in SCALES:
        look = replace(study, start_scale=scale)
        share = _share_right(look, model, judge)
        parts[f"noise × {scale:g}: {share:.0%}"] = _bytes(look.generate(model, tokens, study.draws("starting noise")))
        arrays[f"{scale:g}"] = np.array([share])
    title = "noise weaker and stronger than in training: how often all is right"
    return Drawing(images.named_rows(parts, title=title), arrays)


def _indirect(study: ImageDiffusion, model: ImageDenoiser, judge: Judge) -> Drawing:
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
    fresh = study.images.evaluation.x[:100].to(x.device).float() / 255
    sets = {"samples": grey, "fresh real images": fresh}
    found = {name: _nearest_rows(one, known) for name, one in sets.items()}
    row = found["samples"][1]
    parts = {"drawn": _bytes(x), "nearest trained on": known[row].expand(-1, 3, -1, -1).numpy(force=True)}
    medians = ", ".join(f"{name} {distance.median():.1f}" for name, (distance, _) in found.items())
    figure = images.named_rows(parts, title=f"the nearest training images; median distance of {medians}")
    arrays = {f"distance of {name}": distance.numpy(force=True) for name, (distance, _) in found.items()}
    return Drawing(figure, arrays | {"training row": row.numpy(force=True)})


def _nearest_rows(x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The distance of images to the nearest known one, and which that is."""
    parts = torch.split(known, 10_000)
    apart = torch.cat([torch.cdist(x.flatten(1), part.float().flatten(1) / 255) for part in parts], 1).min(1)
    return apart.values, apart.indices


def _texts(study: ImageDiffusion) -> Sequence[str]:
    """A prompt for every class."""
    names = [names[-1] for names in study.captions.names]
    if not study.captions.coloured:
        return [f"a {name}" for name in names]
    return [f"a {COLOURS[(3 * k + 4) % len(COLOURS)].name} {name}" for k, name in enumerate(names)]


def _bytes(x: Tensor) -> np.ndarray:
    return as_bytes(x).numpy(force=True)
