"""Masks of boxes are pasted as torchvision pastes them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.geometry import place
from edgewright.runtime.heads.roi_masks import decode, paste_mask
from edgewright.runtime.results import Detections
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, TensorSpec

SIZE = (90, 120)
ROLES = ("boxes", "scores", "classes", "masks")
SPEC = ModelSpec(
    name="masks",
    task="instance",
    labels=("bolt", "nut"),
    inputs=(),
    outputs=tuple(TensorSpec(name=name, shape=(1,), dtype="float32") for name in ROLES),
    preprocess=PreprocessSpec(size_hw=SIZE, resize="letterbox_top_left"),
    head=HeadSpec(kind="roi_masks", outputs={name: name for name in ROLES}),
)

side = st.floats(0, 60, width=32)


@given(seed=st.integers(0, 1000), x=st.floats(0, 119, width=32), y=st.floats(0, 89, width=32), w=side, h=side)
def test_pasted_masks_are_torchvisions(seed: int, x: float, y: float, w: float, h: float) -> None:
    torch = pytest.importorskip("torch")
    heads = pytest.importorskip("torchvision.models.detection.roi_heads")
    mask = np.random.default_rng(seed).random((28, 28), np.float32)
    box = np.array([x, y, min(x + w, SIZE[1]), min(y + h, SIZE[0])], np.float32)
    wanted = heads.paste_masks_in_image(torch.from_numpy(mask)[None, None], torch.from_numpy(box)[None], SIZE)[
        0, 0
    ].numpy()
    # Where the interpolated value meets the threshold to the last digits, rounding decides.
    clear = np.abs(wanted - 0.5) > 1e-5
    got = paste_mask(mask, box, SIZE, threshold=0.5).paste(SIZE)
    np.testing.assert_array_equal(got[clear], (wanted > 0.5)[clear])


def found(scores: list[float], boxes: list[list[float]], size_hw: tuple[int, int] = SIZE) -> Detections:
    count = len(scores)
    outputs = {
        "boxes": np.array([boxes], np.float32),
        "scores": np.array([scores], np.float32),
        "classes": np.ones((1, count), np.int32),
        "masks": np.full((1, count, 28, 28), 5.0, np.float32),
    }
    return decode(outputs, SPEC, place(size_hw, SPEC.preprocess), PostprocessSpec(conf_threshold=0.0))


def test_padding_is_never_found_and_the_best_comes_first() -> None:
    result = found([0.3, 0.9, 0.0], [[0.0, 0, 10, 10], [20.0, 20, 40, 40], [0.0, 0, 0, 0]])
    assert result.scores.tolist() == pytest.approx([0.9, 0.3])
    assert result.class_ids.tolist() == [1, 1]
    assert result.masks is not None
    assert result.masks[0].paste(SIZE)[22:38, 22:38].all()
    assert not result.masks[0].paste(SIZE)[:18].any()


def test_a_mask_in_a_larger_image_follows_its_box_and_ends_at_the_edge() -> None:
    # The image is as high as the tensor's half width: the box reaches 30 tensor pixels into the padding below.
    result = found([0.9], [[10.0, 20, 50, 90]], (120, 240))
    assert result.boxes_xyxy.tolist() == [[20, 40, 100, 120]]
    assert result.masks is not None
    full = result.masks[0].paste((120, 240))
    assert full[44:, 24:96].all()
    assert result.masks[0].pixels.shape[0] <= 120


def test_without_detections_there_are_no_masks() -> None:
    assert found([0.0], [[0.0, 0, 0, 0]]).masks == ()
