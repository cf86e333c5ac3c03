"""R-CNN and Fast R-CNN (edgewright.export.region_networks): the rcnn head, for regions that are proposed outside."""

from typing import Any

import torch

from edgewright.export.box_transform import decode_boxes
from edgewright.export.families import Imported
from edgewright.export.families._torchvision_input import clip_boxes
from edgewright.export.region_networks import RCNN, RegionNetwork
from edgewright.export.region_pool import static_pool
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork, Wrapped, class_columns
from edgewright.runtime.errors import ExportError
from edgewright.runtime.proposals import method_name
from edgewright.runtime.spec import HeadSpec, PostprocessSpec, PreprocessSpec, ProposalSpec

KEYS = ("roi", "proposals", "propose")
_REGIONS = "proposals"
_COUNT = 300
_METHOD = "selective_search"
# The mean colour, which normalisation makes 0, as for torchvision's networks.
_PAD_VALUE = 114
# Fast R-CNN's published code: scores from 0.05 on, non-maximum suppression at 0.3, 100 detections.
_POSTPROCESS = PostprocessSpec(conf_threshold=0.05, iou_threshold=0.3, max_detections=100)


def accepts(module: Any) -> bool:
    """Whether the module is told its regions."""
    return isinstance(module, RegionNetwork)


def build(network: TorchNetwork, request: ExportRequest) -> Wrapped:
    """Boxes [1, K, C, 4] in pixels and class probabilities [1, K, C] of K regions [1, K, 4], 0 for padding."""
    preprocess = _preprocess(network.module, request)
    regions = torch.tensor([[[0.0, 0.0, preprocess.size_hw[1], preprocess.size_hw[0]]]])
    regions = regions.repeat(1, request.proposals or _COUNT, 1)
    total = class_count(network, preprocess.size_hw)
    columns = class_columns(request, network, total)
    module = Regions(network.module, preprocess.size_hw, columns.indices, total, roi=request.roi or "op")
    method = request.propose or _METHOD
    method_name(method)
    return Wrapped(
        module=module.eval(),
        outputs=("boxes", "scores"),
        imported=Imported(
            task="detect",
            head=HeadSpec(kind="rcnn", outputs={"boxes": "boxes", "scores": "scores"}),
            preprocess=preprocess,
            postprocess=_POSTPROCESS,
            classes=len(columns.indices),
            proposals=ProposalSpec(input=_REGIONS, method=method, count=regions.shape[1]),
        ),
        labels=columns.labels,
        examples={_REGIONS: regions},
    )


class Regions(torch.nn.Module):
    """The network with as many regions as the graph has rows for."""

    def __init__(
        self, network: RegionNetwork, size_hw: tuple[int, int], columns: tuple[int, ...], total: int, *, roi: str
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.weights = network.backbone, network.head, network.box_weights
        self.size_hw, self.total, self.crops_first = size_hw, total, isinstance(network, RCNN)
        picture = torch.zeros(1, 3, *size_hw)
        with torch.no_grad():
            maps = picture if self.crops_first else self.backbone(picture)
        self.pool = static_pool(network.pool, maps, size_hw, roi=roi)
        self.register_buffer("columns", torch.tensor(columns))

    def forward(self, images: Any, proposals: Any) -> tuple[Any, Any]:
        regions = proposals[0]
        sides = regions[:, 2:] - regions[:, :2]
        valid = (sides[:, 0] > 0) & (sides[:, 1] > 0)
        # What padding is pooled from does not matter, but it must give numbers.
        somewhere = torch.where(valid[:, None], regions, torch.tensor([0.0, 0.0, 1.0, 1.0]))
        logits, boxes = self._classified(images, somewhere)
        scores = logits.softmax(-1).index_select(1, self.columns)
        boxes = clip_boxes(boxes.index_select(1, self.columns), self.size_hw)
        sides = boxes[..., 2:] - boxes[..., :2]
        there = valid[:, None] & (sides[..., 0] > 0) & (sides[..., 1] > 0)
        return boxes[None], (scores * there.to(scores.dtype))[None]

    def _classified(self, images: Any, regions: Any) -> tuple[Any, Any]:
        """Logits (K, C + 1) and the box of each class (K, C + 1, 4); the background's is of no use."""
        if self.crops_first:
            answer = self.head(self.backbone(self.pool(images, regions)))
        else:
            answer = self.head(self.pool(self.backbone(images), regions))
        logits, transforms = answer if isinstance(answer, tuple) else (answer, None)
        boxes = regions[:, None].expand(-1, self.total, 4)
        if transforms is None:
            return logits, boxes
        of_class = transforms.reshape(len(regions), -1, 4)
        if of_class.shape[1] == self.total - 1 > 1:
            of_class = torch.cat([torch.zeros_like(of_class[:, :1]), of_class], 1)
        return logits, decode_boxes(of_class.expand(-1, self.total, 4), boxes, self.weights)


def class_count(network: TorchNetwork, size_hw: tuple[int, int]) -> int:
    """How many classes, background included, the head tells apart; ExportError when its answer has another form."""
    height, width = size_hw
    with torch.no_grad():
        answer = network.module(torch.zeros(1, 3, *size_hw), torch.tensor([[0.0, 0.0, width, height]]))
    shapes = [list(part.shape) for part in (answer if isinstance(answer, tuple) else (answer,))]
    total = shapes[0][-1]
    fitting = [[[1, total]], *([[1, total], [1, 4 * count]] for count in (total, total - 1, 1))]
    if total < 2 or shapes not in fitting:
        raise ExportError(
            f"{network.source}: for one region the head returns the shapes {shapes}; wanted: logits [1, C + 1] with the "
            "background first, and transforms [1, C * 4], [1, (C + 1) * 4] or [1, 4]"
        )
    return int(total)


def _preprocess(module: RegionNetwork, request: ExportRequest) -> PreprocessSpec:
    return PreprocessSpec(
        size_hw=request.size or module.size_hw,
        resize="letterbox_top_left",
        pad_value=_PAD_VALUE,
        scale=1 / 255,
        mean=module.mean,
        std=module.std,
    )
