"""Networks without training whose scores and boxes vary all the same, to compare two ways to run them.

Fresh random weights explode or flatten from layer to layer: every score is the same, and a comparison of detections proves
nothing. So batch normalisation is set to the statistics of a picture, and the last layers are scaled to a given spread.
"""

from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from typing import Any

import numpy as np
import torch

from edgewright.runtime.results import Image

# Name pattern of a last layer → mean and standard deviation of its outputs.
Spreads = Mapping[str, tuple[float, float]]

ONE_STAGE: Spreads = {
    "head.classification_head.module_list.*": (0.0, 3.0),
    "head.classification_head.cls_logits": (-3.0, 2.0),
    "head.regression_head.module_list.*": (0.0, 1.0),
    "head.regression_head.bbox_reg": (0.0, 0.5),
    "head.regression_head.bbox_ctrness": (0.0, 1.0),
}
TWO_STAGE: Spreads = {
    "rpn.head.cls_logits": (0.0, 2.0),
    "rpn.head.bbox_pred": (0.0, 0.5),
    "roi_heads.box_predictor.cls_score": (0.0, 2.0),
    "roi_heads.box_predictor.bbox_pred": (0.0, 1.0),
    "roi_heads.mask_predictor.mask_fcn_logits": (0.0, 2.0),
}


def random_network(
    make: Callable[[], Any], images: list[Image], spreads: Spreads | None = None, *, seed: int = 0
) -> Any:
    """The network of `make` in evaluation mode, seeded, calibrated on the images (all of one size)."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = make().eval()
        batch = torch.stack([picture_tensor(image) for image in images])
        norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        _run(network, batch)
        network.eval()
        for pattern, (mean, std) in (spreads or {}).items():
            for name, part in network.named_modules():
                if fnmatch(name, pattern) and hasattr(part, "weight"):
                    _spread(network, part, batch, mean, std)
    return network


def picture_tensor(image: Image) -> Any:
    """The picture (3, H, W), RGB 0..1, as torchvision wants it."""
    return torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))).float() / 255


def _run(network: Any, batch: Any) -> None:
    network(list(batch) if hasattr(network, "transform") else batch)


def _spread(network: Any, layer: Any, batch: Any, mean: float, std: float) -> None:
    """Scale the layer's weights, and move its bias, so that its outputs have this mean and deviation."""
    seen: list[Any] = []
    hook = layer.register_forward_hook(lambda part, given, result: seen.append(result.flatten()))
    _run(network, batch)
    hook.remove()
    if not seen:  # only training needs it
        return
    values = torch.cat(seen)
    factor = std / values.std()
    layer.weight.mul_(factor)
    if layer.bias is None:
        layer.bias = torch.nn.Parameter(torch.zeros(layer.weight.shape[0]))
    # In place: layers may share their parameters.
    layer.bias.copy_((layer.bias - values.mean()) * factor + mean)
