"""U-Net: an encoder, a decoder, and at every scale a connection between them.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", arXiv:1505.04597, figure 1.
"""

from typing import Literal

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """Pictures (B, channels, H, W) to class logits (B, classes, h, w).

    The encoder has `depth` poolings and `width` channels at its first scale, which double with every further one (paper: 64
    and 4). Padding "same" keeps the size, and H and W must be multiples of 2**depth. Padding "valid" is the paper's own form:
    every value comes from pixels of the picture alone, and the output is the centre of the input (572 gives 388).
    Batch normalisation is younger than the paper.
    """

    def __init__(
        self,
        classes: int,
        *,
        width: int = 16,
        depth: int = 4,
        channels: int = 3,
        padding: Literal["same", "valid"] = "same",
    ) -> None:
        super().__init__()
        self.classes = classes
        self.multiple = 2**depth if padding == "same" else 1
        widths = [width * 2**scale for scale in range(depth + 1)]
        self.encoder = nn.ModuleList(
            _double(inputs, outputs, padding) for inputs, outputs in zip([channels, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.decoder = nn.ModuleList(_double(2 * w, w, padding) for w in reversed(widths[:-1]))
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        if any(side % self.multiple for side in pictures.shape[-2:]):
            raise ValueError(
                f"the picture is {tuple(pictures.shape[-2:])}, both sides must be multiples of {self.multiple}"
            )
        features, skipped = pictures, []
        for scale, stage in enumerate(self.encoder):
            features = stage(features if scale == 0 else self.pool(features))
            skipped.append(features)
        for up, stage, skip in zip(self.up, self.decoder, reversed(skipped[:-1]), strict=True):
            coarse = up(features)
            features = stage(torch.cat([_centre(skip, coarse.shape[-2], coarse.shape[-1]), coarse], dim=1))
        return self.classifier(features)


def _double(inputs: int, outputs: int, padding: str) -> nn.Sequential:
    border = 1 if padding == "same" else 0
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        convolution = nn.Conv2d(channels, outputs, 3, padding=border, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _centre(features: Tensor, height: int, width: int) -> Tensor:
    top, left = (features.shape[-2] - height) // 2, (features.shape[-1] - width) // 2
    return features[..., top : top + height, left : left + width]
