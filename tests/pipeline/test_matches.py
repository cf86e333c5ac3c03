"""Expected numbers are pycocotools', on the same labels and detections, or on copies of the images."""

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.test_metrics_coco import Truth, one_object, pycocotools_scores, scenes

from edgewright.pipeline.metrics.coco import CocoResult
from edgewright.pipeline.metrics.matched_scores import MatchedScores
from edgewright.pipeline.metrics.matches import Matches, match_boxes, match_masks
from edgewright.runtime.errors import DataError


def values(scores: MatchedScores, weights: Any = None) -> dict[str, float]:
    """The defined values by name."""
    counts = np.ones(scores.images, np.int64) if weights is None else np.asarray(weights, np.int64)
    pairs = zip(scores.names, scores.values(counts).tolist(), strict=True)
    return {name: value for name, value in pairs if not np.isnan(value)}


@given(scenes(), st.sampled_from([1, 3, 10, 100, 300]))
def test_scores_from_matches_are_those_of_pycocotools(scene: tuple[Truth, list[CocoResult]], limit: int) -> None:
    got = values(MatchedScores(match_boxes(*scene, max_detections=limit)))
    assert got == pytest.approx(pycocotools_scores(*scene, limit), abs=1e-9)


@given(scenes(), st.data())
def test_weights_count_an_image_as_often_as_a_data_set_with_copies_of_it(
    scene: tuple[Truth, list[CocoResult]], data: st.DataObject
) -> None:
    """Scores are made distinct: in which order equal scores of copies come is not defined."""
    truth, results = scene
    results = [{**result, "score": 1 / (n + 2)} for n, result in enumerate(results)]
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(truth["images"]), max_size=len(truth["images"])))
    ids = sorted(image["id"] for image in truth["images"])
    expected = pycocotools_scores(*copied(truth, results, dict(zip(ids, weights, strict=True))), 10)
    assert values(MatchedScores(match_boxes(truth, results, max_detections=10)), weights) == pytest.approx(
        expected, abs=1e-9
    )


def copied(truth: Truth, results: list[CocoResult], times: dict[int, int]) -> tuple[Truth, list[CocoResult]]:
    """The data set with every image as often as `times` says; the copies of an image have ids of their own."""
    images = [{"id": 1000 * copy + i} for i, n in times.items() for copy in range(n)]
    labels = [
        {**label, "image_id": 1000 * copy + label["image_id"]}
        for label in truth["annotations"]
        for copy in range(times[label["image_id"]])
    ]
    annotations = [{**label, "id": number} for number, label in enumerate(labels, start=1)]
    found: list[CocoResult] = [
        {**result, "image_id": 1000 * copy + result["image_id"]}
        for result in results
        for copy in range(times[result["image_id"]])
    ]
    return {**truth, "images": images, "annotations": annotations}, found


@given(scenes())
def test_a_subset_of_the_names_has_the_values_of_all(scene: tuple[Truth, list[CocoResult]]) -> None:
    matches = match_boxes(*scene)
    every = values(MatchedScores(matches))
    some = values(MatchedScores(matches, names={"AP-small", "AR10", "AP50"}))
    assert some == {name: every[name] for name in ("AP50", "AP-small", "AR10") if name in every}


@given(scenes(), st.data())
def test_matches_of_some_images_score_as_those_images_alone(
    scene: tuple[Truth, list[CocoResult]], data: st.DataObject
) -> None:
    matches = match_boxes(*scene)
    chosen = data.draw(st.lists(st.booleans(), min_size=len(matches.image_ids), max_size=len(matches.image_ids)))
    some = matches.of_images(np.flatnonzero(chosen))
    assert values(MatchedScores(some)) == pytest.approx(values(MatchedScores(matches), chosen), abs=1e-12)


def test_support_counts_the_images_that_a_value_rests_on() -> None:
    truth, results = one_object()
    truth["images"] += [{"id": 2}, {"id": 5}]
    truth["categories"].append({"id": 9, "name": "dog"})
    label = truth["annotations"][0]
    truth["annotations"] += [{**label, "id": 2, "image_id": 5}, {**label, "id": 3, "image_id": 5, "iscrowd": 1}]
    scores = MatchedScores(match_boxes(truth, results), names={"AP", "AP-small", "AP-large", "AP/cat", "AP/dog"})
    assert dict(zip(scores.names, scores.support().tolist(), strict=True)) == {
        "AP": 2,
        "AP-small": 2,
        "AP-large": 0,
        "AP/cat": 2,
        "AP/dog": 0,
    }


def test_detections_of_an_image_or_category_that_the_labels_lack_are_refused() -> None:
    truth, results = one_object()
    with pytest.raises(DataError, match="image 4 is not among those of the labels"):
        match_boxes(truth, [{**results[0], "image_id": 4}])
    with pytest.raises(DataError, match="category 4 is not among those of the labels"):
        match_boxes(truth, [{**results[0], "category_id": 4}])


def test_no_detections_and_no_objects_are_matched_too() -> None:
    truth, _ = one_object()
    assert values(MatchedScores(match_boxes(truth, [])))["AP"] == 0.0
    assert values(MatchedScores(match_boxes({**truth, "annotations": []}, []))) == {}


@st.composite
def masked_scenes(draw: st.DrawFn) -> tuple[Truth, list[dict[str, Any]]]:
    """The boxes of a scene filled, but for a corner of some: their masks overlap otherwise than their boxes."""
    from pycocotools import mask as coding

    truth, results = draw(scenes())

    def code(box: list[float]) -> dict[str, Any]:
        pixels = np.zeros((180, 200), np.uint8, order="F")
        x, y, w, h = (round(value) for value in box)
        pixels[y : y + h, x : x + w] = 1
        if draw(st.booleans()):
            pixels[y : y + h // 2, x : x + w // 2] = 0
        return coding.encode(pixels)  # type: ignore[no-any-return]

    labels = [{**label, "segmentation": code(label["bbox"])} for label in truth["annotations"]]
    found = [{**result, "segmentation": code(result["bbox"])} for result in results]
    images = [{**image, "height": 180, "width": 200} for image in truth["images"]]
    truth = {**truth, "images": images, "annotations": labels}
    return truth, [{k: v for k, v in one.items() if k != "bbox"} for one in found]


@given(masked_scenes())
def test_scores_of_masks_are_those_of_pycocotools(scene: tuple[Truth, list[dict[str, Any]]]) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, results = scene
    matches: Matches = match_masks(truth, results)
    if not results:
        return
    with contextlib.redirect_stdout(io.StringIO()):
        labels = COCO()
        labels.dataset = copy.deepcopy(truth)
        labels.createIndex()
        evaluation = COCOeval(labels, labels.loadRes(copy.deepcopy(results)), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    got = values(MatchedScores(matches, prefix="mask-"))
    names = ("mask-AP", "mask-AP50", "mask-AP75", "mask-AP-small", "mask-AP-medium", "mask-AP-large")
    expected = {name: value for name, value in zip(names, evaluation.stats.tolist(), strict=False) if value != -1}
    assert {name: got[name] for name in names if name in got} == pytest.approx(expected, abs=1e-9)
