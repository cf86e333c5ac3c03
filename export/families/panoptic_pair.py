"""A Mask R-CNN for things and a semantic network for stuff, as one graph: the panoptic head."""

from typing import Any

import torch

from edgewright.export.families import Imported
from edgewright.export.families._torchvision_input import Features, preprocess_of
from edgewright.export.families.torchvision_rcnn import WithMasks, class_count, own_limits, region_count
from edgewright.export.labels import LabelSet
from edgewright.export.model_spec import requested_labels
from edgewright.export.panoptic_network import PanopticPair
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork, Wrapped
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.spec import HeadSpec

KEYS = ("roi", "proposals")
_CONFIDENCE = 0.5  # Panoptic FPN, as detectron2 configures it: MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH


def accepts(module: Any) -> bool:
    """Whether the module is a pair of a Mask R-CNN and a semantic network."""
    return isinstance(module, PanopticPair)


def build(network: TorchNetwork, request: ExportRequest) -> Wrapped:
    """Mask R-CNN's finished detections, and the logits [1, S, h, w] of stuff, behind one of everything else if there is any.

    The labels are the things', in the order of the detector, then the stuff's, in the order of their channels.
    """
    pair: PanopticPair = network.module
    preprocess = preprocess_of(pair.detector.transform, request)
    total = class_count(pair.detector, Features(pair.detector, preprocess.size_hw), preprocess.size_hw)
    things = tuple(range(total - 1))
    # The graph suppresses as the detector does; which objects are sure enough for a map, the head decides.
    limits = own_limits(pair.detector.roi_heads, request)
    count = region_count(pair.detector.rpn, request)
    module = _Pair(pair, preprocess.size_hw, total, limits, roi=request.roi or "op", count=count).eval()
    labels = _labels(pair, request, len(things) + len(module.stuff))
    return Wrapped(
        module=module,
        outputs=module.outputs,
        imported=Imported(
            task="panoptic",
            head=HeadSpec(kind="panoptic", outputs={name: name for name in module.outputs}, thing_ids=things),
            preprocess=preprocess,
            postprocess=limits.model_copy(update={"conf_threshold": _CONFIDENCE}),
            classes=len(labels.labels),
        ),
        labels=labels,
    )


def _labels(pair: PanopticPair, request: ExportRequest, classes: int) -> LabelSet:
    if request.labels is not None or pair.labels is None:
        return requested_labels(request, classes)
    if len(pair.labels) != classes:
        raise UsageError(
            f"the PanopticPair names {len(pair.labels)} labels and has {classes} classes of things and stuff; name the "
            "detector's classes without background, then the stuff channels"
        )
    return LabelSet(pair.labels)


class _Pair(WithMasks):
    """The detections of the one network and the stuff of the other, of one image."""

    outputs = (*WithMasks.outputs, "semantic")

    def __init__(
        self, pair: PanopticPair, size_hw: tuple[int, int], total: int, settings: Any, *, roi: str, count: int
    ) -> None:
        super().__init__(pair.detector, size_hw, tuple(range(1, total)), total, settings, roi=roi, count=count)
        self.pair = pair
        with torch.no_grad():
            images = torch.zeros(1, 3, *size_hw)
            channels, *map_hw = pair.stuff_logits(images, self.features(images)).shape[1:]
        self.cells_hw = self._inside(map_hw) if pair.takes == "features" else tuple(map_hw)
        self.stuff = tuple(range(1, channels)) if pair.stuff_channels is None else pair.stuff_channels
        if not self.stuff or not set(self.stuff) <= set(range(channels)):
            raise UsageError(
                f"the stuff channels are {self.stuff}, the semantic network has the channels 0 to {channels - 1}"
            )
        self.others = tuple(channel for channel in range(channels) if channel not in self.stuff)

    def forward(self, images: Any) -> tuple[Any, ...]:
        maps = self.features(images)
        logits = self.pair.stuff_logits(images, maps)[:, :, : self.cells_hw[0], : self.cells_hw[1]]
        planes = [logits[:, channel : channel + 1] for channel in self.stuff]
        if self.others:
            planes.insert(0, torch.cat([logits[:, k : k + 1] for k in self.others], 1).amax(1, keepdim=True))
        return (*self.finished(maps), torch.cat(planes, 1))

    def _inside(self, map_hw: list[int]) -> tuple[int, int]:
        """The cells of a map of the padded image that lie over the image itself."""
        (height, width), (_, right, _, below) = self.size_hw, self.features.padding
        padded = (height + below, width + right)
        cells = tuple(cells * side / whole for cells, side, whole in zip(map_hw, self.size_hw, padded, strict=True))
        if any(count != int(count) for count in cells):
            raise ExportError(
                f"the semantic map of {map_hw[0]}x{map_hw[1]} cells covers the input padded to {padded[0]}x{padded[1]}, and "
                f"{height}x{width} ends inside a cell; pass --size with multiples of {padded[0] // map_hw[0]}"
            )
        return int(cells[0]), int(cells[1])
