"""The prototypes head against masks made of whole maps, as the paper describes them."""

from typing import Any

import numpy as np
import pytest
import torch

from edgewright.runtime.errors import BackendError
from edgewright.runtime.geometry import Placement, place
from edgewright.runtime.heads.prototypes import decode
from edgewright.runtime.results import Detections
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, Resize, TensorSpec

ROLES = ("boxes", "scores", "coefficients", "prototypes")
TENSOR = (64, 96)


def model(resize: Resize) -> ModelSpec:
    return ModelSpec(
        name="test",
        task="instance",
        labels=("a", "b"),
        inputs=(TensorSpec(name="images", shape=(1, 3, *TENSOR), dtype="float32"),),
        outputs=tuple(TensorSpec(name=role, shape=(1,), dtype="float32") for role in ROLES),
        preprocess=PreprocessSpec(size_hw=TENSOR, resize=resize),
        head=HeadSpec(kind="prototypes", outputs={role: role for role in ROLES}),
    )


def random_outputs(seed: int, count: int = 30) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-5, 60, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 50, (count, 2))], axis=1)
    return {
        "boxes": boxes[None].astype(np.float32),
        "scores": rng.uniform(0, 1, (1, count, 2)).astype(np.float32),
        "coefficients": rng.normal(size=(1, count, 5)).astype(np.float32),
        "prototypes": rng.normal(size=(1, 5, 16, 24)).astype(np.float32),
    }


def whole_mask(weights: Any, prototypes: Any, placement: Placement, box: Any, threshold: float) -> Any:
    """sigmoid(prototypes * coefficients) at every pixel of the image, then cropped to the box."""
    h, w = placement.source_hw
    (sx, sy), (ox, oy) = placement.scale_xy, placement.offset_xy
    gx = ((np.arange(w) + 0.5) * sx + ox) * 2 / TENSOR[1] - 1
    gy = ((np.arange(h) + 0.5) * sy + oy) * 2 / TENSOR[0] - 1
    places = torch.from_numpy(np.stack(np.meshgrid(gx, gy), axis=-1).astype(np.float32))[None]
    logits = torch.from_numpy(np.tensordot(weights, prototypes, axes=1))[None, None]
    full = torch.nn.functional.grid_sample(logits, places, padding_mode="border", align_corners=False)
    y, x = np.mgrid[:h, :w] + 0.5
    inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    return (torch.sigmoid(full)[0, 0].numpy() >= threshold) & inside


@pytest.mark.parametrize("threshold", [0.5, 0.8])
@pytest.mark.parametrize("source_hw", [(48, 100), (300, 210)])
@pytest.mark.parametrize("resize", ["letterbox", "letterbox_top_left", "stretch"])
def test_masks_are_those_of_the_whole_map_cropped_to_the_box(
    resize: Resize, source_hw: tuple[int, int], threshold: float
) -> None:
    spec, outputs = model(resize), random_outputs(1)
    placement = place(source_hw, spec.preprocess)
    settings = PostprocessSpec(conf_threshold=0.3, iou_threshold=0.5, mask_threshold=threshold)
    found = decode(outputs, spec, placement, settings)
    assert isinstance(found, Detections)
    assert found.masks is not None
    assert len(found) > 8
    rows = [int(np.flatnonzero((outputs["scores"][0] == score).any(axis=1))[0]) for score in found.scores]
    for row, mask, box in zip(rows, found.masks, found.boxes_xyxy, strict=True):
        wanted = whole_mask(outputs["coefficients"][0, row], outputs["prototypes"][0], placement, box, threshold)
        got = mask.paste(source_hw)
        # Samples are placed at 1/32 of a cell: only pixels on the outline may differ.
        assert np.count_nonzero(got != wanted) <= max(2, 0.03 * np.count_nonzero(wanted | got))


def test_masks_follow_their_detections() -> None:
    spec, outputs = model("stretch"), random_outputs(2)
    found = decode(outputs, spec, place(TENSOR, spec.preprocess), PostprocessSpec(conf_threshold=0.2))
    assert found.masks is not None
    best = found[found.scores > 0.8]
    assert best.masks is not None
    assert len(best.masks) == len(best) < len(found.masks)


def test_nothing_found_has_no_masks() -> None:
    spec, outputs = model("letterbox"), random_outputs(3)
    found = decode(outputs, spec, place((50, 50), spec.preprocess), PostprocessSpec(conf_threshold=1.0))
    assert (len(found), found.masks) == (0, ())


@pytest.mark.parametrize("role", ["coefficients", "prototypes"])
def test_nan_is_refused(role: str) -> None:
    spec, outputs = model("letterbox"), random_outputs(4)
    outputs[role][...] = np.nan
    with pytest.raises(BackendError, match=f"'{role}' holds NaN"):
        decode(outputs, spec, place((50, 50), spec.preprocess), PostprocessSpec())
