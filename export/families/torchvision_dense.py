"""torchvision's SSD, SSDlite, RetinaNet and FCOS, and networks built from the same classes: the dense head.

The graph ends with every anchor's box and class probabilities; threshold, limits and NMS are the network's own, carried into
the manifest.
"""

from collections.abc import Callable
from typing import Any

import torch
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD

from edgewright.export.families import Imported
from edgewright.export.families._torchvision_input import Features, anchors_of, clip_boxes, preprocess_of
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork, Wrapped, class_columns
from edgewright.runtime.spec import HeadSpec, PostprocessSpec


def accepts(module: Any) -> bool:
    """Whether the module is one of torchvision's one-stage detectors."""
    return isinstance(module, SSD | RetinaNet | FCOS)


def build(network: TorchNetwork, request: ExportRequest) -> Wrapped:
    """Boxes [1, A, 4] in pixels and class probabilities [1, A, C] of all anchors at a fixed input size."""
    detector = network.module
    preprocess = preprocess_of(detector.transform, request)
    columns = class_columns(request, network, _class_count(detector))
    module = _OneStage(detector, preprocess.size_hw, columns.indices).eval()
    limit = "max_candidates_per_class" if isinstance(detector, SSD) else "max_candidates_per_level"
    return Wrapped(
        module=module,
        outputs=("boxes", "scores"),
        imported=Imported(
            task="detect",
            head=HeadSpec(kind="dense", outputs={"boxes": "boxes", "scores": "scores"}, level_rows=module.level_rows),
            preprocess=preprocess,
            postprocess=PostprocessSpec.model_validate(
                {
                    "conf_threshold": detector.score_thresh,
                    "iou_threshold": detector.nms_thresh,
                    "max_detections": detector.detections_per_img,
                    limit: detector.topk_candidates,
                }
            ),
            classes=len(columns.indices),
        ),
        labels=columns.labels,
    )


class _OneStage(torch.nn.Module):
    def __init__(self, detector: Any, size_hw: tuple[int, int], columns: tuple[int, ...]) -> None:
        super().__init__()
        self.features, self.head = Features(detector, size_hw), detector.head
        self.size_hw = size_hw
        self.decode = detector.box_coder.decode if isinstance(detector, FCOS) else detector.box_coder.decode_single
        self.probabilities = _probabilities_of(detector)
        anchors, maps = anchors_of(detector.anchor_generator, self.features, size_hw)
        self.register_buffer("anchors", anchors)
        self.register_buffer("columns", torch.tensor(columns))
        per_cell = detector.anchor_generator.num_anchors_per_location()
        self.level_rows = tuple(n * m.shape[-2] * m.shape[-1] for n, m in zip(per_cell, maps, strict=True))

    def forward(self, images: Any) -> tuple[Any, Any]:
        raw = self.head(list(self.features(images).values()))
        boxes = clip_boxes(self.decode(raw["bbox_regression"][0], self.anchors), self.size_hw)
        scores = self.probabilities(raw)[0].index_select(1, self.columns)
        return boxes[None], scores[None]


def _probabilities_of(detector: Any) -> Callable[[Any], Any]:
    """The activation in each network's own postprocess_detections."""
    if isinstance(detector, SSD):
        return lambda raw: raw["cls_logits"].softmax(-1)
    if isinstance(detector, RetinaNet):
        return lambda raw: raw["cls_logits"].sigmoid()
    return lambda raw: (raw["cls_logits"].sigmoid() * raw["bbox_ctrness"].sigmoid()).sqrt()


def _class_count(detector: Any) -> int:
    head = detector.head.classification_head
    return int(head.num_columns if isinstance(detector, SSD) else head.num_classes)
