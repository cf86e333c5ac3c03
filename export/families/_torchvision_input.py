"""What torchvision's detectors share: how their transform fed them, and their feature maps and anchors at a fixed size."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional
from torchvision.models.detection.image_list import ImageList

from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import landscape_hw
from edgewright.runtime.spec import PreprocessSpec

# Torchvision pads normalised images with 0, the mean colour: ImageNet's is (124, 116, 104).
_PAD_VALUE = 114


def preprocess_of(transform: Any, request: ExportRequest) -> PreprocessSpec:
    """The pre-processing of a GeneralizedRCNNTransform at one fixed size.

    A fixed size stays what it is, a stretch. The range from min_size to max_size becomes a letterbox in the top left corner,
    where torchvision puts an image too; its size is that of a 4:3 picture unless the user names one.
    """
    size_hw, resize = request.size, "letterbox_top_left"
    if transform.fixed_size is not None:
        width, height = transform.fixed_size
        size_hw, resize = size_hw or (height, width), "stretch"
    return PreprocessSpec.model_validate(
        {
            "size_hw": size_hw or landscape_hw(int(transform.min_size[-1]), max(1, int(transform.size_divisible))),
            "resize": resize,
            "rounding": "floor",
            "pad_value": _PAD_VALUE,
            "scale": 1 / 255,
            "mean": tuple(transform.image_mean),
            "std": tuple(transform.image_std),
        }
    )


class Features(torch.nn.Module):
    """The backbone's feature maps by name, of an image tensor padded with zeros to the transform's multiple."""

    def __init__(self, network: Any, size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.backbone = network.backbone
        multiple = network.transform.size_divisible
        self.padding = (0, -size_hw[1] % multiple, 0, -size_hw[0] % multiple)

    def forward(self, images: Any) -> dict[str, Any]:
        if any(self.padding):
            images = functional.pad(images, self.padding)
        features = self.backbone(images)
        return dict(features) if isinstance(features, Mapping) else {"0": features}


def anchors_of(generator: Any, features: Features, size_hw: tuple[int, int]) -> tuple[Any, list[Any]]:
    """The anchors (A, 4) of an image of `size_hw`, x1 y1 x2 y2 in pixels, and the feature maps that they were made for."""
    with torch.no_grad():
        images = functional.pad(torch.zeros(1, 3, *size_hw), features.padding)
        maps = list(features(torch.zeros(1, 3, *size_hw)).values())
        (anchors,) = generator(ImageList(images, [size_hw]), maps)
    return anchors.clone(), maps


def clip_boxes(boxes: Any, size_hw: tuple[int, int]) -> Any:
    """Boxes (..., 4) with every corner moved inside the image."""
    height, width = size_hw
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], -1)
