"""Panoptic quality against torchmetrics, and against the rules of panopticapi written out pixel by pixel."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgewright.pipeline.metrics.image_sums import sums_of
from edgewright.pipeline.metrics.panoptic import LabelledSegment, SegmentCounts, count_segments, segment_scores
from edgewright.runtime.errors import DataError

CLASSES = 3
LABELS = ("person", "car", "sky")
THINGS = np.array([True, True, False])
Labelled = tuple[Any, list[LabelledSegment]]


@st.composite
def labelled(draw: st.DrawFn, *, crowds: bool = False) -> Labelled:
    """A map of rectangles that lie over each other, so that segments often overlap by about a half."""
    ids = draw(arrays(np.int32, (5, 6), elements=st.integers(0, 1)))
    for number in range(2, draw(st.integers(2, 5))):
        top, left = draw(st.integers(0, 3)), draw(st.integers(0, 4))
        ids[top : top + draw(st.integers(1, 4)), left : left + draw(st.integers(1, 4))] = number
    segments: list[LabelledSegment] = []
    for number in sorted(set(ids.ravel().tolist()) - {0}):
        class_id = draw(st.integers(0, CLASSES - 1))
        # COCO has one crowd of a class in an image, and of things only.
        known = {s.class_id for s in segments if s.is_crowd}
        crowd = crowds and class_id < 2 and class_id not in known and draw(st.booleans())
        segments.append(LabelledSegment(number, class_id, crowd))
    return ids, segments


def counted(*images: tuple[Labelled, Labelled]) -> SegmentCounts:
    tables = [count_segments(*truth, *found, classes=CLASSES) for truth, found in images]
    return SegmentCounts(LABELS, THINGS, sums_of(range(len(tables)), tables, (CLASSES, 4)))


def values(*images: tuple[Labelled, Labelled]) -> dict[str, float]:
    return {m.name: m.value for m in segment_scores(counted(*images))[0]}


def by_pixels(truth: Labelled, found: Labelled) -> list[list[float]]:
    """panopticapi's evaluation of one image (pq_compute_single_core), with sets of pixels."""
    table = [[0.0] * 4 for _ in range(CLASSES)]
    pixels = [
        {s.segment_id: set(np.flatnonzero(ids.ravel() == s.segment_id).tolist()) for s in segments}
        for ids, segments in (truth, found)
    ]
    void = set(np.flatnonzero(truth[0].ravel() == 0).tolist())
    crowd_of = {s.class_id: s.segment_id for s in truth[1] if s.is_crowd}
    matched: tuple[set[int], set[int]] = set(), set()
    for t in truth[1]:
        for f in found[1]:
            if t.is_crowd or t.class_id != f.class_id:
                continue
            ours, theirs = pixels[0][t.segment_id], pixels[1][f.segment_id]
            union = len(theirs) + len(ours) - len(ours & theirs) - len(void & theirs)
            iou = len(ours & theirs) / union
            if iou > 0.5:
                table[t.class_id][0] += iou
                table[t.class_id][1] += 1
                matched[0].add(t.segment_id)
                matched[1].add(f.segment_id)
    for t in truth[1]:
        if t.segment_id not in matched[0] and not t.is_crowd:
            table[t.class_id][3] += 1
    for f in found[1]:
        if f.segment_id in matched[1]:
            continue
        theirs = pixels[1][f.segment_id]
        excused = len(void & theirs)
        if f.class_id in crowd_of:
            excused += len(pixels[0][crowd_of[f.class_id]] & theirs)
        if excused / len(theirs) <= 0.5:
            table[f.class_id][2] += 1
    return table


@given(labelled(crowds=True), labelled())
def test_segments_are_counted_as_panopticapi_counts_them(truth: Labelled, found: Labelled) -> None:
    got = count_segments(*truth, *found, classes=CLASSES)
    np.testing.assert_allclose(got, by_pixels(truth, found), atol=1e-12)


@st.composite
def without_void(draw: st.DrawFn) -> Labelled:
    """Without void, and with stuff as one segment of its class, where the rules of torchmetrics are the same."""
    ids, segments = draw(labelled())
    ids = np.where(ids == 0, 1, ids)
    classes = {s.segment_id: s.class_id for s in segments} | {1: 2}
    ids = np.where(np.isin(ids, [n for n, k in classes.items() if k == 2]), 1, ids)
    numbers = sorted(set(ids.ravel().tolist()))
    return ids, [LabelledSegment(number, classes[number]) for number in numbers]


@given(st.lists(st.tuples(without_void(), without_void()), min_size=1, max_size=2))
def test_quality_is_that_of_torchmetrics(images: list[tuple[Labelled, Labelled]]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    detection = pytest.importorskip("torchmetrics.detection", reason="torchmetrics is not installed")
    metric = detection.PanopticQuality(
        things={0, 1}, stuffs={2}, return_sq_and_rq=True, return_per_class=True, allow_unknown_preds_category=True
    )
    for truth, found in images:
        metric.update(*(torch.from_numpy(_pairs(one))[None] for one in (found, truth)))
    expected = dict(zip(LABELS, metric.compute().numpy(), strict=True))
    counts = counted(*images)
    got = {m.name: m.value for m in segment_scores(counts)[0]}
    present = [label for label, row in zip(LABELS, counts.sums.total(), strict=True) if row[1:].any()]
    assert {name.partition("/")[2] for name in got if "/" in name} == set(present)
    for number, name in enumerate(("PQ", "SQ", "RQ")):
        assert got[name] == pytest.approx(np.mean([expected[label][number] for label in present]))
    for label in present:
        assert got[f"PQ/{label}"] == pytest.approx(expected[label][0])


def _pairs(one: Labelled) -> Any:
    """Class and instance of every pixel, as torchmetrics wants them."""
    ids, segments = one
    classes = np.zeros(ids.max() + 1, np.int64)
    for segment in segments:
        classes[segment.segment_id] = segment.class_id
    return np.stack([classes[ids], np.where(classes[ids] == 2, 0, ids)], axis=-1)


def test_quality_is_the_product_of_segmentation_and_recognition_of_a_class() -> None:
    """Two persons of ten pixels: one found with 8 of them, one missed; one invented."""
    truth, found = np.zeros((3, 10), np.int32), np.zeros((3, 10), np.int32)
    truth[0], truth[1] = 1, 2
    found[0, :8], found[2] = 1, 2
    truth[2] = 3
    people = [LabelledSegment(1, 0), LabelledSegment(2, 0)]
    got = values(((truth, [*people, LabelledSegment(3, 2)]), (found, people)))
    assert got["PQ/person"] == pytest.approx(0.8 / (1 + 0.5 + 0.5))
    assert got["PQ-things"] == got["PQ/person"]
    assert got["PQ-stuff"] == 0.0
    assert got["SQ"] == pytest.approx(0.8 / 2)
    assert got["RQ"] == pytest.approx(0.5 / 2)


def test_what_lies_in_void_or_in_a_crowd_is_no_false_alarm() -> None:
    truth = np.array([[0, 0, 0, 1, 1, 1, 2, 2, 2, 2]], np.int32)
    found = np.array([[1, 1, 1, 2, 2, 2, 3, 3, 3, 3]], np.int32)
    crowd = [LabelledSegment(1, 0, is_crowd=True), LabelledSegment(2, 1)]
    counts = count_segments(
        truth, crowd, found, [LabelledSegment(n, k) for n, k in ((1, 2), (2, 0), (3, 1))], classes=3
    )
    assert counts.tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


@given(st.lists(st.tuples(labelled(crowds=True), labelled()), min_size=1, max_size=3), st.data())
def test_weights_count_an_image_as_often_as_copies_of_it(
    images: list[tuple[Labelled, Labelled]], data: st.DataObject
) -> None:
    weights = data.draw(st.lists(st.integers(0, 2), min_size=len(images), max_size=len(images)))
    again = [image for image, times in zip(images, weights, strict=True) for _ in range(times)]
    counts = counted(*images)
    scores = counts.scores()
    got = dict(zip(scores.names, scores.values(np.array(weights)).tolist(), strict=True))
    wanted = counted(*again).scores() if again else None
    values = dict(zip(wanted.names, wanted.values(np.ones(len(again), np.int64)), strict=True)) if wanted else {}
    assert {name: value for name, value in got.items() if not np.isnan(value)} == pytest.approx(values)


def test_maps_that_disagree_with_their_lists_and_labels_without_segments_are_refused() -> None:
    ids, one = np.ones((2, 2), np.int32), [LabelledSegment(1, 0)]
    with pytest.raises(DataError, match="the map of the result holds segment 1, which its list of segments lacks"):
        count_segments(ids, one, ids, [], classes=1)
    with pytest.raises(DataError, match="wanted unique numbers from 1 on"):
        count_segments(ids, one * 2, ids, one, classes=1)
    with pytest.raises(DataError, match="hold no segment that counts"):
        values(((ids * 0, []), (ids, one)))
