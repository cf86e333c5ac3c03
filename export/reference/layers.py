"""Plain convolutions, batch norm and ReLU, which quantize without surprises, and the backbone that the networks share."""

from collections import OrderedDict

import torch
from torch import Tensor, nn


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; padded so that a stride of 1 keeps the size."""
    padding = kernel // 2 * dilation
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """The features plus what a narrow and a 3 x 3 convolution make of them."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels // 2, 1), conv(channels // 2, channels, 3, dilation=dilation))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.body(features)


class Trunk(nn.Module):
    """Pictures (B, 3, H, W) to features at strides 4, 8, 16 and 32, of `channels` channels each.

    With `dilated` the last two stay at stride 8, and their convolutions reach as far as they would have without.
    """

    channels = (24, 48, 96, 96)

    def __init__(self, *, dilated: bool = False) -> None:
        super().__init__()
        a, b, c, d = self.channels
        stride, near, far = (1, 2, 4) if dilated else (2, 1, 1)
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, a, 3, 2), Residual(a))
        self.fine = nn.Sequential(conv(a, b, 3, 2), Residual(b), Residual(b))
        self.middle = nn.Sequential(conv(b, c, 3, stride), Residual(c, near), Residual(c, near))
        self.coarse = nn.Sequential(conv(c, d, 3, stride, near), Residual(d, far))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        maps = [self.stem(pictures)]
        for stage in (self.fine, self.middle, self.coarse):
            maps.append(stage(maps[-1]))
        return maps


class Dilated(nn.Module):
    """The trunk's last features at stride 8, in the form torchvision's segmentation networks read."""

    out_channels = Trunk.channels[-1]

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk(dilated=True)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        return {"out": self.trunk(pictures)[-1]}


class Last(nn.Module):
    """The trunk's last features, at stride 32."""

    out_channels = Trunk.channels[-1]

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()

    def forward(self, pictures: Tensor) -> Tensor:
        return self.trunk(pictures)[-1]


class Pyramid(nn.Module):
    """A feature pyramid over the trunk (arXiv:1612.03144): maps "0", "1", ... from the stride `finest` to 32.

    With `further` comes a map at stride 64.
    """

    def __init__(self, channels: int, *, finest: int = 4, further: bool = False) -> None:
        super().__init__()
        self.out_channels = channels
        self.trunk = Trunk()
        self.skipped = {4: 0, 8: 1}[finest]
        widths = Trunk.channels[self.skipped :]
        self.laterals = nn.ModuleList(conv(width, channels, 1) for width in widths)
        self.smooth = nn.ModuleList(conv(channels, channels, 3) for _ in widths)
        self.further = conv(channels, channels, 3, 2) if further else None
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        inner = [lateral(m) for lateral, m in zip(self.laterals, self.trunk(pictures)[self.skipped :], strict=True)]
        for level in range(len(inner) - 2, -1, -1):
            inner[level] = inner[level] + self.upsample(inner[level + 1])
        maps = [smooth(m) for smooth, m in zip(self.smooth, inner, strict=True)]
        if self.further is not None:
            maps.append(self.further(maps[-1]))
        return OrderedDict((str(level), m) for level, m in enumerate(maps))


class BoxHead(nn.Module):
    """Pooled regions (K, C, 7, 7) to vectors (K, width): a convolution that halves the side, then a dense layer."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.reduce = conv(channels, 56, 3, 2)
        self.dense = nn.Linear(56 * 16, width)
        self.width = width

    def forward(self, regions: Tensor) -> Tensor:
        return torch.relu(self.dense(self.reduce(regions).flatten(1)))
