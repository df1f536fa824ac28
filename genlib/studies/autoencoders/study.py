"""What the three autoencoders share: coloured or binary digits, the loss, and how a finished model is measured.

A coloured digit is a grey one in ink of a hue that its place in the data set and the seed decide, so the colour says
nothing of the digit. Binary digits have a true likelihood; test images are binarised once and for all, by the seed.
A fifth of the test images is there to choose models by, the others to report on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from genlib.data.images import Part
from genlib.data.images.colours import as_bytes, inked
from genlib.draws import Draws
from genlib.methods import vae
from genlib.methods.vae import VAE, Posterior
from genlib.needs import needed
from genlib.studies.autoencoders.measures import CHUNK, clarity, controlled, knowledge, nll
from genlib.studies.digit_judge.study import judge_of
from genlib.studies.digits.study import DigitStudy
from genlib.study import Data, Evaluation, Loss, Study, Tensors, setting

BEST = {"learning_rate_schedule": "cosine", "warmup_steps": 200, "ema_decay": 0.999}
"""Fields of the `best` presets, whatever the code."""
TINY = {
    "data_set": "digits",
    "steps": 20,
    "batch_size": 32,
    "hidden": (16, 8),
    "validate_every": 10,
    "log_every": 5,
    "samples": 50,
    "likelihood_images": 20,
    "importance_samples": 5,
}


class Code(NamedTuple):
    """What a model's code is made of."""

    continuous: int = 0
    variables: int = 0
    categories: int = 1


@dataclass(frozen=True, kw_only=True)
class Autoencoder(DigitStudy[VAE]):
    """A variational autoencoder of digits. A kind answers `code` and, where draws are relaxed, `temperature`."""

    steady: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("validation/loss", "min")

    steps: int = setting(14_063, low=1)
    """Number of updates of the weights: thirty epochs of 60,000 digits."""
    batch_size: int = setting(128, low=1)
    """Number of rows in the global batch, over all workers."""
    log_every: int = setting(50, low=1)
    """Number of updates between reports of the losses, which are means over these updates."""
    validate_every: int = setting(1_407, low=1)
    """Number of updates between validations; the last update is always validated."""
    pixels: Literal["coloured", "binary"] = setting("coloured")
    """Colours of the images: ink of any hue on black, three channels; or black and white, one, with a true NLL."""
    binarised: Literal["once", "afresh"] = setting("once")
    """When binary training images are drawn from the grey ones: once and for all, or afresh for every batch."""
    hidden: tuple[int, ...] = setting((512, 256), low=1)
    """Number of features of each hidden layer, from the image inwards; the decoder has them in reverse."""
    beta: float = setting(1.0, low=0, carried=True)
    """Weight of the code's divergence from its prior."""
    beta_warmup: int = setting(0, low=0)
    """Number of updates over which `beta` rises linearly from zero."""

    samples: int = setting(1_000, low=50, evaluation=True)
    """Number of samples that are judged."""
    likelihood_images: int = setting(2_000, low=10, evaluation=True)
    """Number of binary test images whose likelihood is estimated, or all there are if they are fewer."""
    importance_samples: int = setting(200, low=1, evaluation=True)
    """Number of codes drawn for each image whose likelihood is estimated."""

    # -- what a kind answers -------------------------------------------------------------------------------------------

    @property
    def code(self) -> Code:
        """What the code is made of."""
        raise NotImplementedError

    def temperature(self, step: int) -> float:
        """The temperature of the relaxed draws at an update; without a discrete code it is of no use."""
        return 1.0

    # -- the study -----------------------------------------------------------------------------------------------------

    def evaluation_needs(self) -> dict[str, Study[Any]]:
        return {"judge": judge_of(self.data_set)}

    @property
    def shape(self) -> tuple[int, int, int]:
        """The channels, height and width of an image."""
        return (3 if self.pixels == "coloured" else 1, 28, 28)

    def data(self) -> Data:
        """Grey digits as bytes, the class of each, and the hue of its ink (or the binary image itself)."""
        train = self.images.train
        afresh = self.pixels == "binary" and self.binarised == "afresh"
        grey = {"x": train.x, "y": train.y}
        return Data(grey if afresh else self._settled(train.x, train.y, "train"), self.part("test"))

    def part(self, name: Part, device: torch.device | str | None = None) -> Tensors:
        """Test images: a fifth of them to validate, the others to evaluate, or all."""
        test, rows = self._settled(*self.images.test, "test"), self.images.order[name]
        return {key: tensor[rows].to(device or torch.get_default_device()) for key, tensor in test.items()}

    def _settled(self, x: Tensor, y: Tensor, name: str) -> Tensors:
        draws = self.draws(f"{self.pixels}/{name}", device="cpu")
        if self.pixels == "coloured":
            return {"x": x, "y": y, "hue": draws.uniform(len(x))}
        return {"x": _binary(x, draws), "y": y}

    def batch(self, train: Tensors, draws: Draws) -> Tensors:
        rows = super().batch(train, draws)
        if self.pixels == "binary" and self.binarised == "afresh":
            rows["x"] = _binary(rows["x"], draws.fork("pixels"))
        return rows

    def image(self, rows: Tensors) -> Tensor:
        """The images of the given rows, in [0, 1]."""
        return inked(rows["x"], rows["hue"]) if self.pixels == "coloured" else rows["x"].float() / 255

    def model(self) -> VAE:
        with self.draws("model").default_generator():
            return VAE(self.shape, hidden=self.hidden, **self.code._asdict())

    def loss(self, model: VAE, batch: Tensors, draws: Draws) -> Loss:
        x = self.image(batch)
        rows = len(x) * draws.world
        posterior = model.encode(x)
        z = posterior.mean + (0.5 * posterior.log_variance).exp() * draws.normal(rows, model.continuous)
        noise = draws.uniform(rows, model.variables, model.categories)
        c = vae.relaxed(posterior.logits, noise, self.temperature(draws.step))
        warmth = min(1.0, (draws.step + 1) / self.beta_warmup) if self.beta_warmup else 1.0
        return Loss(self._terms(x, model.decode(z, c), posterior, self.beta * warmth))

    def _terms(self, x: Tensor, logits: Tensor, posterior: Posterior, beta: float = 1.0) -> Tensors:
        terms = {"pixels": vae.pixel_loss(x, logits).mean()}
        if self.code.continuous:
            terms["continuous_kl"] = beta * vae.continuous_kl(posterior.mean, posterior.log_variance).mean()
        if self.code.variables:
            terms["discrete_kl"] = beta * vae.discrete_kl(posterior.logits).mean()
        return terms

    @torch.no_grad()
    def validate(self, model: VAE, draws: Draws) -> dict[str, float]:
        metrics = self.whole_loss(model, self.part("validation", draws.device), draws)
        return {f"validation/{name}": value for name, value in metrics.items()}

    @torch.no_grad()
    def evaluate(self, model: VAE, draws: Draws) -> Evaluation:
        rows = self.part("evaluation", draws.device)
        metrics = {f"test/{name}": value for name, value in self.whole_loss(model, rows, draws).items()}
        if self.code.variables:
            known = knowledge(model, self.image(rows), rows["y"])
            metrics |= {"nmi": known.nmi, "hungarian_accuracy": known.hungarian_accuracy}
        drawn = self.sample(model, self.samples, draws)
        coloured, judge = self.pixels == "coloured", needed(self, "judge", draws.device)
        asked = controlled(model, self.images.train, coloured=coloured)
        metrics |= clarity(judge, drawn["x"].float() / 255, asked, coloured=coloured)
        if not coloured:
            x = self.image({name: tensor[: self.likelihood_images] for name, tensor in rows.items()})
            metrics["nll"], metrics["nll_error"] = nll(model, x, draws, samples=self.importance_samples)
        return Evaluation(metrics, {name: tensor.cpu().numpy() for name, tensor in drawn.items()}, {})

    @torch.no_grad()
    def sample(self, model: VAE, count: int, draws: Draws) -> Tensors:
        """Images as bytes, decoded from codes of the prior, and these codes."""
        z, c = self.prior(count, draws)
        x = torch.cat(
            [model.decode(*chunk).sigmoid() for chunk in zip(torch.split(z, CHUNK), torch.split(c, CHUNK), strict=True)]
        )
        codes = {"z": z} if model.continuous else {}
        codes |= {"c": c.argmax(-1)} if model.variables else {}
        return {"x": as_bytes(x), **codes}

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(4, *self.shape),)

    # -- what the trained model can do ---------------------------------------------------------------------------------

    @torch.no_grad()
    def whole_loss(self, model: VAE, rows: Tensors, draws: Draws) -> dict[str, float]:
        """−ELBO and its terms, with `beta` 1 whatever was trained with, of whole codes, drawn without relaxation."""
        sums: dict[str, float] = {}
        count = len(rows["x"])
        for k in range(0, count, CHUNK):
            chunk = {name: tensor[k : k + CHUNK] for name, tensor in rows.items()}
            x = self.image(chunk)
            posterior = model.encode(x)
            logits = model.decode(*self.drawn(posterior, draws.fork(str(k))))
            for name, term in self._terms(x, logits, posterior).items():
                sums[name] = sums.get(name, 0.0) + term.item() * len(x) / count
        most = self.code.variables * math.log(self.code.categories)
        assert not sums.get("discrete_kl", 0.0) > most * (1 + 1e-5), (
            "the divergence from even categories is at most N ln K"
        )
        return {"loss": sum(sums.values()), **sums}

    def drawn(self, posterior: Posterior, draws: Draws) -> tuple[Tensor, Tensor]:
        """A code drawn from the posterior, its categories whole."""
        z = posterior.mean + (0.5 * posterior.log_variance).exp() * draws.normal(*posterior.mean.shape)
        chosen = vae.drawn(posterior.logits, draws.uniform(*posterior.logits.shape))
        return z, vae.one_hot(chosen, self.code.categories)

    def prior(self, count: int, draws: Draws, *, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Codes from the prior, the continuous ones `scale` times as far out."""
        code = self.code
        z = draws.normal(count, code.continuous) * scale
        return z, vae.one_hot(draws.integers(code.categories, count, code.variables), code.categories)


def _binary(x: Tensor, draws: Draws) -> Tensor:
    """Black or white pixels, white as probably as the grey pixel is bright."""
    return (draws.uniform(len(x) * draws.world, *x.shape[1:]) * 255 < x).to(torch.uint8) * 255
