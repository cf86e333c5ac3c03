"""Mask2Former, MaskFormer and EoMT through transformers: mask and class queries, the panoptic head."""

import copy
import logging
from typing import Any

import torch

from edgewright.export.families import Imported
from edgewright.export.labels import load_labels
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork, Wrapped
from edgewright.export.transformers_input import PANOPTIC, columns_of, preprocess_of
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.spec import HeadSpec, PostprocessSpec

_log = logging.getLogger(__name__)

KEYS = ("thing_ids",)
_OUTPUTS = ("mask_logits", "class_logits")
_CONFIDENCE = 0.8  # Mask2Former and MaskFormer, MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD; EoMT's too
# Label lists whose countable classes are known: COCO's 133 are its 80 of detection, and Cityscapes' (cityscapesScripts,
# helpers/labels.py, hasInstances).
_CITYSCAPES = frozenset(("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"))


def accepts(module: Any) -> bool:
    """Whether the module is one of transformers' networks that give a mask and a class for each of their queries."""
    known = getattr(getattr(module, "config", None), "model_type", None) in PANOPTIC
    return known and hasattr(type(module), "forward") and "Segmentation" in type(module).__name__


def build(network: TorchNetwork, request: ExportRequest) -> Wrapped:
    """Mask logits [1, Q, h, w] at a fraction of the input's size, and class logits [1, Q, C + 1], no object last."""
    preprocess = preprocess_of(network, request)
    module = _Queries(network.module).eval()
    with torch.no_grad():
        try:
            _, classes = module(torch.zeros(1, 3, *preprocess.size_hw))
        except (RuntimeError, ValueError) as err:
            height, width = preprocess.size_hw
            raise ExportError(
                f"{network.source} takes no input of {height}x{width}: {err}; choose another --size"
            ) from err
    queries, total = int(classes.shape[1]), int(classes.shape[2]) - 1
    columns = columns_of(network, request, total)
    if len(columns.indices) < total:
        raise UsageError(
            f"{network.source} has {total} classes, {len(columns.indices)} are named; a panoptic network keeps all: name them"
        )
    labels = columns.labels.labels
    return Wrapped(
        module=module,
        outputs=_OUTPUTS,
        imported=Imported(
            task="panoptic",
            head=HeadSpec(
                kind="panoptic",
                outputs={name: name for name in _OUTPUTS},
                thing_ids=_thing_ids(labels, network, request),
            ),
            preprocess=preprocess,
            postprocess=PostprocessSpec(conf_threshold=_CONFIDENCE, max_detections=queries),
            classes=total,
        ),
        labels=columns.labels,
    )


def _thing_ids(labels: tuple[str, ...], network: TorchNetwork, request: ExportRequest) -> tuple[int, ...] | None:
    """The class ids that are countable: the user's, or those of COCO or Cityscapes; None (all) with a warning."""
    if request.thing_ids is not None:
        unknown = [class_id for class_id in request.thing_ids if class_id >= len(labels)]
        if unknown:
            raise UsageError(
                f"thing_ids names the class {unknown[0]}, {network.source} has the classes 0 to {len(labels) - 1}"
            )
        return tuple(sorted(set(request.thing_ids)))
    for things in (frozenset(load_labels("coco80").labels), _CITYSCAPES):
        if things <= set(labels) and len(labels) > len(things):
            return tuple(index for index, label in enumerate(labels) if label in things)
    _log.warning(
        "%s does not say which of its classes are countable objects: all are taken for that, and no two segments of one class are "
        "joined; name them in a recipe, as in thing_ids: [0, 1]",
        network.source,
    )
    return None


class _Queries(torch.nn.Module):
    """The masks and classes of the last decoder layer."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = _without_branches(network) if network.config.model_type == "eomt" else network

    def forward(self, images: Any) -> tuple[Any, Any]:
        found = self.network(pixel_values=images)
        return found.masks_queries_logits, found.class_queries_logits


def _without_branches(network: Any) -> Any:
    """The same EoMT whose blocks know, without asking a tensor, whether masks guide their attention.

    Training lowers the probability of that from 1 to 0; in between, a block draws lots.
    """
    probabilities = [float(value) for value in network.attn_mask_probs]
    if any(value not in (0.0, 1.0) for value in probabilities):
        raise ExportError(
            f"the network draws lots for its masked attention (attn_mask_probs {probabilities}): its training did not end; "
            "set them to 0 (or 1) and export it again"
        )
    # Parameters and layers are shared: only the one buffer is another thing.
    own = copy.copy(network)
    own._buffers = {name: value for name, value in network._buffers.items() if name != "attn_mask_probs"}
    own.attn_mask_probs = probabilities
    return own
