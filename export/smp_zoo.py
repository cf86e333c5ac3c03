"""`smp/ARCHITECTURE:ENCODER` and `smp/FOLDER`: segmenters of segmentation_models_pytorch with own or random weights.

A folder is what `save_pretrained` writes: config.json and the weights.
"""

import json
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch

from edgewright.export.labels import load_labels
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork
from edgewright.export.torch_weights import load_state, read_state
from edgewright.runtime import plugins
from edgewright.runtime.errors import ExportError, UsageError, first_line

_SEED = 0
_CLASSIFIER = "segmentation_head.0.weight"
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_ENCODER_OF_TIMM = "tu-"


def load(request: ExportRequest) -> TorchNetwork:
    """The network; the number of its classes follows the checkpoint, else the labels."""
    name = request.source.partition("/")[2]
    if Path(name).is_dir():
        return TorchNetwork(request.source, _from_folder(Path(name), request).eval())
    architecture, colon, encoder = name.partition(":")
    if not colon:
        raise UsageError(
            f"{request.source} is neither a folder nor smp/ARCHITECTURE:ENCODER, such as smp/Unet:resnet18; a network of a hub is "
            "fetched with `hf download ID --local-dir FOLDER` and given as smp/FOLDER"
        )
    _check_names(architecture, encoder)
    if request.weights in (None, "default"):
        raise UsageError(
            f"{request.source} has no default weights: those of its encoder classify images and segment none; pass your "
            "checkpoint with --weights FILE, or --weights none for random weights"
        )
    state = None if request.weights == "none" else read_state(Path(str(request.weights)))
    options = {"encoder_name": encoder, "in_channels": 1 if request.color == "gray" else 3}
    module = _created(
        _classes()[architecture.lower()], {**options, "classes": _class_count(request, state)}, request.source
    )
    if state is not None:
        load_state(module, state, source=request.source, path=Path(str(request.weights)))
    return TorchNetwork(request.source, module.eval())


def _classes() -> dict[str, Any]:
    """The architectures by their names in small letters."""
    return {
        name.lower(): value
        for name, value in vars(smp).items()
        if isinstance(value, type) and issubclass(value, smp.base.SegmentationModel)
    }


def _check_names(architecture: str, encoder: str) -> None:
    known = {cls.__name__: cls for cls in _classes().values()}
    if architecture.lower() not in _classes():
        raise UsageError(
            f"smp has no architecture '{architecture}'{plugins.suggestion(architecture, list(known))}; "
            f"there are: {', '.join(sorted(known))}"
        )
    encoders = smp.encoders.get_encoder_names()
    if encoder.startswith(_ENCODER_OF_TIMM):
        encoders = [_ENCODER_OF_TIMM + name for name in timm.list_models()]
        encoder = encoder.partition(".")[0]
    if encoder not in encoders:
        raise UsageError(
            f"smp has no encoder '{encoder}'{plugins.suggestion(encoder, encoders)}; see smp.encoders.get_encoder_names(), or write "
            "tu-NAME for a network of timm"
        )


def _class_count(request: ExportRequest, state: dict[str, Any] | None) -> int:
    if state is not None and _CLASSIFIER in state:
        return int(state[_CLASSIFIER].shape[0])
    if request.labels is None:
        raise UsageError(
            f"the labels of {request.source} are missing; pass --labels with a text file of its classes, one a line"
        )
    return len(load_labels(request.labels).labels)


def _created(architecture: Any, options: dict[str, Any], source: str) -> Any:
    """The network with seeded random weights: the same every time, without touching the caller's random state."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            return architecture(**{**options, "encoder_weights": None})
    except (ValueError, KeyError, RuntimeError, TypeError, AttributeError, NotImplementedError) as err:
        raise ExportError(
            f"smp cannot build {source}: {first_line(err, limit=200)}; choose another encoder for this architecture"
        ) from err


def _from_folder(folder: Path, request: ExportRequest) -> Any:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        architecture = _classes()[str(config.pop("_model_class")).lower()]
    except (OSError, ValueError, KeyError, AttributeError) as err:
        raise ExportError(
            f"{path} does not describe a network of smp ({type(err).__name__}: {err}); write the folder with save_pretrained"
        ) from err
    module = _created(architecture, config, request.source)
    if request.weights == "none":
        return module
    named = None if request.weights in (None, "default") else Path(str(request.weights))
    weights = named or next((folder / name for name in _WEIGHT_FILES if (folder / name).is_file()), None)
    if weights is None:
        raise ExportError(f"{folder} holds neither {' nor '.join(_WEIGHT_FILES)}; pass the weights with --weights FILE")
    load_state(module, read_state(weights), source=request.source, path=weights)
    return module
