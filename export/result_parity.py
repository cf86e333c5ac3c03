"""What is made of a graph's outputs beside what is made of the network's own: detections with masks, and maps."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.runtime.geometry import Placement
from edgewright.runtime.heads import load_head
from edgewright.runtime.matching import SCORE_TOLERANCE, same_segments
from edgewright.runtime.results import Detections, PanopticMap, Result, SemanticMap
from edgewright.runtime.spec import ModelSpec, PostprocessSpec

Tensors = dict[str, npt.NDArray[Any]]


def decode(outputs: Tensors, spec: ModelSpec, placement: Placement, settings: PostprocessSpec) -> Result:
    """What the head makes of a graph's outputs."""
    by_role = {role: outputs[name] for role, name in spec.head.outputs.items()}
    return load_head(spec)(by_role, spec, placement, settings)


def decode_beside(
    reference: Tensors, got: Tensors, spec: ModelSpec, placement: Placement, settings: PostprocessSpec
) -> Result:
    """What the head makes of `got`, every mask that spans a box pasted into the nearest box of its class in `reference`.

    A box is cut to whole pixels before its mask is pasted: an edge a hair to the other side of a pixel's border makes the mask
    a pixel narrower, whatever it holds. So boxes are judged as boxes, and masks by what they hold. `reference` needs no masks.
    """
    result = decode(got, spec, placement, settings)
    if spec.head.kind != "roi_masks" or not isinstance(result, Detections):
        return result
    pasted = decode(_in_boxes_of(reference, got, spec), spec, placement, settings)
    return replace(result, masks=pasted.masks) if isinstance(pasted, Detections) else result


def _in_boxes_of(reference: Tensors, got: Tensors, spec: ModelSpec) -> Tensors:
    """The outputs with the boxes of the reference; a row whose class the reference never sees keeps its own."""
    boxes, scores, classes = (spec.head.outputs[role] for role in ("boxes", "scores", "classes"))
    distance = np.abs(got[boxes][0][:, None] - reference[boxes][0][None]).max(axis=2)
    another = (got[classes][0][:, None] != reference[classes][0][None]) | (reference[scores][0] <= 0)
    distance = np.where(another, np.inf, distance)
    chosen = got[boxes].copy()
    for row in np.flatnonzero(np.isfinite(distance.min(axis=1, initial=np.inf))):
        chosen[0, row] = reference[boxes][0, distance[row].argmin()]
    return {**got, boxes: chosen}


def share_of_pixels(wanted: Tensors, got: Tensors, spec: ModelSpec, placement: Placement, *, enough: float) -> float:
    """The share of pixels that have the same class, or lie in the same segment.

    A segment within 1e-3 of the threshold may be there or not, until `enough` pixels agree.
    """
    settings = spec.postprocess
    reference = decode(wanted, spec, placement, settings)
    share = 0.0
    for shift in (0.0, SCORE_TOLERANCE, -SCORE_TOLERANCE):
        threshold = min(max(settings.conf_threshold + shift, 0.0), 1.0)
        result = decode(got, spec, placement, settings.model_copy(update={"conf_threshold": threshold}))
        if isinstance(reference, SemanticMap) and isinstance(result, SemanticMap):
            share = max(share, float(np.mean(reference.class_ids == result.class_ids)))
        elif isinstance(reference, PanopticMap) and isinstance(result, PanopticMap):
            share = max(share, same_segments(reference, result))
        if share >= enough:
            break
    return share
