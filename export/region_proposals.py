"""A region proposal network whose number of proposals is fixed."""

from typing import Any

import torch
from torch.nn import functional

from edgewright.export.families._torchvision_input import Features, anchors_of, clip_boxes
from edgewright.export.static_nms import best_first, keep_mask


class Proposals(torch.nn.Module):
    """torchvision's RegionProposalNetwork at a fixed input size: its own head, anchors, limits and thresholds.

    The best anchors of each level are decoded, suppressed level by level, and the best `count` of what remains are the
    proposals.
    """

    def __init__(self, rpn: Any, features: Features, size_hw: tuple[int, int], *, count: int) -> None:
        super().__init__()
        self.head, self.size_hw = rpn.head, size_hw
        self.decode = rpn.box_coder.decode_single
        self.min_size, self.score_threshold, self.iou_threshold = rpn.min_size, rpn.score_thresh, rpn.nms_thresh
        anchors, maps = anchors_of(rpn.anchor_generator, features, size_hw)
        with torch.no_grad():
            counts = [level.numel() for level in self.head(maps)[0]]
        most = max(rpn.pre_nms_top_n(), count)
        self.counts = [min(cells, most) for cells in counts]
        self.count = min(count, sum(self.counts))
        for index, level in enumerate(anchors.split(counts)):
            self.register_buffer(f"anchors{index}", level.clone())

    def forward(self, maps: list[Any]) -> tuple[Any, Any]:
        """Boxes (K, 4) in pixels, best first, and 1 for a proposal or 0 for padding (K,)."""
        objectness, deltas = self.head(maps)
        levels = [self._candidates(index, o, d) for index, (o, d) in enumerate(zip(objectness, deltas, strict=True))]
        boxes, scores, valid = (torch.stack(parts) for parts in zip(*levels, strict=True))
        keep = keep_mask(boxes, valid, self.iou_threshold)
        best, index = best_first((scores * keep - (1 - keep)).flatten(), self.count)
        return boxes.flatten(0, 1)[index], (best >= 0).to(boxes.dtype)

    def _candidates(self, index: int, objectness: Any, deltas: Any) -> tuple[Any, Any, Any]:
        """Boxes (N, 4), scores (N,) and validity (N,) of one level, best first, filled up to the N of the largest level."""
        anchors_per_cell, height, width = objectness.shape[1:]
        logits = objectness.permute(0, 2, 3, 1).flatten()
        rows = deltas.view(anchors_per_cell, 4, height, width).permute(2, 3, 0, 1).reshape(-1, 4)
        best, chosen = best_first(logits, self.counts[index])
        anchors = getattr(self, f"anchors{index}")[chosen]
        boxes = clip_boxes(self.decode(rows[chosen], anchors), self.size_hw)
        scores = best.sigmoid()
        sides = boxes[:, 2:] - boxes[:, :2]
        large = (sides[:, 0] >= self.min_size) & (sides[:, 1] >= self.min_size)
        valid = (large & (scores >= self.score_threshold)).to(boxes.dtype)
        missing = max(self.counts) - self.counts[index]
        if missing:
            boxes, scores, valid = (
                functional.pad(boxes, (0, 0, 0, missing)),
                *(functional.pad(values, (0, missing)) for values in (scores, valid)),
            )
        return boxes, scores, valid
