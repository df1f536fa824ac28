"""Images of prompts that a person writes: a grid, a film of how they leave the noise, and the arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from genlib import Draws, Film, ImageDiffusion, InputError
from genlib.data.images.colours import as_bytes
from genlib.figures.images import sheet
from genlib.figures.prompts import grid
from genlib.methods.diffusion import ImageDenoiser
from genlib.studies.image_diffusion.study import CHUNK

ACROSS = 16
"""Largest number of images in a row of the grid."""


class PromptOptions(Protocol):
    """What the command line says of prompts."""

    @property
    def prompt(self) -> Sequence[str]:
        """Prompts."""

    @property
    def prompts(self) -> Path | None:
        """A file of prompts, one per line."""

    @property
    def negative(self) -> str:
        """A prompt to be pushed away from."""

    @property
    def count(self) -> int | None:
        """Number of images of each prompt."""

    @property
    def seed(self) -> int:
        """Seed of the draws."""


class Request(NamedTuple):
    """Prompts, how many images of each, and their tokens: a row per image."""

    prompts: list[str]
    each: int
    tokens: Tensor
    away: Tensor | None
    draws: Draws


def requested(study: ImageDiffusion, options: PromptOptions) -> Request:
    """What is asked for; refused where the study cannot draw it."""
    prompts = list(options.prompt)
    if options.prompts:
        try:
            prompts += options.prompts.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise InputError(f"--prompts: {options.prompts} cannot be read ({why}): give a prompt per line.") from error
    if not prompts:
        raise InputError("no prompt is given: --prompt takes some, --prompts a file of them; '' is the empty one.")
    if options.negative and study.guidance <= 1:
        raise InputError("--negative: images are pushed away from it by guidance above 1: give --guidance 2 as well.")
    count = options.count or 16
    tokens = study.tokens(prompts).repeat_interleave(count, 0)
    away = study.tokens([options.negative]).expand(len(tokens), -1) if options.negative else None
    return Request(prompts, count, tokens, away, study.draws(f"samples of {options.seed}"))


@torch.no_grad()
def draw_prompts(study: ImageDiffusion, model: ImageDenoiser, request: Request, out: Path) -> str:
    """Draw the images and write them; returns a line that says where."""
    prompts, each, tokens, away, draws = request
    x = as_bytes(study.generate(model, tokens, draws, away=away)).numpy(force=True)
    y, colour = (np.repeat(column, each) for column in zip(*map(study.captions.asked, prompts), strict=True))
    arrays = {"x": x, "y": y, "colour": colour, "prompt": np.repeat(np.array(prompts), each)}
    shown = x.reshape(len(prompts), each, *x.shape[1:])[:, :ACROSS]
    names = [prompt or "(empty)" for prompt in prompts]
    figure = grid(shown.reshape(-1, *x.shape[1:]), names, [""] * shown.shape[1])
    paths = {kind: out.with_suffix(f".{kind}") for kind in ("npz", "png", "gif")}
    try:
        with open(paths["npz"], "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        figure.savefig(paths["png"])
        Film(figure, {}, film_of(study, model, request)).save(paths["gif"])
    except OSError as error:
        raise InputError(f"--out: {out} cannot be written ({error.strerror}).") from error
    written = ", ".join(str(path) for path in paths.values())
    named = f"{len(prompts)} prompt{'s' * (len(prompts) > 1)}"
    return f"{written}: {len(x)} images of {named}, {study.title()} {study.key()}"


def film_of(study: ImageDiffusion, model: ImageDenoiser, request: Request) -> np.ndarray:
    """How the first images leave the noise, frame by frame."""
    away = None if request.away is None else request.away[:CHUNK]
    stops, _ = study.path(model, request.tokens[:CHUNK], request.draws.fork("0"), away=away)
    frames = [sheet(frame, min(request.each, ACROSS)) for frame in as_bytes(study.shown(stops)).numpy(force=True)]
    return np.stack(frames).repeat(4, 1).repeat(4, 2)
