"""`torchvision/NAME`: torchvision's detection and segmentation networks, with default, own or random weights."""

from pathlib import Path
from typing import Any

import torch
from torchvision import models

from edgewright.export.labels import load_labels
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import TorchNetwork
from edgewright.export.torch_weights import load_state, misfits, read_state
from edgewright.runtime import plugins
from edgewright.runtime.errors import ExportError, UsageError

_SEED = 0


def load(request: ExportRequest) -> TorchNetwork:
    """The network; the number of its classes follows the checkpoint or the labels, else it is that of the default weights."""
    name = request.source.partition("/")[2]
    known = [n for kind in (models.detection, models.segmentation) for n in models.list_models(module=kind)]
    if name not in known:
        offered = [n for n in known if not n.startswith("keypointrcnn")]  # no family has a head for keypoints
        raise UsageError(
            f"torchvision has no detection or segmentation network '{name}'{plugins.suggestion(name, offered)}; "
            f"there are: {', '.join(sorted(offered))}"
        )
    default = models.get_model_weights(name).DEFAULT
    categories = tuple(default.meta["categories"])
    if request.weights in (None, "default"):
        module = _with_default_weights(name, default)
    elif request.weights == "none":
        module = _random(name, _wanted_classes(request, name, len(categories)))
    else:
        module = _with_file(name, Path(str(request.weights)), request)
    return TorchNetwork(request.source, module.eval(), categories)


def _random(name: str, classes: int | None, **options: Any) -> Any:
    """The network with seeded random weights: the same every time, without touching the caller's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return models.get_model(name, weights=None, weights_backbone=None, num_classes=classes, **options)


def _with_default_weights(name: str, default: Any) -> Any:
    try:
        return models.get_model(name, weights=default)
    except (
        OSError,
        RuntimeError,
    ) as err:  # no network, proxy, full disk; RuntimeError: the digest of a broken download
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise ExportError(
            f"the default weights of torchvision/{name} cannot be downloaded ({err}); fetch {default.url} on another machine "
            f"and pass it with --weights FILE (or put it into {folder}), or use --weights none for random weights"
        ) from err


def _with_file(name: str, path: Path, request: ExportRequest) -> Any:
    state = read_state(path)
    # Only training uses the auxiliary classifier, and only some checkpoints have it.
    state = {key: value for key, value in state.items() if not key.startswith("aux_classifier.")}
    module = min(
        (_random(name, classes) for classes in _possible_classes(request)),
        key=lambda candidate: len(misfits(candidate, state)),
    )
    load_state(module, state, source=f"torchvision/{name}", path=path)
    return module


def _possible_classes(request: ExportRequest) -> tuple[int | None, ...]:
    """torchvision's own number; that of the labels with and without a background."""
    if request.labels is None:
        return (None,)
    count = len(load_labels(request.labels).labels)
    return (None, count + 1, count)


def _wanted_classes(request: ExportRequest, name: str, default: int) -> int | None:
    if request.labels is None:
        return None
    labels = load_labels(request.labels)
    if labels.category_ids is not None and max(labels.category_ids) < default:
        return None
    return len(labels.labels) + (name in models.list_models(module=models.detection))
