"""torchvision's Faster and Mask R-CNN, and networks built from the same classes: the rcnn and the roi_masks head.

Anchors, scales, box coders, limits and thresholds are taken from the network; nothing is assumed about how it was built.
"""

import logging
from typing import Any

import torch
from torchvision.models.detection.faster_rcnn import FasterRCNN
from torchvision.models.detection.keypoint_rcnn import KeypointRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNN

from edgewright.export.families import Imported
from edgewright.export.families._torchvision_input import Features, clip_boxes, preprocess_of
from edgewright.export.region_pool import static_pool
from edgewright.export.region_proposals import Proposals
from edgewright.export.request import ExportRequest
from edgewright.export.static_nms import best_first, keep_mask
from edgewright.export.torch_source import TorchNetwork, Wrapped, class_columns
from edgewright.runtime.spec import HeadSpec, PostprocessSpec

_log = logging.getLogger(__name__)

KEYS = ("roi", "proposals")
_SMALLEST_SIDE = 1e-2  # torchvision, RoIHeads.postprocess_detections
# As many regions as the Faster R-CNN paper tests with. torchvision's 1000 double the time of a frame.
_COUNT = 300


def accepts(module: Any) -> bool:
    """Whether the module is one of torchvision's two-stage detectors, without keypoints."""
    return isinstance(module, FasterRCNN) and not isinstance(module, KeypointRCNN)


def build(network: TorchNetwork, request: ExportRequest) -> Wrapped:
    """Faster R-CNN: boxes [1, K, C, 4] in pixels and class probabilities [1, K, C] of K proposals, 0 for padding.

    Mask R-CNN: the D finished detections, since a mask for each of K * C boxes cannot be paid for: boxes [1, D, 4], scores
    [1, D] (0 for padding), classes [1, D] and mask logits [1, D, m, m].
    """
    detector = network.module
    preprocess = preprocess_of(detector.transform, request)
    total = class_count(detector, Features(detector, preprocess.size_hw), preprocess.size_hw)
    columns = class_columns(request, network, total)
    settings = own_limits(detector.roi_heads, request)
    options: dict[str, Any] = {"roi": request.roi or "op", "count": region_count(detector.rpn, request)}
    kind, module = "rcnn", TwoStage(detector, preprocess.size_hw, columns.indices, **options)
    if isinstance(detector, MaskRCNN):
        kind, module = (
            "roi_masks",
            WithMasks(detector, preprocess.size_hw, columns.indices, total, settings, **options),
        )
    return Wrapped(
        module=module.eval(),
        outputs=module.outputs,
        imported=Imported(
            task="detect" if kind == "rcnn" else "instance",
            head=HeadSpec(kind=kind, outputs={name: name for name in module.outputs}),
            preprocess=preprocess,
            postprocess=settings,
            classes=len(columns.indices),
        ),
        labels=columns.labels,
    )


def region_count(rpn: Any, request: ExportRequest) -> int:
    """How many proposals the second stage looks at: as the user says, else the network's own number, 300 at most."""
    own = int(rpn.post_nms_top_n())
    if request.proposals is not None or own <= _COUNT:
        return request.proposals or own
    _log.warning(
        "the second stage looks at %d regions instead of the network's own %d, which costs a little accuracy and saves much "
        "time; --proposals %d keeps them all",
        _COUNT,
        own,
        own,
    )
    return _COUNT


def own_limits(heads: Any, request: ExportRequest) -> PostprocessSpec:
    """The network's own limits, or the user's: with masks they become part of the graph."""
    own = {
        "conf_threshold": heads.score_thresh,
        "iou_threshold": heads.nms_thresh,
        "max_detections": heads.detections_per_img,
    }
    return PostprocessSpec.model_validate({**own, **request.given(*own)})


class TwoStage(torch.nn.Module):
    """Backbone, proposals, and the boxes and scores that the second stage makes of them, all of fixed shape."""

    outputs: tuple[str, ...] = ("boxes", "scores")

    def __init__(
        self, detector: Any, size_hw: tuple[int, int], columns: tuple[int, ...], *, roi: str, count: int
    ) -> None:
        super().__init__()
        heads = detector.roi_heads
        self.size_hw = size_hw
        self.features = Features(detector, size_hw)
        with torch.no_grad():
            maps = self.features(torch.zeros(1, 3, *size_hw))
        self.proposals = Proposals(detector.rpn, self.features, size_hw, count=count)
        self.pool = static_pool(heads.box_roi_pool, maps, size_hw, roi=roi)
        self.box_head, self.box_predictor, self.box_coder = heads.box_head, heads.box_predictor, heads.box_coder
        self.register_buffer("columns", torch.tensor(columns))

    def forward(self, images: Any) -> tuple[Any, ...]:
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


class WithMasks(TwoStage):
    """The second stage's suppression inside the graph, and masks for the boxes that remain."""

    outputs: tuple[str, ...] = ("boxes", "scores", "classes", "masks")

    def __init__(
        self,
        detector: Any,
        size_hw: tuple[int, int],
        columns: tuple[int, ...],
        total: int,
        settings: PostprocessSpec,
        *,
        roi: str,
        count: int,
    ) -> None:
        super().__init__(detector, size_hw, columns, roi=roi, count=count)
        heads = detector.roi_heads
        with torch.no_grad():
            maps = self.features(torch.zeros(1, 3, *size_hw))
        self.mask_pool = static_pool(heads.mask_roi_pool, maps, size_hw, roi=roi)
        self.mask_head, self.mask_predictor = heads.mask_head, heads.mask_predictor
        self.total, self.settings = total, settings
        every = self.proposals.count * len(columns)
        # The best so many decide greedily as all would, unless they leave fewer than are wanted.
        self.candidates = min(every, max(10 * settings.max_detections, 1000))
        self.count = min(settings.max_detections, self.candidates)

    def forward(self, images: Any) -> tuple[Any, ...]:
        return self.finished(self.features(images))

    def finished(self, maps: dict[str, Any]) -> tuple[Any, ...]:
        """The detections and their masks, each of one image."""
        boxes, scores, classes = self._final(*self.refined(maps))
        logits = self.mask_predictor(self.mask_head(self.mask_pool(maps, boxes)))
        row = torch.arange(self.count) * self.total + self.columns[classes]
        masks = logits.flatten(0, 1)[row]
        return boxes[None], scores[None], classes.to(torch.int32)[None], masks[None]

    def _final(self, boxes: Any, scores: Any) -> tuple[Any, Any, Any]:
        """Boxes (D, 4), scores (D,) and classes (D,) after suppression, best first; padding has score 0."""
        best, index = best_first(scores.flatten(), self.candidates)
        candidates, classes = boxes.flatten(0, 1)[index], index % scores.shape[1]
        same = (classes[:, None] == classes[None, :]).to(scores.dtype)
        valid = (best > self.settings.conf_threshold).to(scores.dtype)
        keep = keep_mask(candidates, valid, self.settings.iou_threshold, same=same)
        final, place = best_first(best * keep, self.count)
        return candidates[place], final, classes[place]


def class_count(detector: Any, features: Features, size_hw: tuple[int, int]) -> int:
    """How many classes, background included, the box predictor tells apart."""
    heads = detector.roi_heads
    with torch.no_grad():
        maps = features(torch.zeros(1, 3, *size_hw))
        pooled = heads.box_roi_pool(maps, [torch.tensor([[0.0, 0.0, 1.0, 1.0]])], [size_hw])
        logits, _ = heads.box_predictor(heads.box_head(pooled))
    return int(logits.shape[-1])
