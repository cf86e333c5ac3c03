"""Average precision by the definitions of PASCAL VOC, and what follows from the same rankings."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.test_matches import copied
from tests.pipeline.test_metrics_coco import Truth, pycocotools_scores, scenes

from edgewright.pipeline.metrics.coco import CocoResult
from edgewright.pipeline.metrics.matches import match_boxes
from edgewright.pipeline.metrics.ranked import Ranked, RankedScores, coco_ranked, voc_ranked
from edgewright.pipeline.metrics.voc import (
    Ranking,
    average_precision,
    best_f1,
    curve,
    mean_average_precision,
)


def ranking(marks: str, objects: int, scores: list[float] | None = None) -> Ranking:
    """T and F by falling score."""
    values = np.linspace(0.9, 0.1, len(marks)) if scores is None else np.array(scores)
    return Ranking(values, np.array([mark == "T" for mark in marks], bool), objects)


def test_the_dogs_of_the_lecture() -> None:
    """Five boxes of three dogs, T T F F T: AP 0.867, as a lecture on detection works out.

    At eleven recalls: seven with a precision of 1, four with 3 of 5.
    """
    dogs = ranking("TTFFT", 3)
    assert average_precision(dogs) == pytest.approx(0.867, abs=0.0005)
    assert average_precision(dogs, points="eleven") == pytest.approx((7 + 4 * 0.6) / 11)


def devkit_ap(true: list[bool], objects: int, eleven: bool) -> float:
    """The loops of VOCevaldet.m and VOCap.m."""
    recall, precision, hits = [], [], 0
    for number, mark in enumerate(true, start=1):
        hits += mark
        recall.append(hits / objects)
        precision.append(hits / number)
    if eleven:
        return (
            sum(max([p for r, p in zip(recall, precision, strict=True) if r >= t / 10] or [0]) for t in range(11)) / 11
        )
    recall, precision = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 20))
def test_average_precision_is_that_of_the_development_kit(true: list[bool], missed: int) -> None:
    objects = sum(true) + missed
    made = Ranking(-np.arange(len(true), dtype=np.float64), np.array(true, bool), objects)
    for points in ("all", "eleven"):
        got = average_precision(made, points=points)
        assert math.isnan(got) if not objects else got == pytest.approx(devkit_ap(true, objects, points == "eleven"))


def devkit_marks(truth: Truth, results: list[CocoResult], category_id: int) -> list[bool]:
    """The matching loop of VOCevaldet.m on corners with inclusive pixels."""
    objects = [a for a in truth["annotations"] if a["category_id"] == category_id]
    seen: set[int] = set()
    marks = []
    for found in sorted((r for r in results if r["category_id"] == category_id), key=lambda r: -r["score"]):
        best, target = -1.0, None
        for candidate in (a for a in objects if a["image_id"] == found["image_id"]):
            overlap = inclusive_iou(corners(found["bbox"]), corners(candidate["bbox"]))
            if overlap > best:
                best, target = overlap, candidate
        if target is not None and best >= 0.5:
            if target["iscrowd"]:
                continue
            marks.append(target["id"] not in seen)
            seen.add(target["id"])
        else:
            marks.append(False)
    return marks


def by_name(ranked: Ranked) -> dict[str, Ranking]:
    return {name: ranked.ranking(k) for k, name in enumerate(ranked.categories)}


def corners(box: list[float]) -> tuple[float, float, float, float]:
    """The first and last pixel, counted from 1 as in VOC's files."""
    x, y, w, h = box
    return x + 1, y + 1, x + w, y + h


def inclusive_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return -1.0
    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
    return width * height / (sum(areas) - width * height)


@given(scenes())
def test_detections_are_matched_as_the_development_kit_matches_them(scene: tuple[Truth, list[CocoResult]]) -> None:
    truth, results = scene
    rankings = by_name(voc_ranked(truth, results))
    for category in truth["categories"]:
        made = rankings[category["name"]]
        assert made.true.tolist() == devkit_marks(truth, results, category["id"])
        counted = [a for a in truth["annotations"] if a["category_id"] == category["id"] and not a["iscrowd"]]
        assert made.objects == len(counted)


def test_a_difficult_object_neither_counts_nor_makes_a_detection_false() -> None:
    truth: dict[str, Any] = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "difficult": 1},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [50, 0, 10, 10], "difficult": 0},
        ],
    }
    found = [{"image_id": 1, "category_id": 1, "bbox": a["bbox"], "score": 0.5} for a in truth["annotations"]]
    made = by_name(voc_ranked(truth, found))["dog"]
    assert (made.true.tolist(), made.objects) == ([True], 1)


def test_the_mean_is_over_the_classes_that_have_objects() -> None:
    rankings = {"dog": ranking("TTFFT", 3), "cat": ranking("FF", 0), "cow": ranking("", 2)}
    assert mean_average_precision(rankings) == pytest.approx((0.8667 + 0) / 2, abs=0.0005)
    assert math.isnan(mean_average_precision({"cat": ranking("F", 0)}))


@given(scenes())
def test_rankings_by_the_rules_of_coco_have_the_recall_of_pycocotools(scene: tuple[Truth, list[CocoResult]]) -> None:
    """AP50 lies within the steps of 101 recalls of the area under the whole curve."""
    truth, results = scene
    matches, expected = match_boxes(truth, results), pycocotools_scores(truth, results, 100)
    made = list(by_name(coco_ranked(matches)).values())
    areas = [average_precision(one) for one in made if one.objects]
    if areas:
        assert np.mean(areas) == pytest.approx(expected["AP50"], abs=0.02)


def test_the_curve_takes_equal_scores_together() -> None:
    made = curve(ranking("TFTF", 4, [0.9, 0.5, 0.5, 0.1]))
    assert made.scores.tolist() == [0.9, 0.5, 0.1]
    assert made.precision.tolist() == pytest.approx([1, 2 / 3, 1 / 2])
    assert made.recall.tolist() == pytest.approx([1 / 4, 2 / 4, 2 / 4])


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.9]), st.booleans()), max_size=20), st.integers(0, 5))
def test_no_threshold_has_a_better_f1_than_the_best(found: list[tuple[float, bool]], missed: int) -> None:
    found = sorted(found, key=lambda one: -one[0])
    objects = sum(mark for _, mark in found) + missed
    best = best_f1(Ranking(np.array([s for s, _ in found]), np.array([m for _, m in found], bool), objects))
    if not any(mark for _, mark in found):
        assert best is None
        return
    kept = {score: [mark for s, mark in found if s >= score] for score, _ in found}
    f1 = {score: 2 * sum(marks) / (len(marks) + objects) for score, marks in kept.items()}
    assert best is not None
    assert best.f1 == pytest.approx(max(f1.values()))
    assert best.f1 == pytest.approx(f1[best.score])
    assert best.precision == pytest.approx(sum(kept[best.score]) / len(kept[best.score]))


def values(ranked: Ranked, weights: Any = None) -> dict[str, float]:
    """The defined values by name."""
    scores = RankedScores(ranked)
    counts = np.ones(scores.images, np.int64) if weights is None else np.asarray(weights, np.int64)
    pairs = zip(scores.names, scores.values(counts).tolist(), strict=True)
    return {name: value for name, value in pairs if not math.isnan(value)}


@given(scenes())
def test_scores_of_all_classes_at_once_are_those_of_each_ranking(scene: tuple[Truth, list[CocoResult]]) -> None:
    ranked = voc_ranked(*scene)
    rankings, got = by_name(ranked), values(ranked)
    for name, made in rankings.items():
        assert got.get(f"VOC-AP/{name}", math.nan) == pytest.approx(average_precision(made), nan_ok=True)
    assert got.get("VOC-AP", math.nan) == pytest.approx(mean_average_precision(rankings), nan_ok=True)
    eleven = mean_average_precision(rankings, points="eleven")
    assert got.get("VOC-AP11", math.nan) == pytest.approx(eleven, nan_ok=True)


@given(scenes())
def test_the_best_f1_of_all_classes_is_that_of_each_ranking(scene: tuple[Truth, list[CocoResult]]) -> None:
    ranked = coco_ranked(match_boxes(*scene))
    got = values(ranked)
    for name, made in by_name(ranked).items():
        best = best_f1(made)
        if best is None:
            assert got.get(f"F1/{name}", 0.0) == 0.0
            continue
        assert got[f"F1/{name}"] == pytest.approx(best.f1)
        assert got[f"precision/{name}"] == pytest.approx(best.precision)
        assert got[f"recall/{name}"] == pytest.approx(best.recall)
        # Of TP / (TP + FP + FN) and 2 TP / (2 TP + FP + FN), the one says the other.
        assert got[f"accuracy/{name}"] == pytest.approx(best.f1 / (2 - best.f1))


@given(scenes(), st.data())
def test_weights_count_an_image_as_often_as_copies_of_it(
    scene: tuple[Truth, list[CocoResult]], data: st.DataObject
) -> None:
    """Copies share a score, which no cut parts, so F1 is defined; AP is that of images without copies only."""
    truth, results = scene
    results = [{**result, "score": 1 / (n + 2)} for n, result in enumerate(results)]
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(truth["images"]), max_size=len(truth["images"])))
    ids = sorted(image["id"] for image in truth["images"])
    again = copied(truth, results, dict(zip(ids, weights, strict=True)))
    got = values(coco_ranked(match_boxes(truth, results)), weights)
    assert got == pytest.approx(values(coco_ranked(match_boxes(*again))) if again[0]["images"] else {})
    once = np.minimum(weights, 1)
    some = copied(truth, results, dict(zip(ids, once.tolist(), strict=True)))
    if some[0]["images"]:
        assert values(voc_ranked(truth, results), once) == pytest.approx(values(voc_ranked(*some)))
    ranked = voc_ranked(truth, results)
    assert values(ranked.of_images(np.flatnonzero(once))) == pytest.approx(values(ranked, once))
