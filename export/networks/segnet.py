"""SegNet: the decoder puts every value back to the pixel that max-pooling took it from.

Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
arXiv:1511.00561, figures 2 and 3.
"""

from torch import Tensor, nn


class SegNet(nn.Module):
    """Pictures (B, channels, H, W) to class logits (B, classes, H, W); H and W are multiples of 2**depth.

    The encoder has `depth` poolings and `width` channels at its first scale, which double with every further one, up to
    8 * width (paper: 5 and 64); every stage has two convolutions.
    """

    def __init__(self, classes: int, *, width: int = 16, depth: int = 4, channels: int = 3) -> None:
        super().__init__()
        self.classes = classes
        widths = [width * min(2**scale, 8) for scale in range(depth)]
        before = [channels, *widths[:-1]]
        self.encoder = nn.ModuleList(_double(i, o, o) for i, o in zip(before, widths, strict=True))
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)
        after = [widths[0], *widths[:-1]]
        self.decoder = nn.ModuleList(_double(i, i, o) for i, o in reversed(list(zip(widths, after, strict=True))))
        self.classifier = nn.Conv2d(width, classes, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        features, places = pictures, []
        for stage in self.encoder:
            features, indices = self.pool(stage(features))
            places.append(indices)
        for stage, indices in zip(self.decoder, reversed(places), strict=True):
            features = stage(self.unpool(features, indices))
        return self.classifier(features)


def _double(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, made in ((inputs, middle), (middle, outputs)):
        layers += [nn.Conv2d(channels, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
