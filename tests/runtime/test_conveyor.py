"""The drawn conveyor: exact labels, the same picture for the same arguments, a belt that runs."""

import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.runtime.conveyor import LABELS, LabelledImage, render, render_scene
from edgewright.runtime.conveyor.labels import SMALLEST_VISIBLE_PX
from edgewright.runtime.errors import UsageError

SMALL_HW = (240, 320)
sizes = st.tuples(st.integers(1, 150), st.integers(1, 150))
seeds, indices = st.integers(0, 2**40), st.integers(0, 10**7)


def digest(picture: LabelledImage) -> str:
    parts = (picture.image, picture.boxes_xyxy, picture.class_ids, *(mask.pixels for mask in picture.masks))
    return sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def middles(picture: LabelledImage) -> np.ndarray:
    return np.asarray((picture.boxes_xyxy[:, :2] + picture.boxes_xyxy[:, 2:]) / 2)


def assert_labels_are_exact(picture: LabelledImage, size_hw: tuple[int, int]) -> None:
    h, w = size_hw
    assert picture.image.shape == (h, w, 3)
    assert picture.image.dtype == np.uint8
    assert picture.boxes_xyxy.dtype == np.float32
    assert picture.class_ids.dtype == np.int64
    assert len(picture.boxes_xyxy) == len(picture.class_ids) == len(picture.masks)
    assert all(0 <= class_id < len(LABELS) for class_id in picture.class_ids)
    taken = np.zeros(size_hw, int)
    for box, mask in zip(picture.boxes_xyxy, picture.masks, strict=True):
        pasted = mask.paste(size_hw)
        rows, columns = np.flatnonzero(pasted.any(axis=1)), np.flatnonzero(pasted.any(axis=0))
        assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert mask.pixels.sum() == pasted.sum() >= SMALLEST_VISIBLE_PX
        taken += pasted
    assert taken.max(initial=0) <= 1


@settings(max_examples=40, deadline=None)
@given(seed=seeds, index=indices, size_hw=sizes)
def test_boxes_are_the_tight_bounds_of_disjoint_masks_in_every_scene(
    seed: int, index: int, size_hw: tuple[int, int]
) -> None:
    assert_labels_are_exact(render_scene(seed, index, size_hw), size_hw)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, index=indices, size_hw=sizes)
def test_boxes_are_the_tight_bounds_of_disjoint_masks_in_every_frame_of_a_video(
    seed: int, index: int, size_hw: tuple[int, int]
) -> None:
    assert_labels_are_exact(render(seed, index, size_hw), size_hw)


def test_the_default_size_is_480_by_640() -> None:
    assert_labels_are_exact(render(1, 2), (480, 640))


def test_a_picture_does_not_depend_on_what_was_drawn_before() -> None:
    first = [digest(render(4, i, SMALL_HW)) for i in range(6)] + [
        digest(render_scene(4, i, SMALL_HW)) for i in range(6)
    ]
    again = [digest(render_scene(4, i, SMALL_HW)) for i in (5, 4, 3, 2, 1, 0)]
    again += [digest(render(4, i, SMALL_HW)) for i in (5, 4, 3, 2, 1, 0)]
    assert again[::-1] == first


def test_another_process_draws_the_same_bytes() -> None:
    code = (
        "from hashlib import sha256; from edgewright.runtime.conveyor import render, render_scene\n"
        "print(sha256(render(9, 33).image.tobytes() + render_scene(9, 33).image.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == sha256(render(9, 33).image.tobytes() + render_scene(9, 33).image.tobytes()).hexdigest()


def test_seeds_and_indices_give_different_pictures() -> None:
    pictures = [render_scene(s, i, SMALL_HW) for s in range(5) for i in range(5)]
    pictures += [render(s, i, SMALL_HW) for s in range(5) for i in range(5)]
    assert len({digest(picture) for picture in pictures}) == 50


@pytest.mark.parametrize("seed", range(8))
def test_all_parts_travel_together_from_frame_to_frame(seed: int) -> None:
    now, after = render(seed, 300), render(seed, 301)
    inside = [
        picture.boxes_xyxy[
            (picture.boxes_xyxy[:, :2] > 2).all(axis=1) & (picture.boxes_xyxy[:, 2:] < (638, 478)).all(axis=1)
        ]
        for picture in (now, after)
    ]
    steps = [
        (box_after - box)[:2]
        for box in inside[0]
        for box_after in inside[1]
        # The same part keeps its size but for a pixel of rounding; at most 20 pixels a frame at 30 frames per second.
        if np.abs((box_after - box) - (box_after - box)[[0, 1, 0, 1]]).max() <= 1 and np.abs(box_after - box).max() < 20
    ]
    common = np.median(steps, axis=0) if steps else np.zeros(2)
    agreeing = sum(np.abs(step - common).max() <= 1.5 for step in steps)
    assert agreeing >= 0.6 * min(len(boxes) for boxes in inside)


def test_neighbouring_frames_resemble_each_other_and_distant_ones_do_not() -> None:
    def difference(seed: int, step: int) -> float:
        now, after = (render(seed, 100 + i, SMALL_HW).image.astype(int) for i in (0, step))
        return float(np.abs(now - after).mean())

    ratios = [difference(seed, 1) / difference(seed, 3000) for seed in range(12)]
    assert np.median(ratios) < 0.6


def test_a_doubled_frame_rate_shows_the_same_moment_at_the_doubled_index() -> None:
    slow, fast = render(5, 40, SMALL_HW, frame_rate=25.0), render(5, 80, SMALL_HW, frame_rate=50.0)
    assert np.array_equal(slow.boxes_xyxy, fast.boxes_xyxy)


def test_a_larger_picture_shows_the_same_scene() -> None:
    nearest = []
    for index in range(8):
        small, large = render_scene(6, index, (240, 320)), render_scene(6, index, (480, 640))
        for box, class_id in zip(small.boxes_xyxy, small.class_ids, strict=True):
            same_class = large.boxes_xyxy[large.class_ids == class_id] / 2
            nearest.append(np.abs(same_class - box).max(axis=1).min(initial=99))
    assert len(nearest) > 50
    assert np.mean(np.array(nearest) <= 1.5) > 0.95


def test_scenes_cover_every_class_size_light_and_an_empty_belt() -> None:
    pictures = [render_scene(8, index, SMALL_HW) for index in range(150)]
    # Half the sides of 480 x 640; COCO bounds of small and large there, pycocotools Params.areaRng.
    areas = np.array([mask.pixels.sum() * 4 for picture in pictures for mask in picture.masks])
    shares = [np.mean(areas < 32**2), np.mean((areas >= 32**2) & (areas < 96**2)), np.mean(areas >= 96**2)]
    assert min(shares) > 0.02
    counts = np.array([len(picture.masks) for picture in pictures])
    assert 0.01 < np.mean(counts == 0) < 0.2
    assert counts.max() > 30
    classes = np.bincount(np.concatenate([picture.class_ids for picture in pictures]), minlength=len(LABELS))
    assert classes.min() > 0.5 * classes.mean()
    brightness = np.array([picture.image.mean() for picture in pictures])
    assert brightness.min() < 40 < 100 < brightness.max()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: render(-1, 0), "seed"),
        (lambda: render(0, -1), "index"),
        (lambda: render_scene(-3, 0), "seed"),
        (lambda: render_scene(0, -3), "index"),
        (lambda: render(0, 0, (0, 640)), "0 x 640"),
        (lambda: render(0, 0, frame_rate=0.0), "frame rate"),
    ],
)
def test_impossible_arguments_are_named(call: object, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        call()  # type: ignore[operator]
