"""Every expected number is computed by pycocotools on the same labels and detections."""

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.pipeline.metrics.coco import CocoResult, box_scores
from edgewright.runtime.errors import DataError

Truth = dict[str, Any]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Truth, list[CocoResult]]:
    """Few places, few sizes and few scores, so that overlaps, ties and every area class are frequent."""
    images = [{"id": i} for i in draw(st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True))]
    category_ids = draw(st.lists(st.integers(0, 90), min_size=1, max_size=3, unique=True))
    boxes = st.tuples(
        st.sampled_from([0, 7.5, 40]),
        st.sampled_from([0, 3, 40]),
        st.sampled_from([8, 32, 96, 150]),
        st.integers(4, 120),
    ).map(list)
    image_ids, classes = st.sampled_from([i["id"] for i in images]), st.sampled_from(category_ids)
    labels = st.fixed_dictionaries(
        {
            "image_id": image_ids,
            "category_id": classes,
            "bbox": boxes,
            "iscrowd": st.sampled_from([0, 0, 0, 1]),
            # The area of an object may be less than that of its box: it decides between small, medium and large.
            "area": st.sampled_from([64.0, 1024.0, 5000.0, 9216.0, 20000.0]),
        }
    )
    score = st.one_of(st.sampled_from([0.25, 0.5]), st.floats(0, 1, width=32))
    found = st.builds(CocoResult, image_id=image_ids, category_id=classes, bbox=boxes, score=score)
    truth = {
        "info": {},
        "images": images,
        "categories": [{"id": number, "name": f"class {number}"} for number in category_ids],
        "annotations": [
            {"id": number, **label} for number, label in enumerate(draw(st.lists(labels, max_size=12)), start=1)
        ],
    }
    return truth, draw(st.lists(found, max_size=30))


@given(scenes(), st.sampled_from([1, 3, 10, 100, 300]))
def test_scores_are_those_of_pycocotools(scene: tuple[Truth, list[CocoResult]], max_detections: int) -> None:
    truth, results = scene
    expected = pycocotools_scores(truth, results, max_detections)
    if "AP" not in expected:
        with pytest.raises(DataError, match="no object that counts"):
            box_scores(truth, results, max_detections=max_detections)
        return
    scores = box_scores(truth, results, max_detections=max_detections)
    got = {measurement.name: measurement.value for measurement in scores.measurements}
    assert got == pytest.approx(expected, abs=1e-6)


@given(scenes())
def test_scoring_leaves_labels_and_detections_as_they_were(scene: tuple[Truth, list[CocoResult]]) -> None:
    truth, results = scene
    before = copy.deepcopy(scene)
    with contextlib.suppress(DataError):
        box_scores(truth, results)
    assert (truth, results) == before


def test_scoring_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    box_scores(*one_object())
    assert capfd.readouterr() == ("", "")


def test_what_has_no_objects_is_left_out_and_said() -> None:
    truth, results = one_object()
    truth["categories"].append({"id": 9, "name": "unicorn"})
    scores = box_scores(truth, results)
    names = {measurement.name for measurement in scores.measurements}
    assert {"AP", "AP-small", "AP/cat"} <= names
    assert not {"AP-medium", "AP-large", "AR-medium", "AP/unicorn"} & names
    assert "1 of 2 classes have no objects and do not count: unicorn" in scores.notes
    assert any("AP-medium" in note and "AR-large" in note for note in scores.notes)


def test_finding_nothing_scores_zero_and_is_said() -> None:
    truth, _ = one_object()
    scores = box_scores(truth, [])
    assert {measurement.value for measurement in scores.measurements} == {0.0}
    assert "the network found nothing at all" in scores.notes


def test_more_detections_than_the_limit_lower_the_score_only_beyond_it() -> None:
    """One object found by the 11th best box: recall is 0 at 10 detections and 1 at 11."""
    truth, results = one_object()
    misses = [CocoResult(image_id=1, category_id=3, bbox=[50, 50, 5, 5], score=0.9) for _ in range(10)]
    values = {m.name: m.value for m in box_scores(truth, [*misses, *results], max_detections=11).measurements}
    assert (values["AR1"], values["AR10"], values["AR11"]) == (0.0, 0.0, 1.0)


def one_object() -> tuple[Truth, list[CocoResult]]:
    truth = {
        "info": {},
        "images": [{"id": 1}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0}],
    }
    return truth, [CocoResult(image_id=1, category_id=3, bbox=[0, 0, 10, 10], score=0.5)]


def pycocotools_scores(truth: Truth, results: list[CocoResult], max_detections: int) -> dict[str, float]:
    """All scores that are defined, by the names that the reports use."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        labels = COCO()
        labels.dataset = copy.deepcopy(truth)
        labels.createIndex()
        # loadRes of pycocotools cannot take an empty list.
        found = labels.loadRes(copy.deepcopy(results)) if results else copy.copy(labels)
        if not results:
            found.dataset = {**labels.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(labels, found, "bbox")
        evaluation.params.maxDets = sorted({n for n in (1, 10, max_detections) if n <= max_detections})
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall, params = evaluation.eval["precision"], evaluation.eval["recall"], evaluation.params
    names = {category["id"]: category["name"] for category in truth["categories"]}
    tables = {
        "AP": precision[:, :, :, 0, -1],
        "AP50": precision[0, :, :, 0, -1],
        "AP75": precision[5, :, :, 0, -1],
        **{f"AP-{area}": precision[:, :, :, a, -1] for a, area in enumerate(params.areaRngLbl) if a},
        **{f"AR-{area}": recall[:, :, a, -1] for a, area in enumerate(params.areaRngLbl) if a},
        **{f"AR{limit}": recall[:, :, 0, m] for m, limit in enumerate(params.maxDets)},
        **{f"AP/{names[c]}": precision[:, :, k, 0, -1] for k, c in enumerate(params.catIds)},
    }
    return {name: float(np.mean(table[table > -1])) for name, table in tables.items() if (table > -1).any()}
