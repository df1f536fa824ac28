"""ResNet-18 for small images: the first convolution is 3 × 3 and nothing is pooled before the blocks. He et al., 2016.

References: https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from genlib.nets.batch_norm import BatchNorm


class Block(nn.Module):
    """Two convolutions and what is added to them: the input itself, or a 1 × 1 convolution of it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm_first, self.norm_second = BatchNorm(outputs), BatchNorm(outputs)
        self.past: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.past = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), BatchNorm(outputs))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        y = functional.relu(self.norm_first(self.first(x)))
        return functional.relu(self.norm_second(self.second(y)) + self.past(x))


class ResNet(nn.Module):
    """Images in [0, 1] → features, the mean over the last map.

    Arguments:
        widths: channels of the stages; each halves height and width, but for the first.
        blocks: blocks of every stage; 2 make a ResNet-18.

    Example:
        >>> import torch
        >>> ResNet(widths=(8, 16))(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 16])
    """

    def __init__(self, *, widths: Sequence[int] = (64, 128, 256, 512), blocks: int = 2) -> None:
        super().__init__()
        inputs, self.outputs = widths[0], widths[-1]
        layers: list[nn.Module] = [nn.Conv2d(3, inputs, 3, 1, 1, bias=False), BatchNorm(inputs), nn.ReLU()]
        for stage, outputs in enumerate(widths):
            for block in range(blocks):
                layers.append(Block(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.layers = nn.Sequential(*layers)

    def maps(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d i j"]:
        """The last stage's maps."""
        return self.layers(4 * x - 2)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        return self.maps(x).mean((2, 3))
