"""The figures of `TinyGPT`."""

from __future__ import annotations

import numpy as np
import torch

from genlib.drawing import Drawing
from genlib.figures import text
from genlib.history import History
from genlib.nets.transformer import Decoder
from genlib.studies.losses import draw_loss
from genlib.studies.tiny_gpt.study import TinyGPT


def draw(study: TinyGPT, model: Decoder, history: History) -> dict[str, Drawing]:
    """Every figure of the study."""
    return {
        "loss": draw_loss(history, label="−ln p (nats per token)"),
        "inversion": _inversion(study, model),
        "attention": _attention(study, model),
        "scores": _scores(study, model),
    }


def _inversion(study: TinyGPT, model: Decoder) -> Drawing:
    inversion = study.inverted(model, study.sentence)
    shown = sorted({int(k) for k in np.geomspace(1, study.inversion_updates, 9)})
    said = {k: study.reader.decode(inversion.said[k - 1]) for k in shown}
    losses, margins = np.array(inversion.losses), np.array(inversion.margins)
    figure = text.inversion(losses, margins, said, exact=inversion.exact)
    return Drawing(figure, {"inversion": np.column_stack((np.arange(1, len(losses) + 1), losses, margins))})


@torch.no_grad()
def _attention(study: TinyGPT, model: Decoder) -> Drawing:
    """Where the model looks over a sentence when it says the next word: first block above, last block below."""
    tokens = study.reader.encode(study.sentence)
    output = model.see(tokens.unsqueeze(0), attention=True)
    assert output.maps is not None
    last = output.maps[:, 0, :, -1].numpy(force=True)  # (layers, heads, positions)
    following = text.readable(study.reader.decode(output.logits[0, -1:].argmax(-1)))
    shown = {"first block": last[0], "last block": last[-1]}
    figure = text.attention_rows(shown, study.reader.pieces(tokens), title=f"saying “{following}” after this sentence")
    return Drawing(figure, shown)


def _scores(study: TinyGPT, model: Decoder) -> Drawing:
    """Continuations of one prompt, token by token."""
    shown = {
        f"{study.prompt}{continuation}": (pieces, log_p.numpy(force=True))
        for continuation, (pieces, log_p) in study.scored(model).items()
    }
    return Drawing(text.score_bars(shown), {title: log_p for title, (_, log_p) in shown.items()})
