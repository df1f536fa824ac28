"""VICReg on CIFAR-10: features learnt from agreeing views, without a label.

`report` is the report's ResNet-18, a task for a GPU. `small` makes its findings checkable on two cores: a narrow net
and a part of the images. `best` is what an hour and a half of a thread can do. Positives are views of one image, or its
nearest training images by the encoding of a trained model, which the study then needs, or both in turn. Two settings
to compare with: the same net taught with labels (a ceiling), and a free code per image in the net's place (latent
optimisation), which no pixel reaches unless one of two remedies ties it to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from genlib.data.images import ImageName, ImageSet, Labelled, images
from genlib.data.images.views import resized, views
from genlib.draws import Draws
from genlib.errors import InputError
from genlib.methods import vicreg
from genlib.methods.muon import Muon
from genlib.metrics.neighbourhoods import auc, inverse_density
from genlib.metrics.probes import knn_accuracy, nearest, probe_accuracy
from genlib.metrics.spread import alignment, uniformity
from genlib.needs import lends_stand_ins, needed
from genlib.nets.batch_norm import over_workers
from genlib.nets.embedder import THUMBNAIL, BackboneName, Embedder
from genlib.nets.resnet import ResNet
from genlib.nets.whitened import WhitenedNet
from genlib.studies.vicreg.measures import Represented, full_metrics
from genlib.study import Data, Evaluation, Loss, Study, Tensors, setting

CHUNK = 500
"""Number of images that are looked at together."""
SETTLING = 10_000
"""Number of training images that the norms of an untrained model see."""
ROWS = {"digits": 1_437, "mnist": 60_000, "fashion_mnist": 60_000}
"""Number of training images of the data sets that are read whole."""
Positives = Literal["views", "neighbours", "alternating"]
OF_NEIGHBOURS = ("neighbours", "guide_steps")
"""Fields that say how neighbours are found."""


@dataclass(frozen=True, kw_only=True)
class VICReg(Study[Embedder]):
    """Variance-invariance-covariance regularisation, and what its report compared it with."""

    steady: ClassVar[bool] = True
    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("validation/knn_accuracy", "max")

    steps: int = setting(4_883, low=1)
    """Number of updates of the weights: 25 epochs of 50,000 images."""
    batch_size: int = setting(256, low=2)
    """Number of images in the global batch, over all workers; each is seen in all its views."""
    learning_rate: float = setting(3e-4, above=0)
    """Adam's learning rate at its highest."""
    weight_decay: float = setting(1e-6, low=0)
    """Weight of Adam's L2 penalty."""
    muon_rate: float = setting(0.0, low=0)
    """Learning rate of Muon, which updates matrices and kernels but for the last; 0 leaves them to Adam too."""
    data_set: ImageName = setting("cifar10")
    """Data set of the images; `digits` ship with scikit-learn and need no file."""
    training_files: int = setting(5, low=1, high=5)
    """Number of CIFAR-10's five training files, of 10,000 images each, to train on, from the first."""
    backbone: BackboneName = setting("resnet")
    """Kind of backbone: a ResNet, or a narrow net whose first layer whitens patches."""
    widths: tuple[int, ...] = setting((64, 128, 256, 512), low=1)
    """Channels of the backbone's stages; the last ones are its features."""
    encoding: int = setting(128, low=1)
    """Dimensions of the encoding, a linear map of the features."""
    projector: int = setting(512, low=2)
    """Width of the projector, and of the embeddings whose terms are taken."""
    projector_layers: int = setting(3, low=1)
    """Number of linear layers of the projector."""
    invariance_weight: float = setting(25.0, low=0)
    """Weight of the mean squared difference between embeddings of positives."""
    variance_weight: float = setting(25.0, low=0)
    """Weight of what standard deviations fall short of `target_std`."""
    covariance_weight: float = setting(1.0, low=0)
    """Weight of the squared covariances between different dimensions."""
    target_std: float = setting(1.0, above=0)
    """Standard deviation that every dimension of the embedding is to reach."""
    epsilon: float = setting(1e-4, low=0)
    """Number added to variances before their root is taken."""
    over_views: Literal["sum", "mean"] = setting("sum")
    """How variance terms of the views are joined: summed, as the paper has it, or averaged, as its code does."""
    positives: Positives = setting("views")
    """Images whose embeddings are to agree: random views of one image, an image and one of its nearest neighbours as
    they are, or these two in turn, epoch by epoch. Neighbours need a trained model."""
    neighbours: int = setting(3, low=1)
    """Number of nearest training images, by the encoding of the trained model, that a neighbour is drawn from."""
    guide_steps: int = setting(0, low=0)
    """Number of updates of the model that neighbours are found by; 0 trains it as long as this one."""
    views: int = setting(2, low=2)
    """Number of views of every image in a batch."""
    one_batch: bool = setting(False)
    """Whether all views go through the net as one batch, whose norms then see them together; else view by view."""
    view_size: int = setting(32, low=4)
    """Height and width of the views."""
    look_size: int = setting(32, low=4)
    """Height and width of the images whose features are looked at."""
    least_area: float = setting(0.2, above=0, high=1)
    """Smallest share of an image's area that a view shows."""
    flip: float = setting(0.5, low=0, high=1)
    """Probability that a view is mirrored."""
    jitter: float = setting(0.8, low=0, high=1)
    """Probability that a view's colours are changed."""
    strengths: tuple[float, ...] = setting((0.4, 0.4, 0.2, 0.1), low=0, high=1)
    """Largest change of brightness, contrast and saturation, as shares, and of the hue, in turns."""
    grey: float = setting(0.2, low=0, high=1)
    """Probability that a view is grey."""
    solarise: float = setting(0.0, low=0, high=1)
    """Probability that a view's bright pixels are inverted."""
    blur: float = setting(0.0, low=0, high=1)
    """Probability that a view is blurred."""
    supervised: bool = setting(False)
    """Whether the net is taught the classes of the views instead: the ceiling of its features."""
    codes: bool = setting(False)
    """Whether a free code per training image takes the net's place (latent optimisation)."""
    code_views: bool = setting(False)
    """Whether codes are to agree with a net's encoding of views of their images, the first remedy of latent
    optimisation."""
    decoder_weight: float = setting(0.0, low=0)
    """Weight of the squared error of a small decoder that draws images from codes, the second remedy; 0 has none."""

    anomalies: Literal["mnist", "fashion_mnist", "digits", "negatives"] = setting("mnist", evaluation=True)
    """Odd images that are hidden among the test images: those of another data set, or their own negatives."""
    wide_sizes: tuple[int, ...] = setting((32, 24, 16), low=4, evaluation=True)
    """Heights and widths of the images that a wider probe reads, by quarters."""
    floors: bool = setting(False, evaluation=True)
    """Whether what a linear probe reads of the pixels, and of the features before training, is measured too."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "report": {},
        "small": {
            "backbone": "whitened",
            "widths": (32, 128, 128),
            "training_files": 1,
            "one_batch": True,
            "view_size": 16,
            "steps": 1_954,  # 25 epochs
            "batch_size": 128,
            "learning_rate": 1e-3,
            "validate_every": 391,  # five epochs, a multiple of the next, so that longer runs pass through shorter ones
            "log_every": 23,
        },
        "best": {
            "backbone": "whitened",
            "widths": (32, 128, 128),
            "one_batch": True,
            "view_size": 16,
            "views": 4,
            "steps": 7_813,  # 20 epochs
            "batch_size": 128,
            "learning_rate": 4e-3,
            "muon_rate": 0.05,
            "learning_rate_schedule": "cosine",
            "warmup_steps": 200,
            "validate_every": 1_000,
        },
        "gpu": {
            "views": 4,
            "steps": 1_500,
            "batch_size": 512,
            "learning_rate": 2e-3,
            "learning_rate_schedule": "cosine",
            "warmup_steps": 100,
        },
        "tiny": {
            "data_set": "digits",
            "backbone": "whitened",
            "widths": (8, 16),
            "encoding": 6,
            "projector": 10,
            "view_size": 12,
            "look_size": 12,
            "steps": 20,
            "batch_size": 32,
            "learning_rate": 3e-3,
            "validate_every": 10,
            "log_every": 5,
            "anomalies": "negatives",
            "wide_sizes": (12, 8),
            "floors": True,
        },
    }

    def check(self) -> None:
        if len(self.strengths) != 4 or self.strengths[3] > 0.5:
            raise InputError(
                f"VICReg.strengths: got {self.strengths}; give four numbers, of brightness, contrast, saturation and "
                "hue, such as 0.4 0.4 0.2 0.1; a hue is turned by half a circle at most."
            )
        if self.rows < self.batch_size:
            raise InputError(
                f"VICReg.batch_size: got {self.batch_size}, and there are {self.rows:,} training images; allowed is at "
                "most as many."
            )
        smallest = 2 ** (len(self.widths) - 1) + (self.backbone == "whitened")
        for name in ("view_size", "look_size", "wide_sizes"):
            value = getattr(self, name)
            if min(value if isinstance(value, tuple) else (value,), default=0) < smallest:
                raise InputError(
                    f"VICReg.{name}: got {value}; what {len(self.widths)} stages halve are at least {smallest} high."
                )
        if not self.codes and (self.code_views or self.decoder_weight):
            raise InputError("VICReg.code_views and decoder_weight are remedies for codes: set codes as well.")
        others = [name for name in ("supervised", "codes") if getattr(self, name)]
        if len(others) > 1 or (others and self.positives != "views"):
            raise InputError(
                f"VICReg.{others[0]}: got true, with positives {self.positives}"
                f"{' and codes' if len(others) > 1 else ''}; labels, codes and neighbours exclude each other."
            )

    # -- data and model ------------------------------------------------------------------------------------------------

    @property
    def images(self) -> ImageSet:
        """The images."""
        return images(self.data_set, self.training_files)

    @property
    def rows(self) -> int:
        return 10_000 * self.training_files if self.data_set == "cifar10" else ROWS[self.data_set]

    def checksums(self) -> dict[str, str]:
        return self.images.checksums

    def needs(self) -> dict[str, Study[Any]]:
        """The model that neighbours are found by: the same study with views and the usual variance weight."""
        if self.positives == "views":
            return {}
        usual = self._declared(*OF_NEIGHBOURS, "variance_weight")
        return {"guide": replace(self, **usual, positives="views", steps=self.guide_steps or self.steps)}

    def identity(self) -> dict[str, Any]:
        """Where no neighbours are asked for, what is said of them changes nothing; nor does a Muon that is off.

        How long the guide trains is said by the guide, which is among the needs.
        """
        identity = super().identity()
        if not self.muon_rate:
            del identity["fields"]["muon_rate"]  # runs from before it was there keep their keys
        identity["fields"] |= self._declared(*OF_NEIGHBOURS) if self.positives == "views" else {"guide_steps": 0}
        return identity

    def _declared(self, *names: str) -> dict[str, Any]:
        """The values that fields have unless they are given."""
        return {name: type(self).__dataclass_fields__[name].default for name in names}

    def data(self) -> Data:
        train = self.images.train
        tensors = {**train._asdict(), "row": torch.arange(len(train.x), device="cpu")}
        if self.positives != "views":
            tensors["near"] = self.nearest_images()
        return Data(tensors, self.images.test._asdict())

    def nearest_images(self) -> Tensor:
        """The rows of every training image's nearest others, by the encoding of the model that this study needs."""
        if lends_stand_ins():
            return torch.arange(self.rows, device="cpu").unsqueeze(1).expand(-1, self.neighbours)
        return _nearest_images(self, needed(self, "guide", "cpu"))

    def model(self) -> Embedder:
        with self.draws("model").default_generator():
            backbone: ResNet | WhitenedNet | None = None
            if not self.codes or self.code_views:
                backbone = ResNet(widths=self.widths) if self.backbone == "resnet" else WhitenedNet(widths=self.widths)
            model = Embedder(
                backbone,
                encoding=self.encoding,
                head="classes" if self.supervised else "projector",
                width=10 if self.supervised else self.projector,
                layers=self.projector_layers,
                codes=self.rows if self.codes else 0,
                pixels=3 if self.decoder_weight else 0,
            )
        if isinstance(backbone, WhitenedNet) and not backbone.shift.is_meta:
            backbone.fit_whitening(resized(self.images.train.x[:2_000].to(backbone.shift.device), self.view_size))
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.ndim == 4:
                tensor.data = self._packed(tensor.data)
        return model

    def _packed(self, x: Tensor) -> Tensor:
        """Images or kernels with their channels last in memory: a fifth faster on a CPU.

        Numbers of channels that are no multiple of eight are left as they are: with them torch 2.13's convolutions have
        written beyond their memory in this layout.
        """
        return x if any(width % 8 for width in self.widths) else x.contiguous(memory_format=torch.channels_last)

    # -- training ------------------------------------------------------------------------------------------------------

    def optimizer(self, model: Embedder) -> torch.optim.Optimizer:
        """Adam, or Muon for the matrices of the net and of the projector but its last one."""
        if not self.muon_rate:
            return super().optimizer(model)
        matrices = model.hidden_matrices()
        return Muon(
            model.parameters(),
            matrices=matrices,
            rate=self.muon_rate,
            adam_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            normed=[kernel for kernel in matrices if kernel.ndim == 4],
        )

    def batch(self, train: Tensors, draws: Draws) -> Tensors:
        rows = draws.batch(self.rows, self.batch_size)
        batch = {name: train[name].index_select(0, rows) for name in ("x", "y", "row")}
        odd_epoch = draws.step * self.batch_size // self.rows % 2 == 1
        if self.positives == "neighbours" or (self.positives == "alternating" and odd_epoch):
            column = draws.fork("neighbour").integers(self.neighbours, self.batch_size)
            batch["positive"] = train["x"].index_select(0, train["near"][rows, column])
        return batch

    def loss(self, model: Embedder, batch: Tensors, draws: Draws) -> Loss:
        with over_workers(draws.world):
            if self.supervised:
                logits = self.embedded(model, self.seen(batch["x"], draws))
                errors = [functional.cross_entropy(part, batch["y"]) for part in logits]
                return Loss({"cross_entropy": torch.stack(errors).mean()})
            if self.codes:
                return self._loss_of_codes(model, batch, draws)
            if "positive" in batch:
                seen = [self.as_is(batch[name], self.view_size) for name in ("x", "positive")]
            else:
                seen = self.seen(batch["x"], draws)
            return Loss(self.terms(self.embedded(model, seen), draws.world))

    def _loss_of_codes(self, model: Embedder, batch: Tensors, draws: Draws) -> Loss:
        """The terms of codes. Two views of an image share its code: alone they agree, whatever it is."""
        codes = model.code(batch["row"])
        embedded = model.head(codes)
        others = self.embedded(model, self.seen(batch["x"], draws)[1:]) if self.code_views else [embedded]
        terms = self.terms([embedded, *others], draws.world)
        if model.decoder is not None:
            truth = resized(batch["x"], THUMBNAIL).flatten(1)
            terms["decoder"] = self.decoder_weight * functional.mse_loss(model.decoder(codes), truth)
        return Loss(terms)

    def embedded(self, model: Embedder, seen: list[Tensor]) -> list[Tensor]:
        """The embeddings of every view."""
        if self.one_batch:
            return list(model(torch.cat(seen)).chunk(len(seen)))
        return [model(x) for x in seen]

    def seen(self, x: Tensor, draws: Draws) -> list[Tensor]:
        """Random views of images."""
        look: dict[str, Any] = {
            "size": self.view_size,
            **{name: getattr(self, name) for name in ("least_area", "flip", "jitter", "strengths")},
            **{name: getattr(self, name) for name in ("grey", "solarise", "blur")},
        }
        return [self._packed(views(x, draws.fork(f"view {k}"), **look)) for k in range(self.views)]

    def as_is(self, x: Tensor, size: int) -> Tensor:
        """Whole images at a size."""
        return self._packed(resized(x, size))

    def terms(self, embeddings: list[Tensor], world: int = 1) -> Tensors:
        """The weighted terms of embeddings of positives."""
        found = vicreg.terms(embeddings, target=self.target_std, epsilon=self.epsilon, world=world)
        share = 1 / len(embeddings) if self.over_views == "mean" else 2 / len(embeddings)
        return {
            "invariance": self.invariance_weight * found["invariance"],
            "variance": self.variance_weight * share * found["variance"],
            "covariance": self.covariance_weight * 2 / len(embeddings) * found["covariance"],
        }

    @torch.no_grad()
    def begun(self) -> Embedder:
        """The model before its first update, its norms settled on training images as they are."""
        with torch.device("cpu"):
            model = self.model()
            if model.backbone is not None:
                whole = min(SETTLING, self.rows) // self.batch_size * self.batch_size  # a norm needs two rows at least
                for chunk in torch.split(self.images.train.x[:whole], self.batch_size):
                    model(self.as_is(chunk, self.view_size))
        return model.eval().requires_grad_(False).to(torch.get_default_device())

    # -- what is looked at ---------------------------------------------------------------------------------------------

    def features(self, model: Embedder, x: Tensor) -> Tensor:
        """The backbone's features of images as bytes."""
        return self._whole_and_quarters(model, x, self.look_size)[0]

    @torch.no_grad()
    def _whole_and_quarters(self, model: Embedder, x: Tensor, size: int) -> tuple[Tensor, Tensor]:
        if model.backbone is None:
            raise InputError("VICReg.codes: free codes have no net, so other images have no features.")
        parts = [model.whole_and_quarters(self.as_is(chunk, size)) for chunk in torch.split(x, CHUNK)]
        whole, quarters = zip(*parts, strict=True)
        return torch.cat(whole), torch.cat(quarters)

    def wide_features(self, model: Embedder, seen: Represented, x: Tensor) -> Tensor:
        """What a wider probe reads: the backbone's last maps by quarters, at each of `wide_sizes`, side by side."""
        known = {self.look_size: seen.quarters}
        sizes = [size for size in self.wide_sizes if size not in known]
        known |= {size: self._whole_and_quarters(model, x, size)[1] for size in sizes}
        return torch.cat([known[size] for size in self.wide_sizes], 1)

    @torch.no_grad()
    def represent(self, model: Embedder, seen: Labelled) -> Represented:
        """Features, encodings and embeddings of images, with their classes."""
        features, quarters = self._whole_and_quarters(model, seen.x, self.look_size)
        encodings = model.encoded(features)
        return Represented(features, encodings, _headed(model, encodings), seen.y, quarters)

    @torch.no_grad()
    def represented_parts(self, model: Embedder, part: Literal["validation", "evaluation"]) -> list[Represented]:
        """Training images, and those of a part of the test images. Codes are only of training images: of these the
        last fifth stands for test images.
        """
        device = next(model.parameters()).device
        if self.codes:
            y = self.images.train.y.to(device)
            codes, cut = model.code(torch.arange(len(y), device=device)), len(y) * 4 // 5
            return [
                Represented(codes[rows], codes[rows], _headed(model, codes[rows]), y[rows], codes[rows])
                for rows in (slice(cut), slice(cut, None))
            ]
        return [self.represent(model, rows.to(device)) for rows in (self.images.train, getattr(self.images, part))]

    @torch.no_grad()
    def validate(self, model: Embedder, draws: Draws) -> dict[str, float]:
        """The terms on validation images, and whether neighbours in a part of the training images share their class."""
        part = self.images.validation.to(draws.device)
        batch: Tensors = {**part._asdict(), "row": torch.arange(len(part.x), device=draws.device)}
        if self.codes:
            train = self.images.train
            batch = {**train.rows(batch["row"].cpu()).to(draws.device)._asdict(), "row": batch["row"]}
        terms = replace(self, positives="views").loss(model, batch, draws).terms
        metrics = {f"validation/{name}": value.item() for name, value in terms.items()}
        metrics["validation/loss"] = sum(metrics.values())
        return metrics | {"validation/knn_accuracy": self._cheap_knn(model, part)}

    def _cheap_knn(self, model: Embedder, part: Labelled) -> float:
        if self.codes:
            train, held_out = self.represented_parts(model, "validation")
            seen = Represented(*(tensor[:2_000] for tensor in held_out))
        else:
            some = self.images.train.rows(torch.arange(min(self.rows, 5_000))).to(part.x.device)
            train, seen = self.represent(model, some), self.represent(model, part)
        return knn_accuracy(train.features, train.y, seen.features, seen.y)

    @torch.no_grad()
    def evaluate(self, model: Embedder, draws: Draws) -> Evaluation:
        train, seen = self.represented_parts(model, "evaluation")
        metrics = full_metrics(train, seen, seed=self.seed)
        if model.backbone is not None and not self.codes:
            images = self.images.evaluation.to(draws.device)
            metrics |= self._measured_on_images(model, train, seen, images, draws)
            known = self.wide_features(model, train, self.images.train.x.to(draws.device))
            asked = self.wide_features(model, seen, images.x)
            metrics["probe_accuracy/wide"] = probe_accuracy(known, train.y, asked, seen.y)
        metrics |= self.floors_of_probe() if self.floors else {}
        samples = {"features": seen.features.half().cpu().numpy(), "encodings": seen.encodings.half().cpu().numpy()}
        return Evaluation(metrics, {**samples, "y": seen.y.cpu().numpy()}, {})

    def _measured_on_images(
        self, model: Embedder, train: Represented, seen: Represented, images: Labelled, draws: Draws
    ) -> dict[str, float]:
        """What needs a net: anomalies among the test images, and how two views of an image lie."""
        usual, odd = self.anomaly_scores(model, train, seen)
        pairs = replace(self, views=2).seen(images.x[:2_000], draws.fork("views"))
        a, b = (model.encoded(model.features(x)) for x in pairs)
        metrics = {"anomaly_auc": auc(odd, usual), "alignment": alignment(a, b), "uniformity": uniformity(a)}
        if self.supervised:
            metrics["supervised_accuracy"] = (seen.embeddings.argmax(1) == seen.y).float().mean().item()
        return metrics

    @torch.no_grad()
    def floors_of_probe(self) -> dict[str, float]:
        """The accuracy of linear probes of the pixels, and of the backbone's features before training.

        Before training the norms pass through what they get. That reads better than norms settled on images (at `small`
        .47 against .37), so it is the floor to beat.
        """
        parts = [part.to(torch.get_default_device()) for part in (self.images.train, self.images.evaluation)]
        (x, y), (seen, truth) = ((part.x.flatten(1).float() / 255, part.y) for part in parts)
        floors = {"probe_accuracy/pixels": probe_accuracy(x, y, seen, truth)}
        if self.codes:
            return floors
        with torch.device("cpu"):
            drawn = self.model().eval()
        before, after = (self.represent(drawn.to(x.device), part) for part in parts)
        random = probe_accuracy(before.features, before.y, after.features, after.y)
        return {**floors, "probe_accuracy/random_weights": random}

    @torch.no_grad()
    def anomaly_scores(self, model: Embedder, train: Represented, seen: Represented) -> tuple[Tensor, Tensor]:
        """The inverse density of test images, and of the odd images hidden among them."""
        odd = self.odd_images(self.images.evaluation.x).to(train.encodings.device)
        encodings = model.encoded(self.features(model, odd))
        return inverse_density(train.encodings, seen.encodings), inverse_density(train.encodings, encodings)

    def odd_images(self, usual: Tensor) -> Tensor:
        """The odd images, as many as the usual ones where the data set has so many."""
        if self.anomalies == "negatives":
            return 255 - usual
        return images(self.anomalies).evaluation.x[: len(usual)].to(usual.device)

    def example(self) -> tuple[Tensor, ...]:
        if self.codes and not self.code_views:
            return (torch.zeros(4, self.encoding),)
        return (torch.zeros(4, 3, self.look_size, self.look_size),)


@lru_cache(maxsize=2)
@torch.no_grad()
def _nearest_images(study: VICReg, guide: Embedder) -> Tensor:
    """A row's nearest others, the row itself left out."""
    rows = study.images.train
    encodings = study.represent(guide, rows).encodings
    found = nearest(encodings, encodings, study.neighbours + 1)[1]
    others = found != torch.arange(len(found)).unsqueeze(1)
    others[others.all(1), -1] = False  # twins hid the row itself
    return found[others].reshape(len(found), study.neighbours)


def _headed(model: Embedder, encodings: Tensor) -> Tensor:
    return torch.cat([model.head(chunk) for chunk in torch.split(encodings, CHUNK)])
