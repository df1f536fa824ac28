"""Diffusion of images by text: coloured digits that a prompt asks for, by a model of our own (B1).

A prompt such as "a red seven" is read by a small transformer that is trained along. Every picture has a truth: an
independent judge tells the digit, and the hue is found in closed form. Some pairs of colour and digit are never trained
on, so that a model shows whether it combines what it knows. The same code takes Fashion-MNIST and CIFAR-10, with
captions of their class names.

With `few_steps` a trained model, which the study then needs, is tuned to reach its pictures in one step or a few.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from genlib.adam import Adam
from genlib.data.images import ImageName, ImageSet, images
from genlib.data.images.colours import as_bytes, inked
from genlib.data.prompts import LENGTH, NOTHING, Asked, Captions, captions_of, drawn_colours, hues_of
from genlib.draws import Draws
from genlib.errors import InputError
from genlib.methods import diffusion
from genlib.methods.diffusion import ImageDenoiser, NoisePredictor
from genlib.methods.guidance import guided
from genlib.methods.muon import Muon
from genlib.needs import needed
from genlib.nets.patch_transformer import PatchTransformer
from genlib.nets.text_encoder import TextEncoder
from genlib.nets.unet import UNet
from genlib.studies.image_diffusion.judges import Judge, judge_from, judge_study
from genlib.studies.image_diffusion.measures import closeness, entropy, hue_spread, real_features, right
from genlib.study import Data, Evaluation, Loss, Study, Tensors, setting

CHUNK = 64
"""Number of images that are drawn together."""
SIZES = {"cifar10": 32}
"""Height and width of the images that are not 28 high."""
ROWS = {"digits": 1_437, "mnist": 60_000, "fashion_mnist": 60_000, "cifar10": 50_000}
"""Number of training images."""
PIXELS = {"digits": (0.11, 0.27), "mnist": (0.065, 0.21), "fashion_mnist": (0.14, 0.26), "cifar10": (0.473, 0.251)}
"""About the mean and standard deviation of the pixels, in ink where images are grey; models see standardised pixels."""
JUDGED = {"digits": 288, "mnist": 8_000, "fashion_mnist": 8_000, "cifar10": 8_000}
"""Number of test images that measuring may use."""
Schedule = Literal["edm", "cosine", "linear"]
"""Schedules whose highest level of noise leaves nothing of an image."""


@dataclass(frozen=True, kw_only=True)
class ImageDiffusion(Study[ImageDenoiser]):
    """Diffusion of images that a prompt asks for."""

    steady: ClassVar[bool] = True
    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("validation/loss", "min")

    steps: int = setting(20_000, low=1)
    """Number of updates of the weights."""
    batch_size: int = setting(128, low=1)
    """Number of images in the global batch, over all workers."""
    learning_rate: float = setting(2e-4, above=0)
    """Adam's learning rate at its highest."""
    ema_decay: float = setting(0.999, low=0, below=1)
    """Decay of the running average of the weights, which is evaluated in place of the last weights; 0 keeps none."""
    validate_every: int = setting(1_000, low=1)
    """Number of updates between validations; the last update is always validated."""
    muon_rate: float = setting(0.0, low=0)
    """Learning rate of Muon, which updates matrices and kernels inside the net; 0 leaves them to Adam too."""
    data_set: ImageName = setting("mnist")
    """Data set of the images, grey ones in ink of a named colour; `digits` ship with scikit-learn and need no file."""
    network: Literal["unet", "transformer"] = setting("unet")
    """Network that sees the image: a U-Net, or a transformer of its patches."""
    patch: int = setting(2, low=1)
    """Height and width of the patches that the network works on."""
    width: int = setting(64, low=8)
    """Number of channels of the U-Net's first level, or of features of each of the transformer's patches."""
    multiples: tuple[int, ...] = setting((1, 2), low=1)
    """Channels of the U-Net's levels, as multiples of `width`."""
    blocks: int = setting(2, low=1)
    """Number of residual blocks of each of the U-Net's levels, or of the transformer's blocks."""
    lean: bool = setting(False)
    """Whether the U-Net adds what it kept on the way down instead of putting it beside, which costs less."""
    positions: bool = setting(True)
    """Whether the network learns where patches are. Without it a U-Net still sees the border, a transformer nothing."""
    text_width: int = setting(64, low=8)
    """Number of features of a word."""
    text_layers: int = setting(1, low=1)
    """Number of blocks of the transformer that reads the prompt."""
    text_dropout: float = setting(0.1, low=0, below=1)
    """Share of images whose caption is withheld, so that the empty prompt stands for all images."""
    levels: Literal["lognormal", "edm", "cosine", "linear"] = setting("lognormal")
    """Levels of noise that are trained on: exp(N(level_mean, level_std²)), or those of a schedule."""
    level_mean: float = setting(0.8)
    """Mean of the logarithm of the levels of noise. It is at levels of 5 to 20 that a digit is told from another."""
    level_std: float = setting(1.4, above=0)
    """Standard deviation of the logarithm of the levels of noise."""
    few_steps: bool = setting(False)
    """Whether a trained model is tuned to few steps, so that neighbouring levels of noise give the same image."""
    teacher_steps: int = setting(0, low=0)
    """Number of updates of the model that `few_steps` begins with; 0 trains it as long as this one."""
    tuning_rate: float = setting(1e-4, above=0)
    """Adam's learning rate of `few_steps`; the other one is that of the model it begins with."""
    tuning_mean: float = setting(0.8)
    """Mean of the logarithm of the levels of noise of `few_steps`."""
    tuning_std: float = setting(2.0, above=0)
    """Standard deviation of the logarithm of the levels of noise of `few_steps`, which begins at the highest."""

    samples: int = setting(1_000, low=50, evaluation=True)
    """Number of prompted images that are judged, of prompts that name all there is, against as many real ones."""
    schedule: Schedule = setting("edm", evaluation=True)
    """Noise schedule σ(t) of sampling; pixels have unit variance."""
    sampler: diffusion.SamplerName = setting("heun", evaluation=True)
    """Method of drawing samples; with `few_steps` it is that of consistency models."""
    sampling_steps: int = setting(18, low=1, evaluation=True)
    """Number of steps from noise to image."""
    guidance: float = setting(1.0, low=0, evaluation=True)
    """Weight of the prompt against the empty one (classifier-free guidance); needs text_dropout unless it is 1."""
    guidance_from: float = setting(0.0, low=0, evaluation=True)
    """Lowest level of noise at which guidance acts; details that are settled later follow the prompt by themselves."""
    guidance_to: float = setting(1_000.0, above=0, evaluation=True)
    """Highest level of noise at which guidance acts; pushed from the first step on, images become alike."""
    start_scale: float = setting(1.0, above=0, evaluation=True)
    """Standard deviation of the noise that sampling starts from, as a multiple of the right one."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "report": {},
        "small": {
            "width": 32,
            "blocks": 1,
            "lean": True,
            "muon_rate": 0.02,
            "guidance": 4.0,
            "guidance_from": 1.0,
            "guidance_to": 10.0,
            "steps": 6_000,
            "batch_size": 64,
            "learning_rate": 1e-3,
            "learning_rate_schedule": "cosine",
            "warmup_steps": 100,
        },
        "best": {
            "width": 40,
            "blocks": 1,
            "lean": True,
            "muon_rate": 0.02,
            "guidance": 4.0,
            "guidance_from": 1.0,
            "guidance_to": 10.0,
            "steps": 10_000,
            "batch_size": 64,
            "learning_rate": 1e-3,
            "learning_rate_schedule": "cosine",
            "warmup_steps": 200,
        },
        "gpu": {
            "data_set": "cifar10",
            "patch": 1,
            "width": 128,
            "multiples": (1, 2, 2),
            "steps": 30_000,
            "batch_size": 512,
            "learning_rate": 4e-4,
            "warmup_steps": 1_000,
            "ema_decay": 0.9995,
        },
        "tiny": {
            "data_set": "digits",
            "patch": 4,
            "width": 8,
            "multiples": (1,),
            "blocks": 1,
            "text_width": 8,
            "steps": 20,
            "batch_size": 32,
            "learning_rate": 3e-3,
            "ema_decay": 0.9,
            "validate_every": 10,
            "log_every": 5,
            "samples": 50,
            "sampling_steps": 3,
        },
    }

    def check(self) -> None:
        if self.guidance != 1 and not self.text_dropout:
            raise InputError(
                f"ImageDiffusion.guidance: got {self.guidance:g}, which compares a prompt with the empty one; use 1, "
                "or train with text_dropout above 0."
            )
        if self.guidance_from >= self.guidance_to:
            raise InputError(
                f"ImageDiffusion.guidance_from: got {self.guidance_from:g}; allowed are levels of noise below "
                f"guidance_to, which is {self.guidance_to:g}."
            )
        if self.size % self.patch:
            raise InputError(
                f"ImageDiffusion.patch: got {self.patch}; images of {self.size} × {self.size} need a divisor of "
                f"{self.size}."
            )
        halvings, side = len(self.multiples) - 1, self.size // self.patch
        if self.network == "unet" and side % 2**halvings:
            raise InputError(
                f"ImageDiffusion.multiples: got {len(self.multiples)} levels, which halve {side} × {side} patches "
                f"{halvings} times; use fewer, or another patch."
            )
        for name, divisor in (("width", 8), ("text_width", 4)):
            if getattr(self, name) % divisor:
                raise InputError(
                    f"ImageDiffusion.{name}: got {getattr(self, name)}; allowed are multiples of {divisor}."
                )
        if self.samples > JUDGED[self.data_set] // 2:
            raise InputError(
                f"ImageDiffusion.samples: got {self.samples}; they are compared with two sets of as many real images, "
                f"so {JUDGED[self.data_set] // 2} is the most for {self.data_set}."
            )

    # -- data and model ------------------------------------------------------------------------------------------------

    @property
    def images(self) -> ImageSet:
        """The images."""
        return images(self.data_set)

    @property
    def rows(self) -> int:
        return ROWS[self.data_set]

    @property
    def size(self) -> int:
        """Height and width of an image."""
        return SIZES.get(self.data_set, 28)

    @property
    def captions(self) -> Captions:
        """The captions of the data set."""
        return captions_of(self.data_set)

    @property
    def noise(self) -> diffusion.Schedule:
        """The noise schedule."""
        return diffusion.SCHEDULES[self.schedule]

    def checksums(self) -> dict[str, str]:
        return self.images.checksums | {"captions": self.captions.checksum}

    def course(self) -> str | None:
        return None if self.few_steps else super().course()  # whose two levels near each other by the length

    def needs(self) -> dict[str, Study[Any]]:
        """The model that is tuned to few steps."""
        if not self.few_steps:
            return {}
        return {"teacher": replace(self, few_steps=False, steps=self.teacher_steps or self.steps)}

    def evaluation_needs(self) -> dict[str, Study[Any]]:
        return {"judge": judge_study(self.data_set)}

    def identity(self) -> dict[str, Any]:
        """Without `few_steps` its fields have no effect, so they do not tell runs apart."""
        identity = super().identity()
        if self.few_steps:
            identity["fields"]["teacher_steps"] = self.teacher_steps or self.steps
        else:
            usual = {f.name: f.default for f in fields(self)}
            names = ("teacher_steps", "tuning_rate", "tuning_mean", "tuning_std")
            identity["fields"] |= {name: usual[name] for name in names}
        return identity

    def data(self) -> Data:
        return Data(self.images.train._asdict(), self.images.test._asdict())

    def batch(self, train: Tensors, draws: Draws) -> Tensors:
        """Images in ink of a colour that their class may have, with captions; both drawn anew."""
        rows = draws.batch(self.rows, self.batch_size)
        x, y = (train[name].index_select(0, rows) for name in ("x", "y"))
        return self.captioned(x, y, draws.fork("captions"), text_dropout=self.text_dropout)

    def captioned(
        self, x: Tensor, y: Tensor, draws: Draws, *, text_dropout: float = 0.0, held_out: bool = False
    ) -> Tensors:
        """Images in [0, 1] as a model sees them, with a caption of each."""
        colour = drawn_colours(y, draws, held_out=held_out)
        tokens = self.captions.drawn(y, colour, draws)
        withheld = draws.uniform(len(y) * draws.world) < text_dropout
        tokens = torch.where(withheld.unsqueeze(1), NOTHING, tokens)
        pixels = inked(x, hues_of(colour, draws)) if x.shape[1] == 1 else x.float() / 255
        return {"x": self.standard(pixels), "tokens": tokens}

    def standard(self, x: Tensor) -> Tensor:
        """Pixels in [0, 1] → about zero mean and unit variance."""
        mean, std = PIXELS[self.data_set]
        return (x - mean) / std

    def pixels(self, x: Tensor) -> Tensor:
        """What a model draws → pixels in [0, 1], clipped."""
        mean, std = PIXELS[self.data_set]
        return (x * std + mean).clamp(0, 1)

    def model(self) -> ImageDenoiser:
        if self.few_steps:
            return copy.deepcopy(needed(self, "teacher")).train().requires_grad_(True)
        with self.draws("model").default_generator():
            text = TextEncoder(len(self.captions.words), length=LENGTH, width=self.text_width, layers=self.text_layers)
            kind: dict[str, Any] = {"patch": self.patch, "text": self.text_width, "positions": self.positions}
            net: UNet | PatchTransformer
            if self.network == "unet":
                widths = [self.width * multiple for multiple in self.multiples]
                net = UNet(3, self.size, widths=widths, blocks=self.blocks, lean=self.lean, **kind)
            else:
                net = PatchTransformer(3, self.size, width=self.width, layers=self.blocks, **kind)
            model = ImageDenoiser(net, text)
        for parameter in model.parameters():  # a CPU's convolutions are faster with their channels last
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return model

    # -- training ------------------------------------------------------------------------------------------------------

    def optimizer(self, model: ImageDenoiser) -> torch.optim.Optimizer:
        """Adam, or Muon for the matrices inside the net."""
        if self.few_steps:
            return Adam(model.parameters(), lr=self.tuning_rate, fused=True)
        if not self.muon_rate:
            return super().optimizer(model)
        return Muon(
            model.parameters(),
            matrices=model.hidden_matrices(),
            rate=self.muon_rate,
            adam_rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )

    def loss(self, model: ImageDenoiser, batch: Tensors, draws: Draws) -> Loss:
        x, tokens = batch["x"], batch["tokens"]
        rows = len(x) * draws.world
        sigma, noise = self.levels_of(draws, rows), draws.normal(rows, *x.shape[1:])
        if self.few_steps:
            stage = diffusion.STAGES * draws.step // self.steps
            return Loss({"consistency": self._consistency(model, tokens, x, noise, sigma, stage=stage)})
        predicted = model(x + diffusion.each(sigma, x) * noise, sigma, tokens)
        return Loss({"noise": diffusion.denoising_loss(predicted, noise, sigma, weighting="edm")})

    def levels_of(self, draws: Draws, rows: int) -> Tensor:
        """Levels of noise to train on."""
        if self.few_steps:
            return (self.tuning_mean + self.tuning_std * draws.normal(rows)).exp().clamp(1e-2, self.noise.highest)
        if self.levels != "lognormal":
            return diffusion.SCHEDULES[self.levels].sigma(draws.uniform(rows))
        return (self.level_mean + self.level_std * draws.normal(rows)).exp()

    def _consistency(
        self, model: ImageDenoiser, tokens: Tensor, x: Tensor, noise: Tensor, sigma: Tensor, *, stage: int
    ) -> Tensor:
        def live(x: Tensor, sigma: Tensor) -> Tensor:
            return model(x, sigma, tokens)

        return diffusion.consistency_loss(live, torch.no_grad()(live), x, noise, sigma, stage=stage)

    @torch.no_grad()
    def validate(self, model: ImageDenoiser, draws: Draws) -> dict[str, float]:
        part = self.images.validation.to(draws.device)
        rows = self.captioned(part.x, part.y, draws.fork("captions"))
        sigma, noise = self.levels_of(draws, len(part.x)), draws.normal(*rows["x"].shape)
        tensors = (rows["tokens"], rows["x"], noise, sigma)
        parts = list(zip(*(torch.split(tensor, CHUNK) for tensor in tensors), strict=True))
        if self.few_steps:  # as near as levels ever come
            stage = diffusion.STAGES - 1
            losses = [self._consistency(model, *part, stage=stage) * len(part[0]) for part in parts]
            return {"validation/loss": torch.stack(losses).sum().item() / len(sigma)}
        predicted = torch.cat([model(x + diffusion.each(s, x) * e, s, tokens) for tokens, x, e, s in parts])
        return {"validation/loss": diffusion.denoising_loss(predicted, noise, sigma, weighting="edm").item()}

    # -- what the trained model can do ---------------------------------------------------------------------------------

    def predictor(self, model: ImageDenoiser, tokens: Tensor, away: Tensor | None = None) -> NoisePredictor:
        """The noise predictor with prompts and guidance settled; `away` are prompts to be pushed away from."""
        no_class = (NOTHING if away is None else away) if self.text_dropout or away is not None else None
        pushed = no_class is not None and bool((tokens != no_class).any())  # else both sides say the same
        guidance = self.guidance if pushed else 1.0
        between = (self.guidance_from, self.guidance_to)
        return guided(model, tokens, guidance=guidance, no_class=no_class, between=between)

    def first_noise(self, draws: Draws, count: int) -> Tensor:
        """What sampling starts from."""
        return self.start_scale * (1 + self.noise.highest**2) ** 0.5 * draws.normal(count, 3, self.size, self.size)

    @property
    def step(self) -> diffusion.Step:
        """One step of sampling."""
        return diffusion.consistent if self.few_steps else diffusion.SAMPLERS[self.sampler]

    def shown(self, stops: Tensor) -> Tensor:
        """What images go through, as pixels in [0, 1]: noise at the strength that leaves its variance alone."""
        sigmas = self.sigmas().to(stops)
        return self.pixels(stops * (1 + sigmas**2).rsqrt()[:, None, None, None, None])

    def sigmas(self) -> Tensor:
        """The levels of noise that sampling passes through; the last is too low to be seen."""
        return self.noise.sigmas(self.sampling_steps)

    @torch.no_grad()
    def generate(self, model: ImageDenoiser, tokens: Tensor, draws: Draws, *, away: Tensor | None = None) -> Tensor:
        """Images in [0, 1], of prompts as tokens."""
        drawn = []
        for k, some in enumerate(torch.split(tokens, CHUNK)):
            mine = draws.fork(str(k))
            x = self.first_noise(mine, len(some))
            predictor = self.predictor(model, some, None if away is None else away[k * CHUNK :][: len(some)])
            drawn.append(diffusion.sample(predictor, x, self.sigmas().to(x), mine, self.step))
        return self.pixels(torch.cat(drawn))

    @torch.no_grad()
    def path(
        self, model: ImageDenoiser, tokens: Tensor, draws: Draws, *, away: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What images go through, from noise to the end, and the clean images that are seen in them at each step."""
        x = self.first_noise(draws, len(tokens))
        sigmas = self.sigmas().to(x)
        predictor = self.predictor(model, tokens, away)
        stops = diffusion.path(predictor, x, sigmas, draws, self.step)
        seen = [stop - sigma * predictor(stop, sigma) for stop, sigma in zip(stops[:-1], sigmas[:-1], strict=True)]
        return stops, torch.stack([*seen, stops[-1]])

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Prompts as tokens."""
        return torch.stack([self.captions.tokens(prompt) for prompt in prompts])

    def prompts(self, count: int, draws: Draws, *, held_out: bool = False) -> tuple[Tensor, Asked]:
        """Prompts that name all there is, of every class equally often; and what they ask for."""
        classes = len(self.captions.names)
        y = torch.arange(count, device=draws.device) % classes
        colour = drawn_colours(y, draws, held_out=held_out)
        tokens = self.captions.drawn(y, colour, draws, naming_all=True)
        return tokens, Asked(y, colour if self.captions.coloured else torch.full_like(colour, -1))

    @torch.no_grad()
    def sample(self, model: ImageDenoiser, count: int, draws: Draws) -> Tensors:
        """Images of prompts as bytes, the class and colour that each asks for, and its tokens."""
        tokens, asked = self.prompts(count, draws)
        x = self.generate(model, tokens, draws.fork("images"))
        return {"x": as_bytes(x), "y": asked.y, "colour": asked.colour, "tokens": tokens}

    @torch.no_grad()
    def evaluate(self, model: ImageDenoiser, draws: Draws) -> Evaluation:
        drawn = self.sample(model, self.samples, draws)
        samples: dict[str, np.ndarray] = {name: tensor.cpu().numpy() for name, tensor in drawn.items()}
        samples["prompt"] = np.array([self.captions.text(row) for row in drawn["tokens"].cpu()])
        return Evaluation(self._judged(model, drawn, draws), samples, {})

    def _judged(self, model: ImageDenoiser, drawn: Tensors, draws: Draws) -> dict[str, float]:
        """What the judge says of prompted samples, of held-out pairs, of the empty prompt, and of real images."""
        judge = self.judge(draws.device)
        x, asked = drawn["x"].float() / 255, Asked(drawn["y"], drawn["colour"])
        metrics = right(judge, x, asked).shares()
        if self.captions.coloured:
            metrics["hue_spread"] = hue_spread(x, asked.colour)
        tokens, pairs = self.prompts(self.samples // 2, draws.fork("held out"), held_out=True)
        shares = right(judge, self.generate(model, tokens, draws.fork("held-out images")), pairs).shares()
        metrics |= {f"held_out/{name}": share for name, share in shares.items()}
        empty = self.generate(model, torch.zeros_like(drawn["tokens"]), draws.fork("empty"))
        part = self.images.evaluation.to(draws.device)
        real, other = real_features(part, judge, len(x), draws)
        metrics |= closeness(real, other, judge.features(x), judge.features(empty))
        known = (judge.classes(part.x.float() / 255) == part.y).float().mean().item()
        return {**metrics, "class_entropy": entropy(judge.classes(empty)), "judge_accuracy": known}

    def judge(self, device: torch.device | str | None = None) -> Judge:
        """Who tells the class of an image."""
        return judge_from(self.evaluation_needs()["judge"], needed(self, "judge", device))

    def example(self) -> tuple[Tensor, ...]:
        x = torch.zeros(4, 3, self.size, self.size)
        return (x, torch.ones(4), torch.zeros(4, LENGTH, dtype=torch.long))
