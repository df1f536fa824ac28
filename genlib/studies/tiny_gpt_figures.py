"""The figures of `TinyGPT`."""

from __future__ import annotations

import numpy as np
import torch

from genlib.figures import curves, text
from genlib.history import History
from genlib.methods import gpt
from genlib.nets.transformer import Decoder
from genlib.studies.tiny_gpt import TinyGPT
from genlib.study import Drawing


def draw(study: TinyGPT, model: Decoder, history: History) -> dict[str, Drawing]:
    """Every figure of the study."""
    return {
        "loss": _loss(history),
        "inversion": _inversion(study, model),
        "attention": _attention(study, model),
        "scores": _scores(study, model),
    }


def _loss(history: History) -> Drawing:
    (steps, losses), (at, validation) = history.series("loss"), history.series("validation/loss")
    figure = curves.loss_curve(steps, losses, at, validation, floor=None, label="−ln p (nats per token)")
    return Drawing(
        figure, {"training": np.column_stack((steps, losses)), "validation": np.column_stack((at, validation))}
    )


def _inversion(study: TinyGPT, model: Decoder) -> Drawing:
    found = study.inverted(model, study.sentence)
    shown = sorted({int(k) for k in np.geomspace(1, study.inversion_updates, 9)})
    said = {k: study.reader.decode(found.said[k - 1]) for k in shown}
    losses, margins = np.array(found.losses), np.array(found.margins)
    figure = text.inversion(losses, margins, said, exact=found.exact)
    return Drawing(figure, {"inversion": np.column_stack((np.arange(1, len(losses) + 1), losses, margins))})


@torch.no_grad()
def _attention(study: TinyGPT, model: Decoder) -> Drawing:
    """Where the model looks when it says the next token after a sentence: first block above, last block below."""
    tokens = study.reader.encode(study.sentence)[: study.block]
    maps = model.see(tokens.unsqueeze(0), attention=True).maps
    assert maps is not None
    last = maps[:, 0, :, -1].numpy()  # (layers, heads, positions)
    pieces = study.reader.pieces(tokens)
    shown = {"first block": last[0], "last block": last[-1]}
    figure = text.attention_rows(shown, pieces, title="attention of the last token over the sentence")
    return Drawing(figure, shown)


def _scores(study: TinyGPT, model: Decoder) -> Drawing:
    """Continuations of one prompt, token by token."""
    shown = {}
    for continuation in study.continuations:
        whole, count = study.continued(study.prompt, continuation)
        log_p = gpt.scores(model, whole)[-count:].numpy()
        shown[f"{study.prompt}{continuation}"] = (study.reader.pieces(whole[-count:]), log_p)
    figure = text.score_bars(shown)
    return Drawing(figure, {title: log_p for title, (_, log_p) in shown.items()})
