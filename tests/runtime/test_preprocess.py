"""Pre-processing against the formula, written out in NumPy."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgewright.runtime.errors import UsageError
from edgewright.runtime.preprocess import Preprocessor, preprocess
from edgewright.runtime.spec import PreprocessSpec


def noise(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    color=st.sampled_from(["bgr", "rgb"]),
    layout=st.sampled_from(["nchw", "nhwc"]),
    dtype=st.sampled_from(["float32", "float16"]),
    scale=st.sampled_from([1.0, 1 / 255, 2 / 255]),
    shift=st.floats(-2, 2),
    std=st.floats(0.1, 60),
)
def test_values_follow_the_formula_for_every_colour_layout_and_dtype(
    size: tuple[int, int], color: Any, layout: Any, dtype: Any, scale: float, shift: float, std: float
) -> None:
    spec = PreprocessSpec(
        size_hw=size, resize="stretch", color=color, layout=layout, dtype=dtype,
        scale=scale, mean=(shift, shift + 1, shift - 1), std=(std, std * 2, std / 2),
    )  # fmt: skip
    image = noise(*size)
    tensor, _ = preprocess(image, spec)
    ordered = image[..., ::-1] if color == "rgb" else image
    expected = (ordered.astype(np.float64) * scale - np.array(spec.mean)) / np.array(spec.std)
    if layout == "nchw":
        expected = expected.transpose(2, 0, 1)
    assert tensor.shape == spec.tensor_shape
    assert tensor.dtype == np.dtype(dtype)
    np.testing.assert_allclose(tensor[0], expected, rtol=1e-3 if dtype == "float16" else 1e-6, atol=1e-3)


def test_letterbox_pads_with_the_pad_value_and_resizes_like_opencv() -> None:
    spec = PreprocessSpec(size_hw=(64, 64), resize="letterbox", color="bgr", pad_value=114)
    image = noise(30, 60)
    tensor, placement = preprocess(image, spec)
    assert placement.placed_hw == (32, 64)
    assert placement.offset_xy == (0, 16)
    assert (tensor[0, :, :16] == 114).all()
    assert (tensor[0, :, 48:] == 114).all()
    np.testing.assert_array_equal(tensor[0, :, 16:48], cv2.resize(image, (64, 32)).transpose(2, 0, 1))


def test_a_preprocessor_forgets_the_previous_image() -> None:
    spec = PreprocessSpec(size_hw=(64, 64), resize="letterbox", color="rgb", scale=1 / 255)
    reused = Preprocessor(spec)
    for height, width in ((64, 64), (20, 64), (64, 20), (31, 47), (64, 64)):
        image = noise(height, width, seed=height)
        np.testing.assert_array_equal(reused(image)[0], preprocess(image, spec)[0])


def test_gray_is_one_channel() -> None:
    spec = PreprocessSpec(size_hw=(8, 8), color="gray", mean=(0,), std=(255,))
    image = noise(8, 8)
    expected = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255
    np.testing.assert_allclose(preprocess(image, spec)[0][0, 0], expected, rtol=1e-6)


def test_uint8_input_takes_the_pixels_as_they_are() -> None:
    spec = PreprocessSpec(size_hw=(8, 8), color="bgr", layout="nhwc", dtype="uint8")
    image = noise(8, 8)
    np.testing.assert_array_equal(preprocess(image, spec)[0][0], image)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_other_images_than_bgr_uint8_are_refused(image: Any) -> None:
    with pytest.raises(UsageError, match="BGR uint8"):
        preprocess(image, PreprocessSpec(size_hw=(8, 8)))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"mean": (0.0,)}, "mean has 1 values"),
        ({"std": (0.0, 1.0, 1.0)}, "not zero"),
        ({"dtype": "uint8", "scale": 0.5}, "into the graph"),
        ({"size_hw": (0, 8)}, "greater than 0"),
        ({"colour": "rgb"}, "Extra inputs"),
    ],
)
def test_a_specification_that_makes_no_sense_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PreprocessSpec.model_validate({"size_hw": (8, 8), **keys})
