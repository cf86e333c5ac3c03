"""How much quantization changes what a network says, without labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.runtime.spec import ModelSpec

Tensors = Mapping[str, npt.NDArray[Any]]
# Rows below it become no detection, and above it COCO's AP changes with them.
_SEEN = 0.05
# An error of so many pixels weighs as much as the loss of a score of 1: at IoU 0.75 a box of 32 pixels is then lost.
_PIXELS = 8.0


def damage(wanted: Tensors, got: Tensors, spec: ModelSpec) -> float:
    """0 when nothing changed, about 1 when nothing is left.

    Detectors: the mean change of scores and boxes (8 pixels count as 1) over the rows that either network sees. Others: the
    relative error of the outputs, as the root of their summed squares.
    """
    roles = spec.head.outputs
    if "scores" in roles and "boxes" in roles:
        return _of_rows(wanted, got, spec)
    return float(np.mean([relative_error(wanted[name], got[name]) for name in roles.values()]))


def relative_error(wanted: npt.NDArray[Any], got: npt.NDArray[Any]) -> float:
    """||got - wanted|| / ||wanted||, at most 1."""
    reference = wanted.astype(np.float64)
    scale = float(np.linalg.norm(reference)) or 1.0
    return min(float(np.linalg.norm(got.astype(np.float64) - reference)) / scale, 1.0)


def _of_rows(wanted: Tensors, got: Tensors, spec: ModelSpec) -> float:
    scores, boxes = spec.head.outputs["scores"], spec.head.outputs["boxes"]
    rows = wanted[scores].shape[1]
    ours, theirs = (side[scores].reshape(rows, -1).astype(np.float64) for side in (got, wanted))
    seen = np.maximum(ours.max(axis=1), theirs.max(axis=1)) >= _SEEN
    if not seen.any():
        return 0.0
    change = np.abs(ours - theirs)[seen].max(axis=1)
    sizes = np.array(spec.preprocess.size_hw[::-1] * 2) if spec.head.boxes.endswith("_unit") else 1.0
    moved = np.abs((got[boxes] - wanted[boxes]) * sizes).reshape(rows, -1)[seen].mean(axis=1)
    weight = np.maximum(ours, theirs)[seen].max(axis=1)
    return float(np.average(np.minimum(change + moved / _PIXELS, 1.0), weights=weight))
