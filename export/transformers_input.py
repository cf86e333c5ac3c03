"""How a network of transformers was fed, and what its classes are called."""

from collections.abc import Mapping
from typing import Any

from edgewright.export.labels import LabelSet, load_labels
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import ClassColumns, TorchNetwork, landscape_hw
from edgewright.runtime.errors import UsageError
from edgewright.runtime.spec import PreprocessSpec

# Kinds of networks (`model_type` of config.json) that the families know. `softmax`: one class a query, the last of which is
# no object; `sigmoid`: the best of all queries and classes.
DETECTORS = {
    "detr": "softmax",
    "table-transformer": "softmax",
    "yolos": "softmax",
    "conditional_detr": "sigmoid",
    "deformable_detr": "sigmoid",
    "rf_detr": "sigmoid",
    "rt_detr": "sigmoid",
    "rt_detr_v2": "sigmoid",
    "d_fine": "sigmoid",
}
PANOPTIC = ("mask2former", "maskformer", "eomt")

_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
_SQUARE_640 = {"size": {"height": 640, "width": 640}, "do_normalize": False}
# The published networks' own preprocessor_config.json, for when it is missing.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "rt_detr": _SQUARE_640,
    "rt_detr_v2": _SQUARE_640,
    "d_fine": _SQUARE_640,
    "rf_detr": {"size": {"height": 560, "width": 560}},
    "mask2former": {"size": {"height": 384, "width": 384}},
    "eomt": {"size": {"shortest_edge": 640, "longest_edge": 640}, "do_pad": True},
}
_ALL = {"size": {"shortest_edge": 800, "longest_edge": 1333}, "do_resize": True, "do_rescale": True, "do_normalize": True,
        "rescale_factor": 1 / 255, "resample": 2, **_IMAGENET}  # fmt: skip
_RESAMPLE = {0: "nearest", 2: "linear", 3: "cubic"}  # PIL.Image.Resampling
_MULTIPLE = 32
_UNNAMED = ("N/A", "__background__")


def preprocess_of(network: TorchNetwork, request: ExportRequest) -> PreprocessSpec:
    """The pre-processing of preprocessor_config.json, or of the network's kind, at one fixed size.

    A fixed size stays what it is, a stretch. A range of edge lengths becomes a stretch to a 4:3 picture with the shortest
    edge: the network was trained on pictures without padding, or with padding masked out. Only EoMT's corner is padded,
    with black, as it was trained. Another size is the user's to choose.
    """
    kind = network.module.config.model_type
    own = {**_ALL, **_DEFAULTS.get(kind, {}), **(network.preprocessor or {})}
    size_hw, resize = _placement(own, _fixed_side(network.module.config), kind)
    if request.size is None and not own["do_resize"]:
        raise UsageError(f"{network.source} takes pictures of every size; choose one with --size H W")
    normalized = own["do_normalize"]
    return PreprocessSpec.model_validate(
        {
            "size_hw": request.size or size_hw,
            "resize": resize,
            "rounding": "floor",
            "pad_value": 0,
            "scale": own["rescale_factor"] if own["do_rescale"] else 1.0,
            "mean": tuple(own["image_mean"]) if normalized else (0.0,) * 3,
            "std": tuple(own["image_std"]) if normalized else (1.0,) * 3,
            "interpolation": _RESAMPLE.get(own["resample"], "linear"),
        }
    )


def _fixed_side(config: Any) -> int | None:
    """The side of the square that position embeddings are made for, where they are."""
    side = getattr(config, "image_size", None)
    return side if config.model_type == "eomt" and isinstance(side, int) else None


def _placement(own: Mapping[str, Any], side: int | None, kind: str) -> tuple[tuple[int, int], str]:
    size = own["size"] if isinstance(own["size"], Mapping) else {"shortest_edge": own["size"]}
    if kind == "eomt":
        edge = side or int(size.get("shortest_edge") or size["height"])
        return (edge, edge), "letterbox_top_left"
    pad = own.get("pad_size")
    for sizes, resize in ((pad or {}, "letterbox_top_left"), (size, "stretch")):
        if {"height", "width"} <= sizes.keys():
            return (int(sizes["height"]), int(sizes["width"])), resize
    if {"max_height", "max_width"} <= size.keys():
        return (int(size["max_height"]), int(size["max_width"])), "letterbox_top_left"
    height, width = landscape_hw(int(size["shortest_edge"]), _MULTIPLE)
    longest = int(size.get("longest_edge") or width)
    return (height, min(width, max(height, longest // _MULTIPLE * _MULTIPLE))), "stretch"


def columns_of(network: TorchNetwork, request: ExportRequest, total: int) -> ClassColumns:
    """Which of the classifier's `total` classes are kept and what they are called, "no object" not counted.

    Without labels of the user's, the configuration's names are taken, gaps ("N/A") left out. A list of `total` names all of
    them, one with category ids the columns of these ids.
    """
    if request.labels is not None:
        labels = load_labels(request.labels)
        if len(labels.labels) == total:
            return ClassColumns(tuple(range(total)), labels)
        if labels.category_ids is not None and max(labels.category_ids) < total:
            return ClassColumns(labels.category_ids, labels)
        raise UsageError(
            f"--labels {request.labels} has {len(labels.labels)} labels, {network.source} has {total} classes; give the names it "
            "was trained with, in order"
        )
    names = network.categories or tuple(f"class {index}" for index in range(total))
    kept = tuple(index for index, name in enumerate(names[:total]) if name not in _UNNAMED)
    ids = kept if len(kept) < total else None
    return ClassColumns(kept, LabelSet(tuple(names[index] for index in kept), ids))
