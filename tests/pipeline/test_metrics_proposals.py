"""Recall of regions whatever their class, against pycocotools without categories and the definition."""

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.test_matches import copied
from tests.pipeline.test_metrics_coco import Truth, scenes

from edgewright.pipeline.metrics.coco import CocoResult
from edgewright.pipeline.metrics.proposals import RegionCounts, count_regions


def values(counts: RegionCounts, weights: Any = None) -> dict[str, float]:
    scores = counts.scores()
    ones = np.ones(scores.images, np.int64)
    return dict(
        zip(scores.names, scores.values(ones if weights is None else np.asarray(weights)).tolist(), strict=True)
    )


def recalls(truth: Truth, results: list[CocoResult], limits: list[int]) -> Any:
    """pycocotools' recall (IoU, limit) of all sizes with useCats = 0, None without objects."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        labels = COCO()
        labels.dataset = copy.deepcopy(truth)
        labels.createIndex()
        evaluation = COCOeval(labels, labels.loadRes(copy.deepcopy(results)), "bbox")
        evaluation.params.useCats = 0
        evaluation.params.maxDets = limits
        evaluation.evaluate()
        evaluation.accumulate()
    found = evaluation.eval["recall"][:, 0, 0, :]
    return None if (found == -1).any() else found


@given(scenes(), st.sampled_from([1, 3, 10, 100, 1000]))
def test_recall_is_that_of_pycocotools_without_categories(scene: tuple[Truth, list[CocoResult]], most: int) -> None:
    truth, results = scene
    # Which of equal scores of different classes comes first, pycocotools does not say.
    results = [{**result, "score": 1 / (n + 2)} for n, result in enumerate(results)]
    limits = sorted({limit for limit in (10, 100, 1000, most) if limit <= most})
    got = values(count_regions(truth, results, prefix="any-", most=most))
    expected = recalls(truth, results, limits) if results else None
    if expected is None:
        assert not any(got.values())
        return
    assert got == pytest.approx(
        {
            **{f"any-AR{limit}": expected[:, m].mean() for m, limit in enumerate(limits)},
            "any-recall50": expected[0, -1],
            "any-recall70": expected[4, -1],
        }
    )


@given(scenes(), st.data())
def test_weights_count_an_image_as_often_as_copies_of_it(
    scene: tuple[Truth, list[CocoResult]], data: st.DataObject
) -> None:
    truth, results = scene
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(truth["images"]), max_size=len(truth["images"])))
    again = copied(truth, results, dict(zip(sorted(i["id"] for i in truth["images"]), weights, strict=True)))
    if again[0]["images"]:
        got = values(count_regions(truth, results, prefix=""), weights)
        expected = values(count_regions(*again, prefix=""))
        assert {name: value for name, value in got.items() if not np.isnan(value)} == pytest.approx(expected)


def test_a_box_of_the_wrong_class_covers_an_object_all_the_same() -> None:
    truth: dict[str, Any] = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1, "bbox": box, "area": 100, "iscrowd": 0}
            for n, box in ((1, [0, 0, 10, 10]), (2, [50, 0, 10, 10]))
        ],
    }
    found = [{"image_id": 1, "category_id": 2, "bbox": [0, 0, 10, 6.5], "score": 0.5}]
    got = values(count_regions(truth, found, prefix="proposal-"))
    # An overlap of 0.65 reaches the thresholds 0.5 to 0.65, four of ten.
    assert got == pytest.approx(
        {**{f"proposal-AR{n}": 0.2 for n in (10, 100, 1000)}, "proposal-recall50": 0.5, "proposal-recall70": 0.0}
    )
