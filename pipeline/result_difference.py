"""How two networks differ after their raw tensors: the meaning of boxes and classes, thresholds and suppression."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.datasets._matching import same_name
from edgewright.pipeline.tensor_difference import Named
from edgewright.runtime.geometry import Placement
from edgewright.runtime.heads import boxes_to_pixels, load_head
from edgewright.runtime.matching import match_detections
from edgewright.runtime.predictor import Predictor
from edgewright.runtime.results import Detections, Result, SemanticMap
from edgewright.runtime.spec import ModelSpec, PostprocessSpec

# The outputs by role, and where the picture lies in the tensor.
Decodable = tuple[dict[str, npt.NDArray[Any]], Placement]

# As wide as the float32 rounding of coordinates of some thousand pixels.
_BOX_TOLERANCE = 1e-3
_TOP_ROWS = 300
_TITLES = {
    "conf_threshold": "score threshold",
    "iou_threshold": "NMS threshold",
    "max_detections": "most detections",
    "nms": "NMS variant",
    "class_agnostic": "NMS across classes",
    "multi_label": "several classes of one box",
    "mask_threshold": "mask threshold",
    "max_candidates": "most candidates",
    "max_candidates_per_class": "most candidates of a class",
    "max_candidates_per_level": "most candidates of a level",
}


def decoded_agree(a: Decodable, b: Decodable, spec_a: ModelSpec, spec_b: ModelSpec) -> tuple[bool, str]:
    """Whether scores, boxes in pixels of the picture and the names of the classes agree before thresholds and suppression."""
    labels = [
        n for n, (one, other) in enumerate(zip(spec_a.labels, spec_b.labels, strict=False)) if not same_name(one, other)
    ]
    if labels or len(spec_a.labels) != len(spec_b.labels):
        return False, f"{len(labels) or abs(len(spec_a.labels) - len(spec_b.labels))} class ids have other names"
    outputs_a, outputs_b = a[0], b[0]
    scores = max((_largest(outputs_a[role], outputs_b[role]) for role in outputs_a if role != "boxes"), default=0.0)
    boxes = _boxes_apart(a, b, spec_a, spec_b)
    agrees = scores <= _BOX_TOLERANCE and boxes <= _BOX_TOLERANCE
    return agrees, f"boxes by up to {boxes:.2g} of max(1, |coordinate|), the rest by up to {scores:.2g}"


def name_decode_difference(pairs: Sequence[tuple[Decodable, Decodable]], spec_a: ModelSpec, spec_b: ModelSpec) -> Named:
    """What A and B make of the same raw tensors."""
    if spec_a.head.boxes != spec_b.head.boxes:
        return Named(
            "box format",
            f"box format: A reads its boxes as {spec_a.head.boxes}, B as {spec_b.head.boxes}",
            f"if A is right, export B again with boxes {spec_a.head.boxes}",
        )
    ours, theirs = spec_a.labels, spec_b.labels
    shift = _shift(ours, theirs)
    example = next((n for n in range(min(len(ours), len(theirs))) if not same_name(ours[n], theirs[n])), 0)
    names = f"class {example} is '{_at(ours, example)}' in A and '{_at(theirs, example)}' in B"
    if shift:
        return Named(
            "labels shifted",
            f"labels are shifted by {abs(shift)}: {names}",
            "one list has a background class more, or lacks it; export B again with the labels of exactly its columns",
        )
    if sorted(ours) == sorted(theirs) and ours != theirs:
        return Named(
            "labels permuted",
            f"labels are in another order: {names}",
            "export B again with its labels in the order of its columns",
        )
    if not all(same_name(one, other) for one, other in zip(ours, theirs, strict=False)) or len(ours) != len(theirs):
        return Named(
            "labels",
            f"class ids have other names: {names}",
            "export both with the same label list if they mean the same",
        )
    apart = max(_boxes_apart(a, b, spec_a, spec_b) for a, b in pairs)
    return Named(
        "boxes",
        f"boxes differ by up to {apart:.3g} of max(1, |coordinate|) once they are brought back to the picture",
        "compare the heads and the resize of the two manifests",
    )


def suppression_settings(a: PostprocessSpec, b: PostprocessSpec) -> tuple[str, ...]:
    """The differing settings in words."""
    return tuple(title for field, title in _TITLES.items() if getattr(a, field) != getattr(b, field))


def name_suppression_difference(walks: Sequence[Decodable], a: Predictor, b: Predictor) -> Named:
    """The setting of post-processing that changes what A finds most, when A alone takes B's value of it."""
    decode = load_head(a.spec)
    changes = {
        field: value for field, value in b.postprocess.model_dump().items() if value != getattr(a.postprocess, field)
    }

    def results(settings: PostprocessSpec) -> list[Result]:
        return [decode(outputs, a.spec, placement, settings) for outputs, placement in walks]

    before = results(a.postprocess)
    effects = {
        field: _changed(before, results(a.postprocess.model_copy(update={field: value})))
        for field, value in changes.items()
    }
    order = sorted((field for field in changes if effects[field]), key=lambda field: -effects[field])
    if not order:
        return Named("results", "the results differ though all before them agree", "report this with both bundles")
    told = "; ".join(f"{_TITLES.get(f, f)}: {getattr(a.postprocess, f)} in A, {changes[f]} in B" for f in order)
    repair = ", ".join(f"`{field}: {getattr(a.postprocess, field)}`" for field in order)
    found = sum(len(result) for result in before if isinstance(result, Detections))
    effect = f"B's {_TITLES.get(order[0], order[0])} alone changes {effects[order[0]]}" + (
        f" of A's {found} objects" if found else " pixels"
    )
    return Named(order[0], f"{told} ({effect})", f"if A is right, export B again with {repair}")


def _boxes_apart(a: Decodable, b: Decodable, spec_a: ModelSpec, spec_b: ModelSpec) -> float:
    """The largest difference of the boxes of the surest rows in the picture, relative to max(1, |coordinate|)."""
    if "boxes" not in a[0]:
        return 0.0
    (outputs, placement), (others, place) = a, b
    ours = _raw_boxes(outputs, spec_a, placement)
    theirs = _raw_boxes(others, spec_b, place)
    if "scores" in outputs and outputs["scores"].size % len(ours) == 0:
        rows = np.argsort(-outputs["scores"].reshape(len(ours), -1).max(axis=1))[:_TOP_ROWS]
        ours, theirs = ours[rows], theirs[rows]
    return _largest(ours, theirs)


def _raw_boxes(outputs: dict[str, npt.NDArray[Any]], spec: ModelSpec, placement: Placement) -> npt.NDArray[np.float32]:
    return placement.to_image(boxes_to_pixels(outputs["boxes"].reshape(-1, 4), spec.head, spec.preprocess.size_hw))


def _largest(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    if a.shape != b.shape:
        return np.inf
    apart = np.abs(a.astype(np.float64) - b) / np.maximum(1.0, np.abs(a.astype(np.float64)))
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))


def _shift(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """By how many places B's list is A's moved, over most of its length; 0 when it is not."""
    for shift in (1, -1, 2, -2):
        pairs = [(ours[n], theirs[n + shift]) for n in range(len(ours)) if 0 <= n + shift < len(theirs)]
        if len(pairs) > 1 and sum(same_name(one, other) for one, other in pairs) >= 0.9 * len(pairs):
            return shift
    return 0


def _at(labels: Sequence[str], number: int) -> str:
    return labels[number] if number < len(labels) else "nothing"


def _changed(before: Sequence[Result], after: Sequence[Result]) -> int:
    """How many objects, or pixels of class maps, are not the same."""
    count = 0
    for one, other in zip(before, after, strict=True):
        if isinstance(one, Detections) and isinstance(other, Detections):
            matches = match_detections(one, other, PostprocessSpec(conf_threshold=0.0, max_detections=1_000_000))
            count += len(matches.lost) + len(matches.extra)
        elif isinstance(one, SemanticMap) and isinstance(other, SemanticMap):
            count += int(np.count_nonzero(one.class_ids != other.class_ids))
    return count
