"""Segmenters of segmentation_models_pytorch: U-Net, U-Net++, FPN, DeepLabV3+, ... on any encoder; the semantic head."""

import sys
from typing import Any

from edgewright.export.families import plain_segmenter
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork, Wrapped
from edgewright.runtime.errors import UsageError
from edgewright.runtime.spec import PreprocessSpec

KEYS = plain_segmenter.KEYS

# What encoders were pretrained with, as smp's documentation of each gives it (input space RGB, range 0 to 1): nearly all as
# ImageNet's mean and standard deviation, these otherwise.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_INCEPTION = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_DPN = (124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3
_OTHERS = {"inception": _INCEPTION, "xception": _INCEPTION, "timm-tf_efficientnet_lite": _INCEPTION, "dpn": _DPN}


def accepts(module: Any) -> bool:
    """Whether the module is one of smp's networks."""
    # Such a module exists only after somebody has imported the package, which takes seconds.
    smp = sys.modules.get("segmentation_models_pytorch")
    return smp is not None and isinstance(module, smp.base.SegmentationModel)


def build(network: TorchNetwork, request: ExportRequest) -> Wrapped:
    """The logits [1, C, h, w], or the probability of the second of two classes for a network of one plane.

    The input is normalised as the encoder's pretraining was, which is how smp trains; the user's own values go before.
    """
    if request.size is None:
        raise UsageError(
            f"the input size of {network.source} is missing; pass --size H W, what it was trained with and a multiple of 32"
        )
    config = network.module.config
    mean, std = normalisation(str(config["encoder_name"]))
    if config.get("in_channels", 3) == 1:
        preprocess = PreprocessSpec(size_hw=request.size, color="gray", scale=1 / 255, mean=(0.0,), std=(1.0,))
    else:
        preprocess = PreprocessSpec(size_hw=request.size, scale=1 / 255, mean=mean, std=std)
    activated = config.get("activation") is not None
    if activated and request.activation is None:
        request = request.model_copy(update={"activation": "none"})
    return plain_segmenter.build_map(network, request, preprocess)


def normalisation(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, R G B in 0..1, of an encoder's pretraining."""
    if encoder.startswith("tu-"):
        import timm

        settings = timm.get_pretrained_cfg(encoder.removeprefix("tu-"), allow_unregistered=True)
        return (tuple(settings.mean), tuple(settings.std)) if settings is not None else _IMAGENET
    return next((values for prefix, values in _OTHERS.items() if encoder.startswith(prefix)), _IMAGENET)
