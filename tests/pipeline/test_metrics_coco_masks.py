"""Masks and their scores; every expected number is pycocotools' own."""

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgewright.pipeline.metrics.coco import CocoResult
from edgewright.pipeline.metrics.coco_masks import mask_scores, run_lengths, with_masks
from edgewright.runtime.errors import DataError
from edgewright.runtime.results import BoxMask

Truth = dict[str, Any]
SIZE = (40, 60)


@given(
    arrays(bool, st.tuples(st.integers(0, 9), st.integers(0, 9))),
    st.integers(-5, 14),
    st.integers(-5, 14),
    st.integers(1, 12),
    st.integers(1, 12),
)
def test_a_mask_is_stored_as_pycocotools_stores_it(pixels: Any, x: int, y: int, height: int, width: int) -> None:
    from pycocotools import mask as reference

    mask = BoxMask((x, y), pixels)
    whole = mask.paste((height, width))
    wanted = reference.encode(np.asfortranarray(whole.astype(np.uint8)))
    assert run_lengths(mask, (height, width)) == {"size": [height, width], "counts": wanted["counts"].decode()}


def disc(x: float, y: float, radius: float) -> Any:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


shapes = st.builds(disc, st.sampled_from([10, 14, 40]), st.sampled_from([10, 20, 33]), st.sampled_from([3, 8, 15]))


def segmentation(pixels: Any) -> Any:
    return run_lengths(BoxMask((0, 0), pixels), SIZE)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Truth, list[CocoResult]]:
    """Few places and sizes, so that overlaps, ties and crowds are frequent."""
    labels = draw(
        st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2), shapes, st.booleans()), min_size=1, max_size=6)
    )
    found = draw(
        st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2), shapes, st.sampled_from([0.2, 0.5, 0.9])), max_size=8)
    )
    truth = {
        "info": {},
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in (1, 2)],
        "categories": [{"id": i, "name": f"class {i}"} for i in (1, 2)],
        "annotations": [
            {
                "id": number, "image_id": image, "category_id": category, "bbox": [0, 0, 9, 9],
                "area": float(pixels.sum()), "iscrowd": int(crowd and number > 1), "segmentation": segmentation(pixels),
            }
            for number, (image, category, pixels, crowd) in enumerate(labels, start=1)
        ],
    }  # fmt: skip
    results: list[CocoResult] = [
        {
            "image_id": image, "category_id": category, "bbox": [1, 2, 3, 4], "score": score,
            "segmentation": segmentation(pixels),
        }
        for image, category, pixels, score in found
    ]  # fmt: skip
    return truth, results


@given(scenes(), st.sampled_from([1, 3, 10, 100]))
def test_scores_are_those_of_pycocotools(scene: tuple[Truth, list[CocoResult]], max_detections: int) -> None:
    truth, results = scene
    masks = with_masks(truth)
    assert masks is not None
    got = {m.name: m.value for m in mask_scores(masks, results, max_detections=max_detections).measurements}
    assert got == pytest.approx(pycocotools_scores(truth, results, max_detections), abs=1e-6)


def pycocotools_scores(truth: Truth, results: list[CocoResult], max_detections: int) -> dict[str, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        labels = COCO()
        labels.dataset = copy.deepcopy(truth)
        labels.createIndex()
        bare = [{key: value for key, value in result.items() if key != "bbox"} for result in copy.deepcopy(results)]
        # loadRes of pycocotools cannot take an empty list.
        found = labels.loadRes(bare) if bare else copy.copy(labels)
        if not bare:
            found.dataset = {**labels.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(labels, found, "segm")
        evaluation.params.maxDets = sorted({n for n in (1, 10, max_detections) if n <= max_detections})
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall, params = evaluation.eval["precision"], evaluation.eval["recall"], evaluation.params
    tables = {
        "AP": precision[:, :, :, 0, -1],
        "AP50": precision[0, :, :, 0, -1],
        "AP75": precision[5, :, :, 0, -1],
        **{f"AP-{area}": precision[:, :, :, a, -1] for a, area in enumerate(params.areaRngLbl) if a},
        **{f"AR-{area}": recall[:, :, a, -1] for a, area in enumerate(params.areaRngLbl) if a},
        **{f"AR{limit}": recall[:, :, 0, m] for m, limit in enumerate(params.maxDets)},
        **{f"AP/class {c}": precision[:, :, k, 0, -1] for k, c in enumerate(params.catIds)},
    }
    return {f"mask-{name}": float(np.mean(t[t > -1])) for name, t in tables.items() if (t > -1).any()}


def labelled(*masks: Any, **image: Any) -> Truth:
    return {
        "info": {},
        "images": [{"id": 7, "height": 10, "width": 20, **image}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {
                "id": number, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 4, "iscrowd": 0,
                **({} if mask is None else {"segmentation": mask}),
            }
            for number, mask in enumerate(masks, start=1)
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    "mask",
    [
        [[2, 1, 8, 1, 8, 7, 2, 7]],
        [[2, 1, 8, 1, 8, 7], [10.5, 2, 14, 2, 12, 6.5]],
        {"size": [10, 20], "counts": [21, 5, 174]},
        {"size": [10, 20], "counts": "1V6"},
    ],
)
# pycocotools does not know NumPy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_every_form_of_mask_means_what_it_means_to_pycocotools(mask: Any) -> None:
    from pycocotools import mask as reference
    from pycocotools.coco import COCO

    if isinstance(mask, dict) and isinstance(mask["counts"], str):
        mask["counts"] = reference.encode(np.asfortranarray(np.eye(10, 20, dtype=np.uint8)))["counts"].decode()
    truth = labelled(mask)
    labels = COCO()
    labels.dataset = copy.deepcopy(truth)
    with contextlib.redirect_stdout(io.StringIO()):
        labels.createIndex()
    masks = with_masks(truth)
    assert masks is not None
    got = reference.decode(masks["annotations"][0]["segmentation"])
    np.testing.assert_array_equal(got, labels.annToMask(labels.dataset["annotations"][0]))


def test_labels_without_any_mask_have_none_to_score() -> None:
    assert with_masks(labelled(None, [])) is None


@pytest.mark.parametrize(
    ("truth", "sentence"),
    [
        (labelled([[1, 1, 5, 1, 5, 5]], None), "annotation 2 of image 7 has no segmentation, others have"),
        (labelled([[1, 1, 5, 1]]), "neither run lengths nor polygons"),
        (labelled([1, 1, 5, 1, 5, 5]), "neither run lengths nor polygons"),
        (labelled([["a"] * 6]), "neither run lengths nor polygons"),
        (labelled({"size": [20, 10], "counts": [200]}), r"made for \[20, 10\], the image is \[10, 20\]"),
        (labelled({"size": [10, 20], "counts": [150, 20]}), "damaged .they cover 170 pixels of 200"),
        (labelled({"size": [10, 20], "counts": [-1, 201]}), "are damaged"),
        (labelled({"size": [10, 20], "counts": []}), "are damaged"),
        (labelled({"size": [10, 20], "counts": "abc"}), "are damaged"),
        (labelled({"size": [10, 20], "counts": None}), "are damaged"),
        (labelled({"size": [10, 20]}), "are damaged"),
        (labelled([[1, 1, 5, 1, 5, 5]], width=None), "image 7 states no height and width"),
    ],
)
def test_a_damaged_mask_is_named(truth: Truth, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        with_masks(truth)
