"""Images → backbone → encoding → embedding; or class logits in the embedding's place, or codes in the images' place."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from genlib.nets.batch_norm import BatchNorm
from genlib.nets.resnet import ResNet
from genlib.nets.whitened import WhitenedNet

BackboneName = Literal["resnet", "whitened"]
Head = Literal["projector", "classes"]
THUMBNAIL = 16
"""Height and width of the images that a decoder draws."""


def projector(inputs: int, width: int, layers: int) -> nn.Sequential:
    """VICReg's expander: linear layers, normalised and rectified between; the last is plain."""
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(inputs, width, bias=False), BatchNorm(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*parts, nn.Linear(inputs, width, bias=False))


class Embedder(nn.Module):
    """A backbone, a linear encoding of its features, and a head on the encoding.

    Arguments:
        backbone: the backbone; None where encodings are free codes.
        encoding: dimensions of the encoding.
        head: a `projector` of the encoding, or logits of `classes`.
        width: width of the projector, or number of classes.
        layers: linear layers of the projector.
        codes: number of free codes, one per training image; 0 has none.
        pixels: channels of the thumbnails that a decoder draws of a code; 0 has no decoder.
    """

    def __init__(
        self,
        backbone: ResNet | WhitenedNet | None,
        *,
        encoding: int,
        head: Head,
        width: int,
        layers: int,
        codes: int = 0,
        pixels: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.encoding = None if backbone is None else nn.Linear(backbone.outputs, encoding, bias=head == "classes")
        self.codes = nn.Parameter(torch.randn(codes, encoding)) if codes else None
        self.head = projector(encoding, width, layers) if head == "projector" else nn.Linear(encoding, width)
        self.decoder = None
        if pixels:
            self.decoder = nn.Sequential(
                nn.Linear(encoding, 512), nn.ReLU(), nn.Linear(512, pixels * THUMBNAIL**2), nn.Sigmoid()
            )

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Kernels and matrices of the backbone, the encoding, and the head but for its last."""
        inner = self.head[:-1] if isinstance(self.head, nn.Sequential) else None
        parts = [part for part in (self.backbone, self.encoding, inner) if part is not None]
        return [parameter for part in parts for parameter in part.parameters() if parameter.ndim > 1]

    def features(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """The backbone's features of images in [0, 1]."""
        assert self.backbone is not None  # the study refuses to ask codes for features
        return self.backbone(x)

    def whole_and_quarters(self, x: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n f"]]:
        """The features, and the last maps averaged over each quarter of the image: four times as many."""
        assert self.backbone is not None
        maps = self.backbone.maps(x)
        return maps.mean((2, 3)), functional.adaptive_avg_pool2d(maps, 2).flatten(1)

    def encoded(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n e"]:
        """The encoding of features."""
        assert self.encoding is not None
        return self.encoding(features)

    def code(self, rows: Int64[Tensor, " n"]) -> Float[Tensor, "n e"]:
        """The free codes of training images."""
        assert self.codes is not None
        return self.codes[rows]

    def forward(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n d"]:
        """The head's output for images; for codes where there is no backbone."""
        return self.head(x if self.backbone is None else self.encoded(self.features(x)))
