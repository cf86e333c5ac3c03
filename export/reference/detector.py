"""A small anchor-free detector of plain convolutions, batch norm and ReLU, which quantize without surprises."""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from edgewright.export.reference.layers import Residual, conv
from edgewright.runtime.spec import PreprocessSpec

STRIDES = (8, 16, 32)
_CPU = torch.device("cpu")
# The conventions of YOLOX, so that `edgewright export --family yolox` needs no option.
PREPROCESS = PreprocessSpec(size_hw=(256, 320), resize="letterbox_top_left", rounding="floor", color="bgr")


class Detector(nn.Module):
    """Pictures (B, 3, H, W), BGR 0..255, to raw predictions (B, A, 5 + classes) for every cell of three grids.

    A row is x and y offset from the cell in strides, logarithm of width and height in strides, logit of an object,
    logits of the classes. The grids follow each other from the finest to the coarsest, row by row.
    """

    def __init__(self, classes: int, *, width: int = 32, neck: int = 48) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(conv(3, w // 2, 3, 2), conv(w // 2, w, 3, 2), Residual(w))
        self.fine = nn.Sequential(conv(w, 2 * w, 3, 2), Residual(2 * w), Residual(2 * w))
        self.middle = nn.Sequential(conv(2 * w, 4 * w, 3, 2), Residual(4 * w), Residual(4 * w))
        self.coarse = nn.Sequential(conv(4 * w, 5 * w, 3, 2), Residual(5 * w))
        self.laterals = nn.ModuleList(conv(channels, neck, 1) for channels in (2 * w, 4 * w, 5 * w))
        self.smooth = nn.ModuleList(conv(neck, neck, 3) for _ in range(2))
        self.heads = nn.ModuleList(_Head(neck, classes) for _ in STRIDES)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.cat([level.flatten(2) for level in self.levels(pictures)], dim=2).transpose(1, 2)

    def levels(self, pictures: Tensor) -> list[Tensor]:
        """The same predictions as one map (B, 5 + classes, H, W) for each grid."""
        fine = self.fine(self.stem(pictures))
        middle = self.middle(fine)
        coarse = self.laterals[2](self.coarse(middle))
        middle = self.smooth[1](self.laterals[1](middle) + self.upsample(coarse))
        fine = self.smooth[0](self.laterals[0](fine) + self.upsample(middle))
        return [head(level) for head, level in zip(self.heads, (fine, middle, coarse), strict=True)]


class WithProbabilities(nn.Module):
    """A detector for one picture of a fixed size whose object and class outputs are probabilities: what is exported."""

    def __init__(self, detector: Detector, size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.detector = detector
        self.counts = [size_hw[0] // stride * (size_hw[1] // stride) for stride in STRIDES]

    def forward(self, pictures: Tensor) -> Tensor:
        # Lengths as plain numbers keep the exported shapes static.
        levels = zip(self.detector.levels(pictures), self.counts, strict=True)
        raw = torch.cat([level.reshape(1, -1, count) for level, count in levels], dim=2).transpose(1, 2)
        return torch.cat([raw[..., :4], raw[..., 4:].sigmoid()], dim=2)


@lru_cache
def cells(size_hw: tuple[int, int], device: torch.device = _CPU) -> tuple[Tensor, Tensor]:
    """For every prediction its cell's column and row (A, 2), and its stride in pixels (A,)."""
    places, strides = [], []
    for stride in STRIDES:
        rows, columns = torch.meshgrid(
            torch.arange(size_hw[0] // stride), torch.arange(size_hw[1] // stride), indexing="ij"
        )
        places.append(torch.stack([columns, rows], dim=2).reshape(-1, 2).float())
        strides.append(torch.full((rows.numel(),), float(stride)))
    return torch.cat(places).to(device), torch.cat(strides).to(device)


def decode(raw: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Boxes (B, A, 4) x1 y1 x2 y2 in pixels of the input."""
    places, strides = cells(size_hw, raw.device)
    middle = (raw[..., :2] + places) * strides[:, None]
    half = raw[..., 2:4].clamp(max=6).exp() * strides[:, None] / 2
    return torch.cat([middle - half, middle + half], dim=-1)


class _Head(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.where = nn.Sequential(conv(channels, channels, 3), nn.Conv2d(channels, 5, 1))
        self.what = nn.Sequential(conv(channels, channels, 3), nn.Conv2d(channels, classes, 1))
        # Start from the middle of the cell, a size of three strides and, since objects are rare, a probability of 1 %:
        # else the first steps are spent on learning these.
        with torch.no_grad():
            self.where[1].bias.copy_(torch.tensor([0.5, 0.5, math.log(3), math.log(3), -math.log(99)]))

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([self.where(features), self.what(features)], dim=1)
