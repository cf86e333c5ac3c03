"""Regions from outside: how they reach the tensor, and the methods that propose them."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_arrays

from edgewright.runtime import plugins, proposals
from edgewright.runtime.conveyor import render_scene
from edgewright.runtime.errors import DataError, EdgeError, MissingDependencyError, UsageError
from edgewright.runtime.geometry import place
from edgewright.runtime.proposals import method_name, open_method, region_tensor
from edgewright.runtime.results import Boxes
from edgewright.runtime.spec import PreprocessSpec

needs_contrib = pytest.mark.skipif(not hasattr(cv2, "ximgproc"), reason="this OpenCV has no contrib modules")

sides = st.integers(1, 900)
any_boxes = hypothesis_arrays.arrays(
    np.float32, st.tuples(st.integers(0, 12), st.just(4)), elements=st.floats(-2000, 2000, width=32)
)


@given(any_boxes, sides, sides, st.sampled_from(["letterbox", "letterbox_top_left", "stretch"]), st.integers(1, 9))
def test_regions_reach_the_tensor_in_order_scaled_and_cut_to_the_picture(
    boxes: Boxes, height: int, width: int, resize: str, count: int
) -> None:
    placement = place((height, width), PreprocessSpec.model_validate({"size_hw": (96, 160), "resize": resize}))
    tensor = region_tensor(boxes, placement, count)
    assert tensor.shape == (1, count, 4)
    inside = np.clip(boxes, 0, [width, height, width, height])
    sound = inside[(inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])][:count]
    rows = tensor[0][(tensor[0] != 0).any(axis=1)]
    # A sliver that rounding closes on the way is left out.
    if len(sound) == len(rows):
        (x, y), (right, down) = placement.scale_xy, placement.offset_xy
        np.testing.assert_allclose(rows, sound * [x, y, x, y] + [right, down, right, down], rtol=1e-5, atol=1e-3)
    assert len(rows) <= min(count, len(boxes))
    assert (rows[:, 2:] > rows[:, :2]).all()
    assert not tensor[0, len(rows) :].any()


def test_what_is_no_number_or_has_no_extent_gives_no_region() -> None:
    placement = place((96, 160), PreprocessSpec(size_hw=(96, 160)))
    odd = [[np.nan, 0, 9, 9], [0, 0, np.inf, 9], [5, 5, 5, 9], [9, 9, 5, 5], [200, 0, 300, 9], [1, 2, 3, 4]]
    assert region_tensor(np.array(odd, np.float32), placement, 3)[0].tolist() == [[1, 2, 3, 4], [0] * 4, [0] * 4]


@pytest.mark.parametrize("uri", ["windows", "windows?smallest=0.3&overlap=0.7", "selective_search?size=80"])
def test_a_method_gives_the_same_sound_regions_of_the_same_picture(uri: str) -> None:
    if uri.startswith("selective") and not hasattr(cv2, "ximgproc"):
        pytest.skip("this OpenCV has no contrib modules")
    image = render_scene(2, 0, (90, 120)).image
    first, again = (open_method(uri)(image, ()) for _ in range(2))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert len(first) > 10
    assert (first[:, :2] >= 0).all()
    assert (first[:, 2:] > first[:, :2]).all()
    assert (first[:, 2:] <= np.array([120, 90]) + 1e-3).all()


@needs_contrib
def test_selective_search_finds_the_regions_of_opencv_in_pixels_of_the_picture() -> None:
    image = render_scene(2, 0, (90, 120)).image
    contributed: Any = cv2
    search = contributed.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(image)
    search.switchToSelectiveSearchFast()
    wanted = {(x, y, x + w, y + h) for x, y, w, h in np.asarray(search.process()).tolist()}
    assert set(map(tuple, open_method("selective_search")(image, ()).tolist())) == wanted
    halved = open_method("selective_search?size=60")(image, ())
    # A search at half the size answers in even pixels of the whole.
    assert halved.max() > 60
    assert not (halved % 2).any()


@needs_contrib
def test_one_object_on_a_plain_ground_is_among_the_proposals() -> None:
    image = np.full((80, 100, 3), 40, np.uint8)
    image[20:50, 30:70] = (30, 200, 220)
    boxes = open_method("selective_search")(image, ())
    assert (np.abs(boxes - [30, 20, 70, 50]).max(axis=1) <= 2).any()


def test_windows_cover_the_picture_at_every_size() -> None:
    boxes = open_method("windows?smallest=0.25&overlap=0.5")(np.zeros((100, 200, 3), np.uint8), ())
    assert boxes[0].tolist() == [0, 0, 200, 100]
    quarter = boxes[np.isclose(boxes[:, 2] - boxes[:, 0], 50) & np.isclose(boxes[:, 3] - boxes[:, 1], 25)]
    # A quarter of either side in steps of half of that: seven places each way.
    assert len(quarter) == 49
    assert {tuple(row[:2]) for row in quarter.tolist()} == {(25 * x, 12.5 * y) for x in range(7) for y in range(7)}


def test_a_file_knows_a_picture_by_any_of_its_names(tmp_path: Path) -> None:
    boxes = {"a.jpg": [[1, 2, 3, 4]], "7": [[5, 6, 7, 8], [0, 0, 9, 9]], "blank.jpg": []}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    arrays: dict[str, Any] = {name: np.array(value, np.float32) for name, value in boxes.items()}
    np.savez(tmp_path / "boxes.npz", **arrays)
    picture = np.zeros((9, 9, 3), np.uint8)
    for name in ("boxes.json", "boxes.npz"):
        method = open_method(f"file:{tmp_path / name}")
        assert method(picture, ("a.jpg", "7")).tolist() == [[1, 2, 3, 4]]
        assert method(picture, ("other.jpg", "7")).tolist() == [[5, 6, 7, 8], [0, 0, 9, 9]]
        assert method(picture, ("blank.jpg", "9")).shape == (0, 4)
        with pytest.raises(DataError, match=r"no regions of 'b.jpg' or '3'.*of 3 images: 'a.jpg', '7', 'blank.jpg'"):
            method(picture, ("b.jpg", "3"))
        with pytest.raises(DataError, match="a picture without a name"):
            method(picture, ())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[1, 2", "are no JSON"),
        ("[[1, 2, 3, 4]]", "hold a JSON list"),
        ('{"a.jpg": [[1, 2, 3]]}', r"'a.jpg' has the shape \[1, 3\]"),
        ('{"a.jpg": [1, 2, 3, 4]}', r"'a.jpg' has the shape \[4\]"),
        ('{"a.jpg": [[1, 2, 3, NaN]]}', "holds NaN"),
        ('{"a.jpg": [["x", 2, 3, 4]]}', "is no list of boxes"),
        ('{"a.jpg": [[1, 2], [3, 4, 5]]}', "is no list of boxes"),
        ('{"picture:a.jpg": [480, 640]}', r"'picture:a.jpg' has the shape \[2\]; wanted: 66 numbers"),
        ('{"picture:a.jpg": ["x"]}', "'picture:a.jpg' is no list of whole numbers"),
        ('{"a.jpg": [[0, 0, 1, 1], [40, 30, 10, 20]]}', r"box 1 of 'a.jpg'.*not width and height"),
    ],
)
def test_a_file_of_anything_else_is_refused_with_its_place(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(content)
    with pytest.raises(DataError, match=complaint):
        open_method(f"file:{path}")


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "boxes.npz").write_bytes(b"PK\x03\x04 but no more")
    for name, complaint in (("boxes.npz", "no npz file"), ("nowhere.json", "cannot be read")):
        with pytest.raises(DataError, match=f"{name}.*{complaint}"):
            open_method(f"file:{tmp_path / name}")


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("selectve_search", r"did you mean 'selective_search'\?"),
        ("selective_search?mode=qualty", r"did you mean 'quality'\?"),
        ("selective_search?mood=quality", r"did you mean 'mode'\?"),
        ("selective_search?size=0", "a number above 0"),
        ("selective_search:there", "reads no file"),
        ("windows?overlap=0.95", "a number above 0 and up to 0.9"),
        ("windows?smallest=0.001", "100000 are the most"),
        ("file", "name no file"),
        ("Windows!", "names no method"),
    ],
)
def test_a_wrong_method_or_option_is_answered_with_the_right_one(uri: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        open_method(uri)(np.zeros((20, 20, 3), np.uint8), ())


def test_without_the_contrib_modules_selective_search_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgewright\[proposals\]'"):
        open_method("selective_search")
    assert method_name("selective_search?size=80") == "selective_search"


@pytest.mark.parametrize("name", plugins.names(proposals.__name__))
def test_every_method_refuses_an_option_that_it_has_not(name: str) -> None:
    with pytest.raises(EdgeError):
        open_method(f"{name}?nonsense=1")
