"""torchvision's Faster R-CNN, and networks built from the same class: the rcnn head.

Anchors, scales, box coders, limits and thresholds are taken from the network; nothing is assumed about how it was built.
"""

from typing import Any

import torch
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.keypoint_rcnn import KeypointRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNN

from edgewright.export.families import Imported
from edgewright.export.families._torchvision_input import Features, clip_boxes, preprocess_of
from edgewright.export.region_pool import RegionPool
from edgewright.export.region_proposals import Proposals
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork, Wrapped, class_columns
from edgewright.runtime.spec import HeadSpec, PostprocessSpec

_SMALLEST_SIDE = 1e-2  # torchvision, RoIHeads.postprocess_detections


def accepts(module: Any) -> bool:
    """Whether the module is a Faster R-CNN of torchvision's, without keypoints or masks."""
    return isinstance(module, FasterRCNN) and not isinstance(module, KeypointRCNN | MaskRCNN)


def build(network: TorchNetwork, request: ExportRequest) -> Wrapped:
    """Boxes [1, K, C, 4] in pixels and class probabilities [1, K, C] of K proposals; padding has probability 0."""
    detector = network.module
    preprocess = preprocess_of(detector.transform, request)
    heads = detector.roi_heads
    features = Features(detector, preprocess.size_hw)
    columns = class_columns(request, network, class_count(detector, features, preprocess.size_hw))
    module = TwoStage(detector, preprocess.size_hw, columns.indices, roi=request.roi or "op").eval()
    return Wrapped(
        module=module,
        outputs=("boxes", "scores"),
        imported=Imported(
            task="detect",
            head=HeadSpec(kind="rcnn", outputs={"boxes": "boxes", "scores": "scores"}),
            preprocess=preprocess,
            postprocess=PostprocessSpec(
                conf_threshold=heads.score_thresh,
                iou_threshold=heads.nms_thresh,
                max_detections=heads.detections_per_img,
            ),
            classes=len(columns.indices),
        ),
        labels=columns.labels,
    )


class TwoStage(torch.nn.Module):
    """Backbone, proposals, and the boxes and scores that the second stage makes of them, all of fixed shape."""

    def __init__(self, detector: Any, size_hw: tuple[int, int], columns: tuple[int, ...], *, roi: str) -> None:
        super().__init__()
        heads = detector.roi_heads
        self.size_hw = size_hw
        self.features = Features(detector, size_hw)
        with torch.no_grad():
            maps = self.features(torch.zeros(1, 3, *size_hw))
        self.proposals = Proposals(detector.rpn, self.features, size_hw)
        self.pool = RegionPool(heads.box_roi_pool, maps, size_hw, roi=roi)
        self.box_head, self.box_predictor, self.box_coder = heads.box_head, heads.box_predictor, heads.box_coder
        self.register_buffer("columns", torch.tensor(columns))

    def forward(self, images: Any) -> tuple[Any, Any]:
        boxes, scores = self.refined(self.features(images))
        return boxes[None], scores[None]

    def refined(self, maps: dict[str, Any]) -> tuple[Any, Any]:
        """Boxes (K, C, 4) and class probabilities (K, C); 0 for padding and for boxes without extent."""
        proposals, valid = self.proposals(list(maps.values()))
        logits, deltas = self.box_predictor(self.box_head(self.pool(maps, proposals)))
        scores = logits.softmax(-1).index_select(1, self.columns)
        boxes = self.box_coder.decode(deltas, [proposals]).index_select(1, self.columns)
        boxes = clip_boxes(boxes, self.size_hw)
        sides = boxes[..., 2:] - boxes[..., :2]
        large = (sides[..., 0] >= _SMALLEST_SIDE) & (sides[..., 1] >= _SMALLEST_SIDE)
        return boxes, scores * valid[:, None] * large.to(scores.dtype)


def class_count(detector: Any, features: Features, size_hw: tuple[int, int]) -> int:
    """How many classes, background included, the box predictor tells apart."""
    heads = detector.roi_heads
    with torch.no_grad():
        maps = features(torch.zeros(1, 3, *size_hw))
        pooled = heads.box_roi_pool(maps, [torch.tensor([[0.0, 0.0, 1.0, 1.0]])], [size_hw])
        logits, _ = heads.box_predictor(heads.box_head(pooled))
    return int(logits.shape[-1])
