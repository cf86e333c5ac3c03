"""Any torch module that returns class logits [1, C, h, w], a dict of them under "out", or one plane [1, 1, h, w] of two classes.

Nothing is known of it but what the user says: how it was fed stands in the request.
"""

from collections.abc import Mapping
from typing import Any

import torch

from edgewright.export.families import Imported
from edgewright.export.model_spec import requested_labels
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork, Wrapped, trial_result
from edgewright.runtime.errors import ExportError, UsageError
from edgewright.runtime.spec import HeadSpec, PostprocessSpec, PreprocessSpec

KEYS = ("activation", "background_index")
TAKES_ANY_MODULE = True
# Without these, a network can be fed in a way that costs accuracy and shows nowhere.
_REQUIRED = ("size", "color", "scale")
_BACKGROUND = ("background", "__background__")


def accepts(module: Any) -> bool:
    """Never: that a tensor of four dimensions means classes is for the user to say."""
    return False


def build(network: TorchNetwork, request: ExportRequest) -> Wrapped:
    """The module's own map; a single plane becomes the probability of the second class."""
    # Tiles are not resized.
    required = _REQUIRED if request.tile_overlap is not None else (*_REQUIRED, "resize")
    missing = [key for key in required if getattr(request, key) is None]
    if missing or request.size is None:
        raise UsageError(
            f"of {network.source} nothing is known but what you say, and these are missing: "
            f"{', '.join(f'--{key}' for key in missing)}; give what it was trained with"
        )
    channels = 1 if request.color == "gray" else 3
    preprocess = PreprocessSpec(
        size_hw=request.size, color=request.color or "rgb", mean=(0.0,) * channels, std=(1.0,) * channels
    )
    return build_map(network, request, preprocess)


def build_map(network: TorchNetwork, request: ExportRequest, preprocess: PreprocessSpec) -> Wrapped:
    """The semantic head of a module that returns logits, fed as `preprocess` says; labels are the request's.

    ExportError when it returns something else.
    """
    shape = _map_shape(network, preprocess)
    if shape[1] == 1:
        role, module, classes = "probability", _Probability(network.module, request.activation or "sigmoid"), 2
    else:
        # Sigmoid and softmax do not change which class is the largest, so they are left out.
        role, module, classes = "logits", _Logits(network.module), shape[1]
    labels = requested_labels(request, classes)
    background = request.background_index
    if background is None and labels.labels[0] in _BACKGROUND:
        background = 0
    return Wrapped(
        module=module.eval(),
        outputs=(role,),
        imported=Imported(
            task="semantic",
            head=HeadSpec(kind="semantic", outputs={role: role}, background_id=background),
            preprocess=preprocess,
            postprocess=PostprocessSpec(),
            classes=classes,
        ),
        labels=labels,
    )


def _map_shape(network: TorchNetwork, preprocess: PreprocessSpec) -> tuple[int, ...]:
    """The shape of the map for one picture; what the module raises comes as one sentence."""
    shape = list(preprocess.tensor_shape)
    values = _map_of(trial_result(network, preprocess, check="--size and --color"))
    if (
        not isinstance(values, torch.Tensor)
        or values.ndim != 4
        or values.shape[0] != 1
        or not values.is_floating_point()
    ):
        got = list(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        raise ExportError(
            f"{network.source} returns {got} for an input of {shape}; class logits [1, C, h, w] are wanted, or a dict with them "
            'under "out"'
        )
    return tuple(values.shape)


def _map_of(result: Any) -> Any:
    """The first of several results, as of networks that return what helps their training too."""
    if isinstance(result, Mapping):
        return result.get("out", next(iter(result.values()), None))
    return result[0] if isinstance(result, tuple | list) and result else result


class _Logits(torch.nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Any) -> Any:
        return _map_of(self.network(images))


class _Probability(_Logits):
    """The probability of the second of two classes, from its logit or as the network gives it."""

    def __init__(self, network: Any, activation: str) -> None:
        super().__init__(network)
        if activation == "softmax":
            raise UsageError("a single plane has no softmax; give activation: sigmoid, or none for probabilities")
        self.finished = activation == "none"

    def forward(self, images: Any) -> Any:
        values = super().forward(images)
        return values if self.finished else values.sigmoid()
