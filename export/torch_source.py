"""What a torch family is given and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgewright.export.families import Imported
from edgewright.export.labels import LabelSet, load_labels
from edgewright.export.request import ExportRequest
from edgewright.runtime.errors import ExportError, UsageError, first_line
from edgewright.runtime.spec import PreprocessSpec

# How torchvision names classifier outputs that stand for nothing: COCO's ids have gaps.
_UNNAMED = ("__background__", "N/A")


@dataclass(frozen=True)
class TorchNetwork:
    """A torch module with its weights; `categories` are the names of its classes, background included, where known.

    `preprocessor` is the content of transformers' preprocessor_config.json, where the source has one.
    """

    source: str
    module: Any
    categories: tuple[str, ...] | None = None
    preprocessor: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Wrapped:
    """A module whose forward takes the normalised image tensor and returns tensors named `outputs`.

    `examples` are its further inputs by name, in order.
    """

    module: Any
    outputs: tuple[str, ...]
    imported: Imported
    labels: LabelSet
    examples: Mapping[str, Any] = field(default_factory=dict)


# Points [1, P, 2] and their labels [1, P], torch tensors as all, become the outputs of all graphs by name.
Answer = Callable[[Any, Any], Mapping[str, Any]]


@dataclass(frozen=True)
class TorchGraph:
    """One graph of several: its name, a module, example tensors of what its forward takes, and the names of what it gives.

    What has the name of an earlier graph's output is fed with it.
    """

    name: str
    module: Any
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class WrappedGraphs:
    """A promptable network as graphs in the order in which they run; the first takes the normalised image tensor.

    `reference` takes an image tensor and gives what the network's own code answers on it.
    """

    graphs: tuple[TorchGraph, ...]
    imported: Imported
    labels: LabelSet
    reference: Callable[[Any], Answer]


@dataclass(frozen=True)
class ClassColumns:
    """Which of a classifier's outputs are kept, in order, and what they are called."""

    indices: tuple[int, ...]
    labels: LabelSet


def trial_result(network: TorchNetwork, preprocess: PreprocessSpec, *, check: str) -> Any:
    """What the module gives in evaluation mode for a black picture; ExportError, with what to `check`, when it raises."""
    import torch

    shape = list(preprocess.tensor_shape)
    network.module.eval()
    with torch.no_grad():
        try:
            return network.module(torch.zeros(shape))
        except Exception as err:  # the user's code
            raise ExportError(
                f"{network.source} fails on an input of {shape}: {type(err).__name__}: {first_line(err)}; check {check}"
            ) from err


def class_columns(request: ExportRequest, network: TorchNetwork, total: int) -> ClassColumns:
    """The columns of a detector's `total` classes, of which torchvision's convention makes column 0 the background.

    Without labels of the user's, the source's own names are taken, gaps left out. A list of `total - 1` names the columns
    behind the background, one of `total` all of them, and one with category ids the columns of these ids.
    """
    if request.labels is None:
        return _named_columns(request, network, total)
    labels = load_labels(request.labels)
    count = len(labels.labels)
    if count in (total - 1, total):
        return ClassColumns(tuple(range(total - count, total)), labels)
    if labels.category_ids is not None and max(labels.category_ids) < total:
        return ClassColumns(labels.category_ids, labels)
    raise UsageError(
        f"--labels {request.labels} has {count} labels, {network.source} has {total} classes with the background; "
        f"give the {total - 1} names it was trained with, in order"
    )


def _named_columns(request: ExportRequest, network: TorchNetwork, total: int) -> ClassColumns:
    if network.categories is None or len(network.categories) != total:
        raise UsageError(
            f"the labels of {network.source} are missing; pass --labels with a text file of the {total - 1} names behind the "
            "background, one a line"
        )
    indices = tuple(index for index, name in enumerate(network.categories) if name not in _UNNAMED)
    names = tuple(network.categories[index] for index in indices)
    return ClassColumns(indices, LabelSet(names, indices))


def landscape_hw(short_side: int, multiple: int) -> tuple[int, int]:
    """A 4:3 input (COCO's and most cameras' form) for a network that was trained on a fixed short side."""
    return short_side, -(-short_side * 4 // (3 * multiple)) * multiple
