"""What tests of torch networks share: a small backbone, and two ways to run a network on an image."""

from collections import OrderedDict
from typing import Any

import onnx
import onnxruntime
import torch

from edgewright.export.reference.untrained import ONE_STAGE as ONE_STAGE
from edgewright.export.reference.untrained import TWO_STAGE as TWO_STAGE
from edgewright.export.reference.untrained import Spreads as Spreads
from edgewright.export.reference.untrained import picture_tensor
from edgewright.export.reference.untrained import random_network as random_network
from edgewright.export.result_parity import Tensors, decode, decode_beside
from edgewright.export.torch_source import Wrapped
from edgewright.runtime.preprocess import preprocess
from edgewright.runtime.results import Detections, Image, Result
from edgewright.runtime.spec import ModelSpec, TensorSpec


class TinyBackbone(torch.nn.Module):
    """Feature maps at strides 8, 16, ... of a few channels, in milliseconds."""

    def __init__(self, levels: int = 2, channels: int = 16) -> None:
        super().__init__()
        self.out_channels: Any = channels
        self.stem = _stage(3, channels, stride=8)
        self.stages = torch.nn.ModuleList(_stage(channels, channels, stride=2) for _ in range(levels - 1))

    def forward(self, images: Any) -> dict[str, Any]:
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return OrderedDict((str(level), features) for level, features in enumerate(maps))


def _stage(given: int, channels: int, *, stride: int) -> Any:
    return torch.nn.Sequential(
        torch.nn.Conv2d(given, channels, stride + 1, stride, stride // 2, bias=False),
        torch.nn.BatchNorm2d(channels),
        torch.nn.ReLU(),
    )


def torchvision_detections(network: Any, image: Image, *, first_label: int) -> Detections:
    """What the network's own forward pass finds on an image; `first_label` is the label of class 0."""
    with torch.no_grad():
        (found,) = network([picture_tensor(image)])
    return Detections(
        found["boxes"].numpy(), found["scores"].numpy(), found["labels"].numpy() - first_label,
    )  # fmt: skip


def run_graph(wrapped: Wrapped, model: onnx.ModelProto, image: Image, *, own: Detections | None = None) -> Result:
    """What the graph in ONNX Runtime and the head make of an image, masks pasted into the boxes of the network's `own`
    detections where these are given."""
    imported = wrapped.imported
    tensor, placement = preprocess(image, imported.preprocess)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = dict(zip(wrapped.outputs, session.run(list(wrapped.outputs), {"images": tensor}), strict=True))
    spec = ModelSpec(
        name="net",
        task=imported.task,
        labels=wrapped.labels.labels,
        inputs=(),
        outputs=tuple(TensorSpec(name=n, shape=o.shape, dtype="float32") for n, o in outputs.items()),
        preprocess=imported.preprocess,
        head=imported.head,
        postprocess=imported.postprocess,
    )
    if own is None:
        return decode(outputs, spec, placement, spec.postprocess)
    return decode_beside(as_outputs(own, spec), outputs, spec, placement, spec.postprocess)


def as_outputs(own: Detections, spec: ModelSpec) -> Tensors:
    """The detections of an image of the input's own size as a graph of this head would give them, without masks."""
    rows: Tensors = {"boxes": own.boxes_xyxy, "scores": own.scores, "classes": own.class_ids}
    return {name: rows[role][None] for role, name in spec.head.outputs.items() if role in rows}
