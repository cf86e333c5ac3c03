"""The shipped reference detector scores what its note says, computed here without any code that runs or scores bundles."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgewright.runtime.conveyor import LABELS, LabelledImage, render_scene

FOLDER = Path(__file__).parents[2] / "configs" / "reference"
MODEL, NOTE = FOLDER / "conveyor_yolox.onnx", json.loads((FOLDER / "conveyor_yolox.json").read_text(encoding="utf-8"))
# Scenes that neither training (2024) nor the note's score (7001) used.
HELD_OUT_SEED, SCENES = 515, 60

Array = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def session() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])


def test_the_graph_is_small_static_and_speaks_raw_yolox(session: Any) -> None:
    assert MODEL.stat().st_size < 4_000_000
    (given,), (returned,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape, given.type) == ("images", [1, 3, 256, 320], "tensor(float)")
    # Cells of 8, 16 and 32 pixels: 32 * 40 + 16 * 20 + 8 * 10; four of the box, one of the object, the classes.
    assert (returned.name, returned.shape) == ("output", [1, 1680, 5 + len(LABELS)])


def test_objects_and_classes_are_probabilities_already(session: Any) -> None:
    raw = predicted(session, render_scene(HELD_OUT_SEED, 1))
    assert 0 <= raw[:, 4:].min() <= raw[:, 4:].max() <= 1


def test_held_out_scenes_score_what_the_note_says(session: Any) -> None:
    pytest.importorskip("pycocotools", reason="scoring needs the extra 'dev'")
    pictures = [render_scene(HELD_OUT_SEED, index) for index in range(SCENES)]
    found = [row for image_id, picture in enumerate(pictures) for row in detections(session, image_id, picture)]
    stats = coco_stats(pictures, found)
    # 60 scenes: repeated draws of other seeds scatter by about 0.02.
    assert stats["AP"] == pytest.approx(NOTE["score"]["AP"], abs=0.06)
    assert 0.2 < stats["AP"] < 0.9
    assert stats["AP-small"] < stats["AP-medium"]


def predicted(session: Any, picture: LabelledImage) -> Array:
    """Letterbox 480 x 640 to the top left of 256 x 320, grey 114 below, BGR 0..255."""
    tensor = np.full((256, 320, 3), 114, np.uint8)
    tensor[:240] = cv2.resize(picture.image, (320, 240), interpolation=cv2.INTER_LINEAR)
    (output,) = session.run(["output"], {"images": tensor.transpose(2, 0, 1)[None].astype(np.float32)})
    return np.asarray(output[0], np.float32)


def detections(session: Any, image_id: int, picture: LabelledImage) -> list[dict[str, Any]]:
    raw = predicted(session, picture)
    grid = np.concatenate(
        [
            np.stack(
                [*np.meshgrid(np.arange(320 // s), np.arange(256 // s)), np.full((256 // s, 320 // s), s)], axis=-1
            ).reshape(-1, 3)
            for s in (8, 16, 32)
        ]
    )
    middle = (raw[:, :2] + grid[:, :2]) * grid[:, 2:] * 2
    size = np.exp(raw[:, 2:4]) * grid[:, 2:] * 2
    scores = raw[:, 4:5] * raw[:, 5:]
    rows: list[dict[str, Any]] = []
    for class_id in range(len(LABELS)):
        for cell in suppressed(middle, size, scores[:, class_id]):
            left, top = middle[cell] - size[cell] / 2
            box = [float(left), float(top), float(size[cell, 0]), float(size[cell, 1])]
            rows.append(
                {"image_id": image_id, "category_id": class_id + 1, "bbox": box, "score": float(scores[cell, class_id])}
            )
    return sorted(rows, key=lambda row: -row["score"])[:100]


def suppressed(middle: Array, size: Array, scores: Array) -> list[int]:
    """Plain greedy suppression at 0.65 of what scores above 0.001, best first."""
    order = [int(i) for i in np.argsort(-scores) if scores[i] > 0.001]
    low, high, area = middle - size / 2, middle + size / 2, size.prod(axis=1)
    kept: list[int] = []
    for i in order:
        inner = (np.minimum(high[kept], high[i]) - np.maximum(low[kept], low[i])).clip(min=0).prod(axis=1)
        if not (inner / (area[kept] + area[i] - inner) > 0.65).any():
            kept.append(i)
    return kept


def coco_stats(pictures: list[LabelledImage], found: list[dict[str, Any]]) -> dict[str, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations = [
        {
            "image_id": image_id,
            "category_id": int(class_id) + 1,
            "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
            "area": int(mask.pixels.sum()),
            "iscrowd": 0,
        }
        for image_id, picture in enumerate(pictures)
        for (x1, y1, x2, y2), class_id, mask in zip(picture.boxes_xyxy, picture.class_ids, picture.masks, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": i, "height": 480, "width": 640} for i in range(len(pictures))],
            "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)],
            "categories": [{"id": i, "name": label} for i, label in enumerate(LABELS, start=1)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(
        zip(("AP", "AP50", "AP75", "AP-small", "AP-medium", "AP-large"), map(float, evaluation.stats), strict=False)
    )
