"""Non-maximum suppression: of boxes that show the same object, one remains.

Every file of this folder is a variant with the same function:
`suppress(boxes_xyxy, scores, class_ids, *, iou_threshold, class_agnostic=False, max_detections=None) -> Suppressed`.
One that has options takes them as further keywords, and `OPTIONS` says how each is read from text.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edgewright.runtime import plugins
from edgewright.runtime.errors import UsageError
from edgewright.runtime.uri import split_options

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]
ClassIds = npt.NDArray[np.signedinteger] | npt.NDArray[np.unsignedinteger]


class Suppress(Protocol):
    def __call__(
        self,
        boxes_xyxy: npt.ArrayLike,
        scores: npt.ArrayLike,
        class_ids: npt.ArrayLike,
        *,
        iou_threshold: float,
        class_agnostic: bool = False,
        max_detections: int | None = None,
    ) -> "Suppressed": ...


class Suppressed(NamedTuple):
    """What remains, best score first: indices (K,) into the candidates, boxes (K, 4) and scores (K,).

    Boxes and scores are those of the candidates unless the variant changes them (a soft variant lowers scores).
    """

    indices: IndexArray
    boxes_xyxy: FloatArray
    scores: FloatArray


@lru_cache
def suppressor(variant: str) -> Suppress:
    """The function of an NMS variant, `soft` or with options `soft?method=linear`; UsageError for one that does not exist.

    Looked up once, since listing the folder in every frame costs a tenth of a ms.
    """
    name = variant.partition("?")[0]
    module = plugins.load(__name__, name)
    readers: Mapping[str, Callable[[str], Any]] = getattr(module, "OPTIONS", {})
    rest, given = split_options(f"NMS variant '{name}'", variant, tuple(readers))
    if rest != name:
        raise UsageError(f"NMS variant '{variant}': options are written {name}?option=value&option=value")
    suppress: Suppress = module.suppress
    if not given:
        return suppress
    chosen: Suppress = partial(suppress, **{key: _read(variant, key, readers[key], given[key]) for key in given})
    # Values are checked by the variant itself; better now than in the first frame.
    chosen(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), iou_threshold=0.5)
    return chosen


def checked_candidates(
    boxes_xyxy: npt.ArrayLike, scores: npt.ArrayLike, class_ids: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, ClassIds]:
    """The candidates as float32 boxes (N, 4), float32 scores (N,) and integer class ids (N,); UsageError for other
    shapes, for class ids that are not integers and for NaN."""
    with np.errstate(over="ignore"):
        boxes, confidences = np.asarray(boxes_xyxy, np.float32), np.asarray(scores, np.float32)
    labels = np.asarray(class_ids)
    count = confidences.size
    if boxes.shape != (count, 4) or confidences.shape != (count,) or labels.shape != (count,):
        raise UsageError(
            "suppression needs boxes (N, 4), scores (N,) and class ids (N,), "
            f"got {boxes.shape}, {confidences.shape} and {labels.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise UsageError(f"suppression needs integer class ids, got {labels.dtype}; convert them with astype(int)")
    for name, values in (("boxes", boxes), ("scores", confidences)):
        if np.isnan(values).any():
            row = int(np.argwhere(np.isnan(values))[0, 0])
            raise UsageError(f"candidate {row} has NaN in its {name}; check the network's output or its precision")
    return boxes, confidences, labels


def check_limits(iou_threshold: float, max_detections: int | None) -> None:
    """UsageError unless the threshold is within 0..1 and at least one detection is asked for."""
    if not 0.0 <= iou_threshold <= 1.0:
        raise UsageError(f"the IoU threshold is {iou_threshold}; it must be between 0 and 1")
    if max_detections is not None and max_detections < 1:
        raise UsageError(f"max_detections is {max_detections}; it must be at least 1, or None for all")


def check_option(name: str, value: float, *, above: float, up_to: float) -> None:
    """UsageError unless above < value <= up_to."""
    if not above < value <= up_to:
        raise UsageError(f"option {name} is {value:g}; it must be above {above:g} and up to {up_to:g}")


def check_probabilities(scores: FloatArray) -> None:
    """UsageError unless all scores lie in 0..1, as a variant needs that scales them."""
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
        raise UsageError(
            f"this variant lowers scores, which must lie between 0 and 1, got {scores.min():g} to {scores.max():g}; "
            "use hard suppression for others"
        )


def _read(variant: str, key: str, reader: Callable[[str], Any], text: str) -> Any:
    try:
        return reader(text)
    except ValueError as err:
        raise UsageError(f"NMS variant '{variant}': option {key} must be a number, got '{text}'") from err
