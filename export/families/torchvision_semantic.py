"""torchvision's FCN, DeepLabV3 and LRASPP, and networks built from the same classes: the semantic head."""

from typing import Any

import torch
from torchvision.models.segmentation.deeplabv3 import DeepLabV3
from torchvision.models.segmentation.fcn import FCN
from torchvision.models.segmentation.lraspp import LRASPP

from edgewright.export.families import Imported
from edgewright.export.labels import LabelSet
from edgewright.export.model_spec import requested_labels
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork, Wrapped, landscape_hw
from edgewright.runtime.spec import HeadSpec, PostprocessSpec, PreprocessSpec

# torchvision.transforms.SemanticSegmentation, the preset of all its segmentation weights
_SHORT_SIDE = 520
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BACKGROUND = ("__background__", "background")


def accepts(module: Any) -> bool:
    """Whether the module is one of torchvision's segmentation networks."""
    return isinstance(module, FCN | DeepLabV3 | LRASPP)


def build(network: TorchNetwork, request: ExportRequest) -> Wrapped:
    """The class logits [1, C, h, w] as the classifier gives them, at a fraction of the input's size.

    torchvision enlarges them to the input; the head enlarges them to the image, once, and only where classes meet. An
    auxiliary classifier, which only training needs, is left out.
    """
    size_hw = request.size or landscape_hw(_SHORT_SIDE, 8)
    module = _Logits(network.module).eval()
    with torch.no_grad():
        classes = module(torch.zeros(1, 3, *size_hw)).shape[1]
    labels = _labels(network, request, classes)
    background = 0 if labels.labels[0] in _BACKGROUND else None
    return Wrapped(
        module=module,
        outputs=("logits",),
        imported=Imported(
            task="semantic",
            head=HeadSpec(kind="semantic", outputs={"logits": "logits"}, background_id=background),
            preprocess=PreprocessSpec(size_hw=size_hw, scale=1 / 255, mean=_MEAN, std=_STD),
            postprocess=PostprocessSpec(),
            classes=classes,
        ),
        labels=labels,
    )


def _labels(network: TorchNetwork, request: ExportRequest, classes: int) -> LabelSet:
    if request.labels is None and network.categories is not None and len(network.categories) == classes:
        return LabelSet(tuple(name.strip("_") for name in network.categories))
    return requested_labels(request, classes)


class _Logits(torch.nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.backbone, self.classifier = network.backbone, network.classifier
        # LRASPP joins two levels; the others read the last one.
        self.levels = None if isinstance(network, LRASPP) else "out"

    def forward(self, images: Any) -> Any:
        features = self.backbone(images)
        return self.classifier(features if self.levels is None else features[self.levels])
