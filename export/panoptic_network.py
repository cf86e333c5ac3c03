"""Things and stuff from two networks in one module: a Mask R-CNN, and a semantic network beside or on top of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch.nn import functional
from torchvision.models.detection.mask_rcnn import MaskRCNN

from edgewright.runtime.errors import UsageError

IGNORED = 255


class PanopticPair(torch.nn.Module):
    """A torchvision MaskRCNN, whose classes are the things, and a network whose channels `stuff_channels` are the stuff.

    `semantic` returns logits [N, S, h, w], or a dict of them under "out", as torchvision's networks do. It takes the images
    as the detector's transform normalises them, or, with takes="features", the dict of the detector's feature maps, as the
    semantic branch of a Panoptic FPN does. `labels` are the things' names, then the stuff's. By default every channel but
    the first, which stands for everything else, is stuff.
    """

    def __init__(
        self,
        detector: MaskRCNN,
        semantic: torch.nn.Module,
        *,
        takes: Literal["images", "features"] = "images",
        stuff_channels: Sequence[int] | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(detector, MaskRCNN):
            raise UsageError(f"the detector is a {type(detector).__name__}, a MaskRCNN of torchvision is wanted")
        self.detector, self.semantic, self.takes = detector, semantic, takes
        self.stuff_channels = None if stuff_channels is None else tuple(stuff_channels)
        self.labels = None if labels is None else tuple(labels)

    def forward(self, images: list[Any], targets: list[dict[str, Any]] | None = None) -> Any:
        """In training the losses by name, else a dict per image: what the detector gives, and "semantic" logits [S, h, w].

        Targets are torchvision's, each with "semantic": the channel of every pixel (H, W), 255 where it is not to be learnt.
        """
        sizes = [(int(image.shape[-2]), int(image.shape[-1])) for image in images]
        batch, boxes = self.detector.transform(images, targets)
        maps = self.detector.backbone(batch.tensors)
        maps = maps if isinstance(maps, Mapping) else {"0": maps}
        proposals, losses = self.detector.rpn(batch, maps, boxes)
        found, more = self.detector.roi_heads(maps, proposals, batch.image_sizes, boxes)
        logits = self.stuff_logits(batch.tensors, maps)
        if self.training:
            if targets is None:
                raise UsageError("a PanopticPair in training needs targets; call eval() to run it without")
            wanted = _channel_maps(targets, batch).to(logits.device)
            logits = _enlarged(logits, wanted.shape[-2:])
            return {**losses, **more, "loss_semantic": functional.cross_entropy(logits, wanted, ignore_index=IGNORED)}
        found = self.detector.transform.postprocess(found, batch.image_sizes, sizes)
        planes = _enlarged(logits, batch.tensors.shape[-2:])
        cut = [planes[i, :, :h, :w] for i, (h, w) in enumerate(batch.image_sizes)]
        return [{**own, "semantic": plane} for own, plane in zip(found, cut, strict=True)]

    def stuff_logits(self, images: Any, maps: Mapping[str, Any]) -> Any:
        """The semantic network's logits [N, S, h, w] of normalised images and their feature maps."""
        result = self.semantic(images if self.takes == "images" else dict(maps))
        return result["out"] if isinstance(result, Mapping) else result


def _enlarged(logits: Any, size_hw: Sequence[int]) -> Any:
    return functional.interpolate(logits, size=tuple(size_hw), mode="bilinear", align_corners=False)


def _channel_maps(targets: list[dict[str, Any]], batch: Any) -> Any:
    """The targets' channel maps at the size of the batch (N, H, W), whose padding is not to be learnt."""
    maps = torch.full((len(targets), *batch.tensors.shape[-2:]), IGNORED, dtype=torch.int64)
    for index, (target, (h, w)) in enumerate(zip(targets, batch.image_sizes, strict=True)):
        resized = functional.interpolate(target["semantic"][None, None].float(), size=(h, w), mode="nearest")
        maps[index, :h, :w] = resized[0, 0].long()
    return maps
