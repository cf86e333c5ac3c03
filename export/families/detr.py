"""DETR and its kin through transformers (RT-DETR, D-FINE, Deformable DETR, YOLOS, RF-DETR): the final head, without NMS."""

from typing import Any

import torch

from edgewright.export.families import Imported
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork, Wrapped
from edgewright.export.transformers_input import DETECTORS, columns_of, preprocess_of
from edgewright.runtime.spec import HeadSpec, PostprocessSpec

_OUTPUTS = ("boxes", "scores", "classes")
_CONFIDENCE = 0.5  # transformers' default of every post_process_object_detection
# The queries that these kinds keep of all classes and queries, in their post_process_object_detection.
_BEST = {"conditional_detr": 100, "deformable_detr": 100}


def accepts(module: Any) -> bool:
    """Whether the module is a detector of transformers that gives class logits and boxes for each of its queries."""
    kind = type(module)
    known = getattr(getattr(module, "config", None), "model_type", None) in DETECTORS
    return known and kind.__module__.startswith("transformers.") and kind.__name__.endswith("ForObjectDetection")


def build(network: TorchNetwork, request: ExportRequest) -> Wrapped:
    """Boxes [1, K, 4] as centre and size in fractions of the input, scores [1, K] and classes [1, K].

    A network trained with "no object" gives every query the best of its other classes; the others give the K best pairs of
    query and class, as transformers' post-processing has it.
    """
    config = network.module.config
    preprocess = preprocess_of(network, request)
    softmax = DETECTORS[config.model_type] == "softmax"
    with torch.no_grad():
        logits = network.module(pixel_values=torch.zeros(1, 3, *preprocess.size_hw)).logits
    queries, classes = logits.shape[1:]
    columns = columns_of(network, request, classes - 1 if softmax else classes)
    count = queries if softmax else min(_BEST.get(config.model_type, queries), queries * len(columns.indices))
    return Wrapped(
        module=_Finished(network.module, columns.indices, None if softmax else count).eval(),
        outputs=_OUTPUTS,
        imported=Imported(
            task="detect",
            head=HeadSpec(kind="final", outputs={name: name for name in _OUTPUTS}, boxes="cxcywh_unit"),
            preprocess=preprocess,
            postprocess=PostprocessSpec(conf_threshold=_CONFIDENCE, max_detections=count),
            classes=len(columns.indices),
        ),
        labels=columns.labels,
    )


class _Finished(torch.nn.Module):
    """The detections of a network: the best class of each query, or the `best` pairs of query and class."""

    def __init__(self, network: Any, columns: tuple[int, ...], best: int | None) -> None:
        super().__init__()
        self.network, self.best = network, best
        self.register_buffer("columns", torch.tensor(columns))

    def forward(self, images: Any) -> tuple[Any, Any, Any]:
        found = self.network(pixel_values=images)
        if self.best is None:
            scores, classes = found.logits.softmax(-1).index_select(-1, self.columns).max(-1)
            return found.pred_boxes, scores, classes.to(torch.int32)
        flat = found.logits.index_select(-1, self.columns).sigmoid().flatten(1)
        scores, place = flat.topk(self.best, dim=1)
        query = place // len(self.columns)
        boxes = found.pred_boxes.gather(1, query[..., None].expand(-1, -1, 4))
        return boxes, scores, (place - query * len(self.columns)).to(torch.int32)
