"""R-CNN and Fast R-CNN as torch modules, put together of a backbone, a pool and a head of the user's choice.

    network = FastRCNN(backbone, RoIAlign(7, 1 / 16, 2), BoxHead(256 * 49, classes=5), size_hw=(480, 640))
    logits, transforms = network(images, [regions])

They differ in one thing: R-CNN cuts the regions out of the picture and runs its backbone on each of them, Fast R-CNN runs it
once and cuts the regions out of its features.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torchvision.ops import MultiScaleRoIAlign, roi_align

from edgewright.export.box_transform import WEIGHTS, Weights
from edgewright.runtime.errors import ExportError

# ImageNet's statistics of RGB from 0 to 1, as most backbones are trained with.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class RegionNetwork(torch.nn.Module):
    """A network that is told the regions of a picture, and says of each what it shows and how its box should change.

    `forward(images, regions)` takes images (N, 3, H, W), RGB from 0 to 1 less `mean` and divided by `std`, and for each of
    them a tensor (K, 4) of regions x1 y1 x2 y2 in pixels (for one image, the tensor alone). It returns what the head makes
    of all regions in a row: class logits (K, C + 1), the background first, and transforms by `box_weights` (see
    box_transform.py) for every class (K, C * 4), with the background's (K, (C + 1) * 4), or one for all classes (K, 4).
    A head that returns logits alone leaves the regions as they are.

    `size_hw` is the input size that the network was trained for.
    """

    def __init__(
        self,
        backbone: Any,
        pool: Any,
        head: Any,
        *,
        size_hw: tuple[int, int],
        mean: tuple[float, float, float] = _MEAN,
        std: tuple[float, float, float] = _STD,
        box_weights: Weights = WEIGHTS,
    ) -> None:
        super().__init__()
        self.backbone, self.pool, self.head = backbone, pool, head
        self.size_hw, self.mean, self.std, self.box_weights = size_hw, mean, std, box_weights


class RCNN(RegionNetwork):
    """Each region, warped to one size by `pool` (a RegionWarp), passes through the backbone alone."""

    def forward(self, images: Any, regions: Any) -> Any:
        return self.head(self.backbone(self.pool(images, _by_image(regions))))


class FastRCNN(RegionNetwork):
    """The backbone sees the picture once; `pool` cuts the regions out of its features.

    The backbone returns a feature map, or maps by name for a MultiScaleRoIAlign; other pools are torchvision's RoIAlign and
    RoIPool.
    """

    def forward(self, images: Any, regions: Any) -> Any:
        features, boxes = self.backbone(images), _by_image(regions)
        if isinstance(self.pool, MultiScaleRoIAlign):
            height, width = images.shape[-2:]
            return self.head(self.pool(features, boxes, [(int(height), int(width))] * len(boxes)))
        return self.head(self.pool(features, boxes))


class RegionWarp(torch.nn.Module):
    """Regions of images, stretched to crops (K, C, h, w) with `padding` pixels of their surroundings on every side.

    What lies outside the image is 0: the mean colour, since images come normalised (Girshick et al. 2014, appendix A, the
    form "warp" with p = 16). `samples` points are averaged along each axis of a pixel; 0: as many as the region has pixels.
    """

    def __init__(self, size_hw: tuple[int, int], *, padding: int = 16, samples: int = 2) -> None:
        super().__init__()
        if padding < 0 or min(size_hw) <= 2 * padding:
            raise ExportError(
                f"a crop of {size_hw[0]}x{size_hw[1]} has no room for a region within a padding of {padding}; "
                "take a larger crop or less padding"
            )
        self.size_hw, self.padding, self.samples = size_hw, padding, samples

    def forward(self, images: Any, regions: Sequence[Any]) -> Any:
        boxes = [self.with_surroundings(boxes) for boxes in regions]
        return roi_align(images, boxes, self.size_hw, 1.0, self.samples, aligned=True)

    def with_surroundings(self, boxes: Any) -> Any:
        """Boxes (K, 4) grown about their centres, so that the boxes themselves fill the crop but for its padding."""
        height, width = self.size_hw
        factor = boxes.new_tensor([width / (width - 2 * self.padding), height / (height - 2 * self.padding)])
        centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
        return torch.cat([centre - half, centre + half], 1)


class BoxHead(torch.nn.Module):
    """Fully connected layers on flattened features (K, F): class logits (K, C + 1) and transforms (K, C * 4).

    `hidden` are the widths of the layers in between; none makes it linear.
    """

    def __init__(self, features: int, *, classes: int, hidden: Sequence[int] = (1024, 1024)) -> None:
        super().__init__()
        widths = (features, *hidden)
        layers = [
            part for given, wanted in pairwise(widths) for part in (torch.nn.Linear(given, wanted), torch.nn.ReLU())
        ]
        self.body = torch.nn.Sequential(torch.nn.Flatten(), *layers)
        self.classes = torch.nn.Linear(widths[-1], classes + 1)
        self.boxes = torch.nn.Linear(widths[-1], classes * 4)

    def forward(self, features: Any) -> tuple[Any, Any]:
        values = self.body(features)
        return self.classes(values), self.boxes(values)


def _by_image(regions: Any) -> list[Any]:
    return [regions] if isinstance(regions, torch.Tensor) else list(regions)
