"""The confusion matrix of objects against one that is counted pair by pair, and the curves of a report."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.test_metrics_coco import Truth, one_object, scenes

from edgewright.pipeline.metrics.coco import CocoResult
from edgewright.pipeline.metrics.confusion import best_thresholds, object_confusion
from edgewright.pipeline.metrics.curves import curves, read_curves
from edgewright.pipeline.metrics.matches import match_boxes
from edgewright.pipeline.metrics.ranked import coco_ranked
from edgewright.pipeline.per_image import matched, save_per_image
from edgewright.pipeline.report.schema import BundleIdentity, Report

NO_THRESHOLD = 0.0


def iou(a: Any, b: Any, crowd: bool) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / (a[2] * a[3] + (0 if crowd else b[2] * b[3] - both)) if both else 0.0


def counted(truth: Truth, results: list[CocoResult]) -> Any:
    """Pair by pair, the greatest overlap first; of equal ones the earlier detection, then the earlier object."""
    numbers = sorted(category["id"] for category in truth["categories"])
    matrix = np.zeros((len(numbers) + 1, len(numbers) + 1), int)
    for image in truth["images"]:
        found = [r for r in results if r["image_id"] == image["id"]]
        every = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        objects = [a for a in every if not a["iscrowd"]]
        pairs = sorted(
            (-iou(f["bbox"], o["bbox"], crowd=False), i, j) for i, f in enumerate(found) for j, o in enumerate(objects)
        )
        of_found: dict[int, int] = {}
        for overlap, i, j in pairs:
            if -overlap >= 0.5 and i not in of_found and j not in of_found.values():
                of_found[i] = j
                matrix[numbers.index(objects[j]["category_id"]), numbers.index(found[i]["category_id"])] += 1
        for j, missed in enumerate(objects):
            matrix[numbers.index(missed["category_id"]), -1] += j not in of_found.values()
        for i, one in enumerate(found):
            in_crowd = any(a["iscrowd"] and iou(one["bbox"], a["bbox"], crowd=True) >= 0.5 for a in every)
            matrix[-1, numbers.index(one["category_id"])] += i not in of_found and not in_crowd
    return matrix


@given(scenes())
def test_objects_are_counted_as_they_are_pair_by_pair(scene: tuple[Truth, list[CocoResult]]) -> None:
    truth, results = scene
    everything = np.full(len(truth["categories"]), NO_THRESHOLD)
    confusion = object_confusion(truth, results, everything)
    np.testing.assert_array_equal(confusion.sums.total(), counted(truth, results))
    assert confusion.labels[-1] == "background"


@given(scenes(), st.floats(0, 1))
def test_detections_below_the_threshold_of_their_class_are_left_out(
    scene: tuple[Truth, list[CocoResult]], cut: float
) -> None:
    truth, results = scene
    thresholds = np.full(len(truth["categories"]), cut)
    kept = [result for result in results if result["score"] >= cut]
    np.testing.assert_array_equal(
        object_confusion(truth, results, thresholds).sums.total(),
        object_confusion(truth, kept, thresholds * 0).sums.total(),
    )


def test_a_class_without_hits_shows_no_detections() -> None:
    truth, results = one_object()
    missed: list[CocoResult] = [{**results[0], "bbox": [500, 500, 10, 10]}]
    thresholds = best_thresholds(coco_ranked(match_boxes(truth, missed)))
    assert thresholds.tolist() == [np.inf]
    assert object_confusion(truth, missed, thresholds).sums.total().tolist() == [[0, 1], [0, 0]]


def test_curves_are_read_from_the_results_beside_the_report(tmp_path: Path) -> None:
    truth, results = one_object()
    false: CocoResult = {**results[0], "bbox": [500, 500, 10, 10], "score": 0.99}
    kept = save_per_image(tmp_path / "report.json.npz", matched(truth, None, [*results, false], max_detections=100))
    identity = BundleIdentity(name="nano", digest="a" * 64, task="detect", precision="fp32")
    report = Report(bundle=identity, data=None, settings={}, measurements=(), created="2026-01-01", per_image=kept)
    path = tmp_path / "report.json"
    path.write_text(report.model_dump_json())
    (curve,) = read_curves(path).precision_recall
    assert curve.label == "cat"
    assert curve.scores.tolist() == [0.99, results[0]["score"]]
    assert (curve.precision.tolist(), curve.recall.tolist()) == ([0.0, 0.5], [0.0, 1.0])
    (point,) = read_curves(path).operating_points
    assert (point.label, point.score) == ("cat", results[0]["score"])
    assert (point.precision, point.recall) == (0.5, 1.0)
    assert (point.f1, point.accuracy) == pytest.approx((2 / 3, 1 / 2))
    confusion = read_curves(path).confusion
    assert confusion is not None
    assert confusion.counts.tolist() == [[1, 0], [1, 0]]
    (tmp_path / "report.json.npz").unlink()
    assert read_curves(path).precision_recall == ()


def test_a_report_without_results_image_by_image_has_no_curves() -> None:
    from edgewright.pipeline.per_image import PerImage

    assert curves(PerImage()).confusion is None
