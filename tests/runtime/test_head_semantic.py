"""The semantic head against NumPy's argmax and torch's interpolation."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.errors import BackendError, BundleError
from edgewright.runtime.geometry import place
from edgewright.runtime.heads import load_head
from edgewright.runtime.heads.semantic import decode
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, Resize, TensorSpec


def spec(role: str, labels: int, size_hw: tuple[int, int] = (32, 48), resize: Resize = "stretch") -> ModelSpec:
    return ModelSpec(
        name="test",
        task="semantic",
        labels=tuple(f"class {number}" for number in range(labels)),
        inputs=(TensorSpec(name="images", shape=(1, 3, *size_hw), dtype="float32"),),
        outputs=(TensorSpec(name="out", shape=(1,), dtype="float32"),),
        preprocess=PreprocessSpec(size_hw=size_hw, resize=resize),
        head=HeadSpec(kind="semantic", outputs={role: "out"}),
    )


def class_ids(role: str, values: Any, source_hw: tuple[int, int], *, labels: int, **changes: Any) -> Any:
    model = spec(role, labels, **changes)
    return decode({role: values}, model, place(source_hw, model.preprocess), PostprocessSpec()).class_ids


def smooth(seed: int, classes: int, size_hw: tuple[int, int]) -> Any:
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(classes, size_hw[0] // 8 + 2, size_hw[1] // 8 + 2)).astype(np.float32)
    return np.stack([cv2.resize(c, size_hw[::-1], interpolation=cv2.INTER_CUBIC) for c in coarse])[None]


@given(st.integers(2, 6), st.integers(0, 99))
def test_at_the_networks_own_size_the_class_is_the_argmax(classes: int, seed: int) -> None:
    # Few values, so that ties are frequent.
    logits = np.random.default_rng(seed).integers(0, 4, (1, classes, 32, 48)).astype(np.float32)
    np.testing.assert_array_equal(class_ids("logits", logits, (32, 48), labels=classes), logits[0].argmax(axis=0))


@pytest.mark.parametrize("cells_hw", [(32, 48), (16, 24), (8, 12)])
@pytest.mark.parametrize("source_hw", [(96, 160), (77, 41), (20, 30)])
def test_logits_are_interpolated_before_the_largest_is_chosen(
    cells_hw: tuple[int, int], source_hw: tuple[int, int]
) -> None:
    logits = smooth(3, 9, cells_hw)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(logits), source_hw, mode="bilinear", align_corners=False)
    got = class_ids("logits", logits, source_hw, labels=9)
    assert got.shape == source_hw
    # A class that wins in no cell takes no part, though it may win between two cells.
    assert (got != wanted[0].argmax(dim=0).numpy()).mean() < 0.005


def test_a_class_stays_where_the_letterbox_put_it() -> None:
    model = spec("logits", 2, (64, 64), "letterbox")
    placement = place((50, 200), model.preprocess)
    # Stride 4: the picture covers rows 24 to 40 of the tensor, and the bright part a quarter of its width.
    logits = np.zeros((1, 2, 16, 16), np.float32)
    logits[0, 1, :, 4:8] = 1
    logits[0, 0] += 0.5
    found = decode({"logits": logits}, model, placement, PostprocessSpec()).class_ids
    columns = np.flatnonzero(found[25])
    assert found.shape == (50, 200)
    assert (columns.min(), columns.max()) == (50, 99)
    assert (found == found[0]).all()


def test_what_the_network_says_of_the_letterbox_does_not_reach_the_picture() -> None:
    model = spec("logits", 2, (64, 64), "letterbox")
    logits = np.zeros((1, 2, 16, 16), np.float32)
    logits[0, 0, 4:12], logits[0, 1, :4], logits[0, 1, 12:] = 1, 100, 100
    found = decode({"logits": logits}, model, place((100, 200), model.preprocess), PostprocessSpec()).class_ids
    assert not found.any()


def test_a_fraction_of_a_cell_of_letterbox_shifts_the_map_by_that_fraction() -> None:
    model = spec("logits", 2, (64, 64), "letterbox")
    placement = place((42, 64), model.preprocess)
    assert placement.offset_xy == (0, 11)
    rows = (np.arange(8) + 0.5) * 8
    logits = np.zeros((1, 2, 8, 8), np.float32)
    # The edge of class 1 lies at row 30 of the tensor, that is row 19 of the picture.
    logits[0, 1] = ((rows - 30) / 8)[:, None]
    found = decode({"logits": logits}, model, placement, PostprocessSpec()).class_ids
    assert [int(np.flatnonzero(column)[0]) for column in found.T] == [19] * 64


def test_one_probability_is_compared_with_the_mask_threshold() -> None:
    probability = np.array([[0.1, 0.4, 0.5, 0.9]], np.float32).repeat(4, axis=0)[None, None]
    model = spec("probability", 2, (4, 4))
    for threshold, wanted in ((0.5, [0, 0, 1, 1]), (0.3, [0, 1, 1, 1])):
        settings = PostprocessSpec(mask_threshold=threshold)
        found = decode({"probability": probability}, model, place((4, 4), model.preprocess), settings)
        assert found.class_ids[0].tolist() == wanted


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 1, 4, 4)])
def test_class_ids_are_taken_over_and_grow_in_blocks(shape: tuple[int, ...]) -> None:
    ids = np.arange(16).reshape(shape).astype(np.int32)
    found = class_ids("class_ids", ids, (8, 8), labels=16, size_hw=(4, 4))
    np.testing.assert_array_equal(found, np.kron(ids.reshape(4, 4), np.ones((2, 2))))


def test_more_than_255_classes_keep_their_numbers() -> None:
    logits = np.zeros((1, 300, 4, 4), np.float32)
    logits[0, 299, :2], logits[0, 17, 2:] = 1, 1
    assert np.unique(class_ids("logits", logits, (4, 4), labels=300, size_hw=(4, 4))).tolist() == [17, 299]
    assert np.unique(class_ids("logits", logits, (9, 9), labels=300, size_hw=(4, 4))).tolist() == [17, 299]
    ids = np.full((1, 4, 4), 299, np.int32)
    assert np.unique(class_ids("class_ids", ids, (9, 9), labels=300, size_hw=(4, 4))).tolist() == [299]


def test_half_precision_outputs_are_decoded_alike() -> None:
    logits = smooth(5, 4, (16, 24)).astype(np.float16)
    got = class_ids("logits", logits, (40, 60), labels=4)
    np.testing.assert_array_equal(got, class_ids("logits", logits.astype(np.float32), (40, 60), labels=4))


def test_a_map_with_nan_is_refused() -> None:
    logits = np.zeros((1, 3, 32, 48), np.float32)
    logits[0, 2, 5, 5] = np.nan
    with pytest.raises(BackendError, match="'logits' holds NaN"):
        class_ids("logits", logits, (32, 48), labels=3)


@pytest.mark.parametrize("roles", [["pixels"], ["logits", "class_ids"], []])
def test_other_than_one_of_its_outputs_is_refused(roles: list[str]) -> None:
    model = spec("logits", 2)
    wrong = model.model_copy(update={"head": HeadSpec(kind="semantic", outputs=dict.fromkeys(roles, "out"))})
    with pytest.raises(BundleError, match=r"wants the outputs \['logits'\] or \['probability'\] or \['class_ids'\]"):
        load_head(wrong)
