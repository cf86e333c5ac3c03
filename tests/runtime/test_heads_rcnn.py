"""Per-class boxes of regions become detections."""

import numpy as np
import numpy.typing as npt
import pytest

from edgewright.runtime.geometry import place
from edgewright.runtime.heads.rcnn import decode
from edgewright.runtime.results import Detections
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, TensorSpec

SPEC = ModelSpec(
    name="regions",
    task="detect",
    labels=("bolt", "nut"),
    inputs=(),
    outputs=tuple(TensorSpec(name=name, shape=(1,), dtype="float32") for name in ("boxes", "scores")),
    preprocess=PreprocessSpec(size_hw=(100, 200), resize="letterbox_top_left"),
    head=HeadSpec(kind="rcnn", outputs={"boxes": "boxes", "scores": "scores"}),
)


def found(boxes: npt.ArrayLike, scores: npt.ArrayLike, **settings: float) -> Detections:
    outputs = {"boxes": np.array([boxes], np.float32), "scores": np.array([scores], np.float32)}
    # An image of twice the tensor's size.
    return decode(outputs, SPEC, place((200, 400), SPEC.preprocess), PostprocessSpec.model_validate(settings))


A, B, PADDING = [10.0, 10, 50, 50], [60.0, 10, 90, 50], [0.0, 0, 0, 0]


def test_every_class_of_a_region_has_its_own_box_in_image_pixels() -> None:
    result = found([[A, B]], [[0.9, 0.6]])
    assert result.boxes_xyxy.tolist() == [[20, 20, 100, 100], [120, 20, 180, 100]]
    assert result.class_ids.tolist() == [0, 1]
    assert result.scores.tolist() == pytest.approx([0.9, 0.6])


def test_boxes_suppress_each_other_within_a_class_only() -> None:
    result = found([[A, A], [A, A]], [[0.9, 0.6], [0.8, 0.7]])
    assert result.class_ids.tolist() == [0, 1]
    assert result.scores.tolist() == pytest.approx([0.9, 0.7])


def test_padding_is_never_found_even_at_threshold_zero() -> None:
    assert len(found([[A, PADDING], [PADDING, PADDING]], [[0.9, 0.0], [0.0, 0.0]], conf_threshold=0.0)) == 1


def test_a_single_label_region_keeps_its_best_class() -> None:
    assert found([[A, B]], [[0.4, 0.6]], multi_label=False).class_ids.tolist() == [1]
