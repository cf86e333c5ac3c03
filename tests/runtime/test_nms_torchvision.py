"""Hard suppression keeps what torchvision's CPU kernels keep, to the last bit; the expected values are theirs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.nms.hard import keep_indices, suppress

REASON = "torchvision, which gives the expected values, is not installed: pip install 'edgewright[export]'"
torch: Any = pytest.importorskip("torch", reason=REASON)
ops: Any = pytest.importorskip("torchvision.ops", reason=REASON)

Boxes = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Generator = np.random.Generator


def kept_by_torchvision(boxes: Boxes, scores: Floats, threshold: float) -> list[int]:
    kept: list[int] = ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold).tolist()
    return kept


def kept_per_class_by_torchvision(boxes: Boxes, scores: Floats, labels: Labels, threshold: float) -> list[int]:
    members = (np.flatnonzero(labels == label) for label in np.unique(labels))
    kept = [m for m in members for m in m[kept_by_torchvision(boxes[m], scores[m], threshold)]]
    return sorted((int(i) for i in kept), key=lambda i: (-float(scores[i]), i))


def assert_same(boxes: Boxes, scores: Floats, labels: Labels, threshold: float, case: object = None) -> None:
    found = keep_indices(boxes, scores, labels, iou_threshold=threshold).tolist()
    assert found == kept_per_class_by_torchvision(boxes, scores, labels, threshold), (case, threshold)
    found = keep_indices(boxes, scores, labels, iou_threshold=threshold, class_agnostic=True).tolist()
    assert found == kept_by_torchvision(boxes, scores, threshold), (case, threshold)


def around(centers: npt.ArrayLike, sizes: npt.ArrayLike) -> Boxes:
    middle, half = np.asarray(centers, float), np.asarray(sizes, float) / 2
    return np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)


def spread(rng: Generator, count: int) -> Boxes:
    return around(rng.uniform(0, 640, (count, 2)), rng.uniform(10, 300, (count, 2)))


def crowded(rng: Generator, count: int) -> Boxes:
    return around(rng.uniform(0, 60, (count, 2)), rng.uniform(50, 100, (count, 2)))


def clustered(rng: Generator, count: int) -> Boxes:
    objects = spread(rng, 3)[rng.integers(0, 3, count)]
    return (objects + rng.normal(0, 3, (count, 4))).astype(np.float32)


def on_a_grid(rng: Generator, count: int) -> Boxes:
    corners = rng.integers(0, 6, (count, 2))
    return np.hstack([corners, corners + rng.integers(1, 5, (count, 2))]).astype(np.float32)


def duplicated(rng: Generator, count: int) -> Boxes:
    return spread(rng, count // 3 + 1)[rng.integers(0, count // 3 + 1, count)]


def degenerate(rng: Generator, count: int) -> Boxes:
    return np.hstack([corners := rng.integers(-3, 4, (count, 2)), corners + rng.integers(-2, 4, (count, 2))]).astype(
        np.float32
    )


def huge(rng: Generator, count: int) -> Boxes:
    scale = np.float32(10.0) ** rng.integers(10, 38, (count, 1)).astype(np.float32)
    return crowded(rng, count) / np.float32(160) * scale


def tiny(rng: Generator, count: int) -> Boxes:
    return crowded(rng, count) * np.float32(10.0) ** -rng.integers(10, 44, (count, 1)).astype(np.float32)


def infinite(rng: Generator, count: int) -> Boxes:
    boxes = crowded(rng, count)
    boxes[rng.random((count, 4)) < 0.1] = np.inf
    boxes[rng.random((count, 4)) < 0.1] = -np.inf
    return boxes


def distinct(rng: Generator, count: int) -> Floats:
    return rng.random(count, dtype=np.float32)


def tied(rng: Generator, count: int) -> Floats:
    return rng.choice(np.array([0.0, -0.0, 0.25, 0.5, 1.0], np.float32), count)


def unbounded(rng: Generator, count: int) -> Floats:
    return rng.choice(np.array([-np.inf, -3.0, 1e30, np.inf], np.float32), count)


def thresholds(rng: Generator, boxes: Boxes) -> list[float]:
    """Common ones and both ends; the IoU of two of the boxes, and the doubles next to it."""
    chosen = [0.0, 1.0, float(rng.choice([0.1, 0.3, 0.45, 0.5, 0.65, 0.7]))]
    if len(boxes) < 2:
        return chosen
    with np.errstate(all="ignore"):
        pair = torch.from_numpy(boxes[:2])
        iou = float(ops.box_iou(pair[:1], pair[1:]))
    near = [iou, float(np.nextafter(iou, 0)), float(np.nextafter(iou, 1))]
    return chosen + [value for value in near if 0.0 <= value <= 1.0]


@pytest.mark.parametrize("make_scores", [distinct, tied, unbounded])
@pytest.mark.parametrize(
    "make_boxes", [spread, crowded, clustered, on_a_grid, duplicated, degenerate, huge, tiny, infinite]
)
def test_thousands_of_random_sets_keep_the_same_boxes(
    make_boxes: Callable[[Generator, int], Boxes], make_scores: Callable[[Generator, int], Floats]
) -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(0, 80))
        boxes, scores = make_boxes(rng, count), make_scores(rng, count)
        labels = rng.integers(-1, rng.integers(0, 4), count)
        for threshold in thresholds(rng, boxes):
            assert_same(boxes, scores, labels, threshold, case=seed)


coordinate = st.one_of(st.integers(-4, 12).map(float), st.floats(width=32, allow_nan=False))
candidate = st.tuples(
    st.tuples(*[coordinate] * 4),
    st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1, width=32)),
    st.integers(-2, 2),
)


@given(
    candidates=st.lists(candidate, max_size=40), threshold=st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
)
def test_any_candidates_keep_the_same_boxes(
    candidates: list[tuple[tuple[float, ...], float, int]], threshold: float
) -> None:
    boxes = np.array([box for box, _, _ in candidates], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in candidates], np.float32)
    labels = np.array([label for _, _, label in candidates], np.int64)
    assert_same(boxes, scores, labels, threshold)


@pytest.mark.parametrize("make_boxes", [spread, crowded, clustered])
@pytest.mark.parametrize(("count", "classes"), [(1000, 80), (3000, 1), (3000, 80), (3000, 7), (8400, 80), (8400, 3000)])
def test_large_sets_keep_the_same_boxes(
    make_boxes: Callable[[Generator, int], Boxes], count: int, classes: int
) -> None:
    rng = np.random.default_rng(count + classes)
    labels = rng.integers(0, classes, count)
    assert_same(make_boxes(rng, count), distinct(rng, count), labels, 0.6)


@pytest.mark.parametrize("sizes", [(300, 129, 128, 127, 65, 64, 63, 2, 1), (500, *[1] * 300), (128, 128), (129, 129)])
def test_classes_of_very_different_sizes_keep_the_same_boxes(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(sum(sizes))
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    for make_boxes in (spread, clustered, on_a_grid):
        assert_same(make_boxes(rng, len(labels)), tied(rng, len(labels)), labels, 0.5)


@pytest.mark.parametrize("count", [10, 300, 1000, 1001, 4000])
def test_batched_nms_itself_keeps_the_same_boxes(count: int) -> None:
    # It moves classes apart by adding offsets (up to 1000 boxes): on whole pixels that is exact, on others it rounds.
    rng = np.random.default_rng(count)
    boxes, scores, labels = np.abs(spread(rng, count)).round(), distinct(rng, count), rng.integers(0, 20, count)
    boxes = np.hstack([boxes[:, :2], boxes[:, :2] + np.abs(boxes[:, 2:] - boxes[:, :2]) + 1])
    scores = rng.permutation(count).astype(np.float32)
    expected = ops.batched_nms(*map(torch.from_numpy, (boxes, scores, labels)), 0.5).numpy()
    found = suppress(boxes, scores, labels, iou_threshold=0.5)
    assert found.indices.tolist() == expected.tolist()
    np.testing.assert_array_equal(found.boxes_xyxy, boxes[expected])
    np.testing.assert_array_equal(found.scores, scores[expected])
