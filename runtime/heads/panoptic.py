"""A segment for every pixel: mask and class queries (Mask2Former, EoMT), or an instance and a semantic network."""

from collections.abc import Collection, Iterator

import cv2
import numpy as np
import numpy.typing as npt

from edgewright.runtime.errors import BundleError
from edgewright.runtime.geometry import Placement
from edgewright.runtime.heads import Outputs, check_finite, roi_masks, semantic
from edgewright.runtime.panoptic import Probabilities, claim_pixels, fuse
from edgewright.runtime.results import PanopticMap, Segment
from edgewright.runtime.spec import ModelSpec, PostprocessSpec

ROLE_SETS = (("mask_logits", "class_logits"), (*roi_masks.ROLES, "semantic"))
TASKS = ("panoptic",)

_QUERY_OVERLAP = 0.8  # Mask2Former, MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD
_QUERY_STUFF_AREA = 0.0
_PAIR_OVERLAP = 0.5  # Panoptic FPN, as detectron2 configures it: MODEL.PANOPTIC_FPN.COMBINE.OVERLAP_THRESH
_PAIR_STUFF_AREA = 4096 / (480 * 640)  # COMBINE.STUFF_AREA_LIMIT, in pixels of COCO's pictures


def decode(outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec) -> PanopticMap:
    """The segments of the source image, from one of two sets of outputs.

    Queries: `mask_logits` [1, Q, h, w] and `class_logits` [1, Q, C + 1], no object last.
    A pair: `boxes`, `scores`, `classes` and `masks` as the roi_masks head has them, and `semantic` [1, S, h, w], the logits of
    the labels that are stuff, in their order, behind one of everything else where S is larger by one.
    """
    things = range(len(spec.labels)) if spec.head.thing_ids is None else spec.head.thing_ids
    if "semantic" in outputs:
        return _from_pair(outputs, spec, placement, settings, things)
    return _from_queries(outputs, spec, placement, settings, things)


def _from_queries(
    outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec, things: Collection[int]
) -> PanopticMap:
    logits = np.asarray(outputs["class_logits"][0], np.float32)
    check_finite(logits, "class_logits")
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    classes, scores = probabilities.argmax(axis=1), probabilities.max(axis=1)
    kept = np.flatnonzero((classes < len(spec.labels)) & (scores > settings.conf_threshold))
    # The queries keep their order: of equal claims, the first wins.
    kept = np.sort(kept[np.argsort(-scores[kept], kind="stable")][: settings.max_detections])
    masks = np.asarray(outputs["mask_logits"][0][kept], np.float32)
    check_finite(masks, "mask_logits")
    queries = [
        Segment(0, int(k), int(k) in things, float(score)) for k, score in zip(classes[kept], scores[kept], strict=True)
    ]
    return claim_pixels(
        _at_pixels(masks, placement, spec.preprocess.size_hw),
        queries,
        placement.source_hw,
        mask_threshold=settings.mask_threshold,
        overlap_threshold=_QUERY_OVERLAP if settings.overlap_threshold is None else settings.overlap_threshold,
        stuff_area=_QUERY_STUFF_AREA if settings.stuff_area is None else settings.stuff_area,
    )


def _at_pixels(
    logits: npt.NDArray[np.float32], placement: Placement, tensor_hw: tuple[int, int]
) -> Iterator[Probabilities]:
    """The mask probabilities at the pixels of the source image, one query after the other.

    As Mask2Former's post-processing has it: logits are enlarged to the input tensor, probabilities from there to the image.
    """
    (x, y), (h, w) = placement.offset_xy, placement.placed_hw
    for plane in logits:
        enlarged = cv2.resize(plane, tensor_hw[::-1], interpolation=cv2.INTER_LINEAR)[y : y + h, x : x + w]
        with np.errstate(over="ignore"):
            probabilities = 1 / (1 + np.exp(-enlarged))
        yield np.asarray(
            cv2.resize(probabilities, placement.source_hw[::-1], interpolation=cv2.INTER_LINEAR), np.float32
        )


def _from_pair(
    outputs: Outputs, spec: ModelSpec, placement: Placement, settings: PostprocessSpec, things: Collection[int]
) -> PanopticMap:
    stuff = [class_id for class_id in range(len(spec.labels)) if class_id not in things]
    planes = outputs["semantic"].shape[1]
    if planes not in (len(stuff), len(stuff) + 1):
        raise BundleError(
            f"the output 'semantic' has {planes} planes, {len(stuff)} of {len(spec.labels)} labels are stuff: as many planes are "
            "wanted, or one more for everything else; check the labels and thing_ids, and export the bundle again"
        )
    check_finite(outputs["semantic"], "semantic")
    found = roi_masks.decode({role: outputs[role] for role in roi_masks.ROLES}, spec, placement, settings)
    strongest = semantic.decode({"logits": outputs["semantic"]}, spec, placement, settings).class_ids
    table = np.array([-1] * (planes - len(stuff)) + stuff, np.int32)
    return fuse(
        found,
        table[strongest],
        overlap_threshold=_PAIR_OVERLAP if settings.overlap_threshold is None else settings.overlap_threshold,
        stuff_area=_PAIR_STUFF_AREA if settings.stuff_area is None else settings.stuff_area,
    )
