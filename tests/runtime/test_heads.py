"""Heads against slow references."""

from typing import Any

import numpy as np
import pytest

from edgewright.runtime.errors import BackendError, BundleError
from edgewright.runtime.geometry import place
from edgewright.runtime.heads import load_head
from edgewright.runtime.heads.dense import decode as decode_dense
from edgewright.runtime.heads.final import decode as decode_final
from edgewright.runtime.results import Detections
from edgewright.runtime.spec import HeadSpec, ModelSpec, PostprocessSpec, PreprocessSpec, TensorSpec

PRE = PreprocessSpec(size_hw=(64, 64), resize="letterbox")
SOURCE = (32, 64)


def spec(kind: str, outputs: dict[str, str], boxes: Any = "xyxy_pixels", labels: int = 4) -> ModelSpec:
    return ModelSpec(
        name="test",
        task="detect",
        labels=tuple("abcdefgh"[:labels]),
        inputs=(TensorSpec(name="images", shape=(1, 3, 64, 64), dtype="float32"),),
        outputs=tuple(TensorSpec(name=name, shape=(1,), dtype="float32") for name in outputs.values()),
        preprocess=PRE,
        head=HeadSpec(kind=kind, outputs=outputs, boxes=boxes),
    )


DENSE = spec("dense", {"boxes": "boxes", "scores": "scores"})
FINAL = spec("final", {"boxes": "boxes", "scores": "scores", "classes": "classes"})


def random_dense(seed: int, count: int = 60) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 50, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(2, 30, (count, 2))], axis=1)
    return {"boxes": boxes[None].astype(np.float32), "scores": rng.uniform(0, 1, (1, count, 4)).astype(np.float32)}


def slow_dense(outputs: dict[str, Any], settings: PostprocessSpec) -> list[tuple[int, float, tuple[float, ...]]]:
    """Loop over every box and class; greedy suppression one pair at a time."""
    candidates = []
    for box, scores in zip(outputs["boxes"][0], outputs["scores"][0], strict=True):
        classes = range(len(scores)) if settings.multi_label else [int(scores.argmax())]
        candidates += [(c, float(scores[c]), box) for c in classes if scores[c] >= settings.conf_threshold]
    candidates.sort(key=lambda item: -item[1])
    kept: list[Any] = []
    for candidate in candidates:
        rivals = [k for k in kept if settings.class_agnostic or k[0] == candidate[0]]
        if all(slow_iou(k[2], candidate[2]) <= settings.iou_threshold for k in rivals):
            kept.append(candidate)
    # The 32x64 image lies at y offset 16 of the 64x64 tensor, at scale 1.
    moved = [(c, s, tuple(np.clip(b - (0, 16, 0, 16), 0, (64, 32, 64, 32)))) for c, s, b in kept]
    return moved[: settings.max_detections]


def slow_iou(a: Any, b: Any) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    return float(inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter))


@pytest.mark.parametrize("multi_label", [True, False])
@pytest.mark.parametrize("class_agnostic", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_dense_equals_a_plain_loop(seed: int, class_agnostic: bool, multi_label: bool) -> None:
    settings = PostprocessSpec(
        conf_threshold=0.3, iou_threshold=0.4, max_detections=20, class_agnostic=class_agnostic, multi_label=multi_label
    )
    outputs = random_dense(seed)
    got = decode_dense(outputs, DENSE, place(SOURCE, PRE), settings)
    expected = slow_dense(outputs, settings)
    assert got.class_ids.tolist() == [c for c, _, _ in expected]
    np.testing.assert_allclose(got.scores, [s for _, s, _ in expected], rtol=1e-6)
    np.testing.assert_allclose(got.boxes_xyxy, [b for _, _, b in expected], atol=1e-4)


def test_dense_without_candidates_gives_no_detections() -> None:
    outputs = random_dense(0)
    outputs["scores"][:] = 0
    got = decode_dense(outputs, DENSE, place(SOURCE, PRE), PostprocessSpec())
    assert isinstance(got, Detections)
    assert len(got) == 0


def test_too_many_candidates_are_cut_to_the_best() -> None:
    outputs = random_dense(1)
    settings = PostprocessSpec(conf_threshold=0, iou_threshold=1, max_detections=1000, max_candidates=10)
    got = decode_dense(outputs, DENSE, place(SOURCE, PRE), settings)
    np.testing.assert_allclose(got.scores, np.sort(outputs["scores"].ravel())[::-1][:10])


@pytest.mark.parametrize(
    ("boxes", "values"),
    [
        ("xyxy_pixels", [8, 24, 24, 40]),
        ("xyxy_unit", [8 / 64, 24 / 64, 24 / 64, 40 / 64]),
        ("cxcywh_pixels", [16, 32, 16, 16]),
        ("cxcywh_unit", [16 / 64, 32 / 64, 16 / 64, 16 / 64]),
    ],
)
def test_every_box_format_names_the_same_box(boxes: str, values: list[float]) -> None:
    model = spec("dense", {"boxes": "boxes", "scores": "scores"}, boxes=boxes)
    scores = np.array([[[0.9, 0, 0, 0]]], np.float32)
    got = decode_dense(
        {"boxes": np.array([[values]], np.float32), "scores": scores}, model, place(SOURCE, PRE), PostprocessSpec()
    )
    np.testing.assert_allclose(got.boxes_xyxy, [[8, 8, 24, 24]], atol=1e-4)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_nan_in_the_scores_is_an_error_and_not_an_empty_picture(poison: float) -> None:
    outputs = random_dense(2)
    outputs["scores"][0, 3, 1] = poison
    with pytest.raises(BackendError, match="'scores' holds NaN"):
        decode_dense(outputs, DENSE, place(SOURCE, PRE), PostprocessSpec())


def test_final_keeps_valid_rows_best_first() -> None:
    outputs = {
        "boxes": np.array([[[0, 16, 10, 26], [5, 20, 9, 30], [0, 0, 1, 1], [8, 16, 12, 24]]], np.float32),
        "scores": np.array([[0.5, 0.8, 0.9, 0.1]], np.float32),
        "classes": np.array([[1, 2, -1, 0]], np.float32),
    }
    got = decode_final(outputs, FINAL, place(SOURCE, PRE), PostprocessSpec(conf_threshold=0.25))
    assert got.class_ids.tolist() == [2, 1]
    assert got.boxes_xyxy.tolist() == [[5, 4, 9, 14], [0, 0, 10, 10]]


def test_final_ignores_rows_beyond_the_count() -> None:
    outputs: dict[str, Any] = {
        "boxes": np.full((1, 3, 4), 20, np.float32),
        "scores": np.array([[0.5, 0.9, np.nan]], np.float32),
        "classes": np.zeros((1, 3), np.int64),
        "count": np.array([1]),
    }
    assert decode_final(outputs, FINAL, place(SOURCE, PRE), PostprocessSpec()).scores.tolist() == [0.5]


def test_a_head_without_its_outputs_is_refused() -> None:
    with pytest.raises(BundleError, match=r"dense head wants the outputs \['boxes', 'scores'\]"):
        load_head(spec("dense", {"boxes": "boxes"}))
